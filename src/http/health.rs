//! `GET /healthz`: the process lives. `GET /readyz`: it can do its work now.

use std::time::Duration;

use std::sync::Arc;

use axum::{Json, Router, extract::State as Shared, http::StatusCode, routing::get};
use serde_json::{Value, json};

use super::State;
use crate::app::Queue;

pub fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
}

async fn healthy() -> Json<Value> {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

async fn ready(Shared(state): Shared<Arc<State>>) -> (StatusCode, Json<Value>) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let store = match &state.app {
        None => None,
        Some(app) => Some(matches!(
            tokio::time::timeout(PATIENCE, app.store.ping()).await,
            Ok(Ok(()))
        )),
    };
    let queue = match &state.queue {
        Queue::Local(_) => store.unwrap_or(true),
        Queue::JetStream(jetstream) => matches!(
            tokio::time::timeout(PATIENCE, jetstream.ready()).await,
            Ok(Ok(()))
        ),
    };
    let is_ready = queue && store.unwrap_or(true);
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let word = |up: bool| if up { "up" } else { "down" };
    let body = json!({
        "status": if is_ready { "ready" } else { "not ready" },
        "queue": word(queue),
        "store": store.map(word),
    });
    (status, Json(body))
}
