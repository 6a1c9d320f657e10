//! A certificate: what its text says, without the text, which may hold a private key.

use serde_json::Value;

pub(super) fn comparable(body: &Value) -> Value {
    let mut comparable = body.clone();
    if let Some(members) = comparable.as_object_mut() {
        members.remove(crate::domain::certificate::TEXT);
    }
    comparable
}
