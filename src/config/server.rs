//! `[server]`

use std::net::{Ipv4Addr, SocketAddr};

use super::reader::{Read, Section};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub listen: SocketAddr,
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
    section.refuse_unknown_keys();
    Ok(Server { listen: listen? })
}
