//! Where a request came from: the address of the other end of the connection, and the trace that
//! its header `traceparent` names.
//!
//! The address is that of whoever connected. Behind a proxy it is the proxy's: a header in which a
//! proxy names somebody else can be written by anybody, so none is believed.

use std::{convert::Infallible, net::IpAddr};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};

use crate::{app::new_trace, domain::audit::trace::TraceId, message::Origin};

/// The other end of a connection; the listener puts it to every request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>();
        let address = peer.map(|Peer(address)| address.to_canonical());
        Ok(of(address, &parts.headers))
    }
}

fn of(address: Option<IpAddr>, headers: &HeaderMap) -> Origin {
    let mut parents = headers.get_all("traceparent").iter();
    let parent = parents.next().filter(|_| parents.next().is_none());
    let named = parent
        .and_then(|parent| parent.to_str().ok())
        .and_then(TraceId::of_parent);
    Origin {
        address,
        trace: Some(named.unwrap_or_else(new_trace)),
    }
}
