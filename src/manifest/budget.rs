//! How much layouts, values and patches may make of what was read: a small file can ask for a lot.

use serde_json::Value;

/// In values; a long text counts for several.
#[derive(Debug, Default)]
pub(super) struct Budget {
    left: usize,
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("values, patches and kustomizations make more than {0} values of the files")]
pub(super) struct Exhausted(usize);

impl Budget {
    pub fn new(limit: usize) -> Self {
        Self { left: limit, limit }
    }

    pub fn take(&mut self, size: usize) -> Result<(), Exhausted> {
        self.left = self.left.checked_sub(size).ok_or(Exhausted(self.limit))?;
        Ok(())
    }
}

/// Bytes of text that weigh as much as a value.
const BYTES: usize = 16;

pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => text_size(text.len()),
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => {
            let of = |(name, member): (&String, &Value)| name.len() / BYTES + size(member);
            1 + members.iter().map(of).sum::<usize>()
        }
    }
}

pub(super) fn text_size(bytes: usize) -> usize {
    1 + bytes / BYTES
}
