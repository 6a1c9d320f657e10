//! What the process answers over HTTP: the webhook receiver, the API, health, metrics.

pub mod api;
pub mod error;
pub mod health;
pub mod metrics;
pub mod origin;
pub mod receiver;
pub mod server;

use std::sync::Arc;

use axum::Router;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{app::App, app::Queue, metrics::Metrics};

/// What the handlers share. A receiver alone has no store, no targets and no repositories.
#[derive(Clone)]
pub struct State {
    pub receiver: Option<Arc<receiver::Receiver>>,
    pub queue: Queue,
    pub app: Option<App>,
    pub api: Option<Arc<api::auth::Api>>,
    pub metrics: Metrics,
}

/// Every route. The receiver's are there only when the process has that role.
pub fn router(state: State) -> Router {
    let mut router = Router::new()
        .merge(health::router())
        .merge(metrics::router());
    if state.receiver.is_some() {
        router = router.merge(receiver::router());
    }
    if state.api.is_some() {
        router = router.merge(api::router());
    }
    router
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(CatchPanicLayer::custom(error::panicked))
        .with_state(Arc::new(state))
}
