//! How much layouts, values and patches may make of what was read: a small file can ask for a lot.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

/// In values; a long text counts for several. All that read at once share one.
#[derive(Debug, Default)]
pub(super) struct Budget {
    left: AtomicUsize,
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("values, patches and kustomizations make more than {0} values of the files")]
pub(super) struct Exhausted(usize);

impl Budget {
    pub fn new(limit: usize) -> Self {
        Self {
            left: AtomicUsize::new(limit),
            limit,
        }
    }

    pub fn take(&self, size: usize) -> Result<(), Exhausted> {
        let rest = |left: usize| left.checked_sub(size);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest)
            .map(|_| ())
            .map_err(|_| Exhausted(self.limit))
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
