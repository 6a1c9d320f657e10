//! `lockstep sandbox …`: stand-ins to try things out with.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};

use super::Exit;
use crate::sandbox::gateway::{Gateway, GatewayOptions};

/// Stand-ins for trying things out.
#[derive(Debug, Subcommand)]
pub enum Sandbox {
    /// A stand-in for a Tyk Gateway's admin API; it keeps everything in memory
    Gateway(StandIn),
}

#[derive(Debug, Args)]
pub struct StandIn {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8181", value_name = "ADDR")]
    listen: SocketAddr,
    /// A file that holds the admin secret
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
}

impl Sandbox {
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Gateway(StandIn {
                listen,
                secret_file,
            }) => {
                let secret = std::fs::read_to_string(&secret_file)
                    .with_context(|| format!("cannot read {}", secret_file.display()))?;
                let secret = secret.trim().to_owned();
                anyhow::ensure!(
                    !secret.is_empty(),
                    "{} is empty: a gateway without a secret is open to everybody",
                    secret_file.display()
                );
                let options = GatewayOptions {
                    secret,
                    listen,
                    ..GatewayOptions::default()
                };
                let gateway = Gateway::start(options)
                    .await
                    .with_context(|| format!("cannot listen on {listen}"))?;
                eprintln!(
                    "a stand-in gateway answers on {}; Ctrl-C ends it",
                    gateway.url()
                );
                super::serve::until_signalled().await;
                Ok(Exit::Done)
            }
        }
    }
}
