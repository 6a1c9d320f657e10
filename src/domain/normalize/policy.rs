//! Policies: the gateway fills in zeros and drops what it does not know; nothing else.

use serde_json::Value;

use super::{Verbatim, drop_zeros};
use crate::domain::way::Way;

pub(super) const VERBATIM: &Verbatim = &[&["meta_data"]];

pub(super) fn comparable(body: &Value) -> Value {
    let mut body = body.clone();
    drop_zeros(&mut body, Way::Root(""), VERBATIM);
    body
}

/// The id may be given as `_id` alone; the gateway then reads back both.
pub(super) fn rewritten(pointer: &str, before: Option<&Value>, _after: Option<&Value>) -> bool {
    pointer == "/id" && before.is_none()
}
