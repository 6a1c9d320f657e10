//! `[server]`

use std::net::{Ipv4Addr, SocketAddr};

use super::{
    reader::{Read, Section},
    values::parse_url,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub listen: SocketAddr,
    /// Where people reach this server; without a slash at its end. Links begin with it.
    pub public_url: Option<String>,
}

pub(super) fn read(section: &Section<'_>) -> Read<Server> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let listen = section.or_default("listen", default, |field| {
        field.parse(|text| {
            text.parse().map_err(
                |_| "must be an address and a port, like \"127.0.0.1:8080\" or \"[::]:8080\"",
            )
        })
    });
    let public_url = section.optional("public_url", |field| {
        field.parse(|text| {
            let url = parse_url(text)?;
            if !matches!(url.scheme(), "https" | "http") {
                return Err("must begin with https:// or http://".to_owned());
            }
            Ok(url.as_str().trim_end_matches('/').to_owned())
        })
    });
    section.refuse_unknown_keys();
    Ok(Server {
        listen: listen?,
        public_url: public_url?,
    })
}
