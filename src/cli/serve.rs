//! `lockstep serve`: the receiver, the workers and the timers, until told to stop.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Exit, Invocation, environment, init_logs, output};
use crate::{
    app::{self, App, Queue},
    config::{ReceiverConfig, Storage, Webhook},
    domain::audit::event::{Actor, EventType, NewEvent},
    http::{self, receiver::Receiver},
    metrics::Metrics,
    sync::{schedule, worker},
};

/// Receive webhooks and keep every stack in step, until told to stop.
///
/// SIGTERM and Ctrl-C let what is under way end, and start nothing new.
#[derive(Debug, Args)]
pub struct Serve {
    /// What this process does; both by default. Only a scaled-out set-up can part them
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Role::Receiver, Role::Worker])]
    role: Vec<Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Receiver,
    Worker,
}

/// How often refusals are summarised.
const REFUSALS: Duration = Duration::from_mins(1);

impl Serve {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        init_logs("info");
        let works = self.role.contains(&Role::Worker);
        let receives = self.role.contains(&Role::Receiver);
        let nudge = Arc::new(Notify::new());
        if works {
            let config = invocation.load()?;
            if !receives && matches!(config.storage, Storage::Embedded(_)) {
                anyhow::bail!(
                    "the embedded mode is one process with both roles: leave --role out, or set \
                     storage.postgres and storage.nats"
                );
            }
            let app = App::open(&config).await?;
            let receiver = receives.then(|| receiver(&config.webhooks, &app.worker, &nudge));
            let server = Server {
                listen: config.server.listen,
                state: http::State {
                    receiver: receiver.map(Arc::new),
                    queue: app.queue.clone(),
                    metrics: app.metrics.clone(),
                    app: Some(app.clone()),
                },
                nudge,
            };
            server.run(invocation, Some(app)).await
        } else {
            let config = ReceiverConfig::load(&invocation.config, &environment)?;
            let name = app::worker_name();
            let server = Server {
                listen: config.server.listen,
                state: http::State {
                    receiver: Some(Arc::new(receiver(&config.webhooks, &name, &nudge))),
                    queue: Queue::JetStream(app::jetstream(config.nats.urls())?),
                    metrics: Metrics::default(),
                    app: None,
                },
                nudge,
            };
            server.run(invocation, None).await
        }
    }
}

fn receiver(
    webhooks: &BTreeMap<crate::config::Name, Webhook>,
    name: &str,
    nudge: &Arc<Notify>,
) -> Receiver {
    let secrets = webhooks
        .iter()
        .map(|(name, webhook)| (name.as_str().to_owned(), Arc::new(webhook.secrets.clone())))
        .collect();
    Receiver::new(secrets, name.to_owned(), nudge.clone())
}

struct Server {
    listen: std::net::SocketAddr,
    state: http::State,
    nudge: Arc<Notify>,
}

impl Server {
    async fn run(self, invocation: &Invocation, app: Option<App>) -> anyhow::Result<Exit> {
        let listener = TcpListener::bind(self.listen).await.with_context(|| {
            format!(
                "cannot listen on {}: choose another address with server.listen",
                self.listen
            )
        })?;
        let address = listener.local_addr()?;
        self.announce(invocation, address, app.as_ref())?;
        let shutdown = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        if let Some(app) = &app {
            record(app, EventType::ServerStarted, address).await?;
            tasks.spawn(worker::run_until_shutdown(
                app.clone(),
                self.nudge.clone(),
                shutdown.clone(),
            ));
            tasks.spawn(schedule::run_until_shutdown(
                app.clone(),
                self.nudge.clone(),
                shutdown.clone(),
            ));
        }
        if let Some(receiver) = self.state.receiver.clone() {
            tasks.spawn(report_refusals(
                receiver,
                self.state.queue.clone(),
                shutdown.clone(),
            ));
        }
        tasks.spawn(http::server::serve(
            listener,
            http::router(self.state),
            shutdown.clone(),
        ));
        until_signalled().await;
        info!("stopping: what is under way ends first");
        shutdown.cancel();
        while tasks.join_next().await.is_some() {}
        if let Some(app) = &app {
            record(app, EventType::ServerStopped, address).await?;
        }
        Ok(Exit::Done)
    }

    /// What it listens on, watches, and where its data is.
    fn announce(
        &self,
        invocation: &Invocation,
        address: std::net::SocketAddr,
        app: Option<&App>,
    ) -> anyhow::Result<()> {
        let stacks: Vec<String> = app
            .map(|app| app.stacks.values().cloned().collect::<Vec<_>>())
            .unwrap_or_default()
            .iter()
            .map(|stack| {
                format!(
                    "{}: {} {} {} → {}",
                    stack.name,
                    stack.repository,
                    stack.branch.as_str(),
                    if stack.path.is_root() {
                        "/"
                    } else {
                        stack.path.as_str()
                    },
                    stack.target.name
                )
            })
            .collect();
        let data = app.map(|app| app.folder.display().to_string());
        if invocation.is_json() {
            output::json_line(&json!({
                "listening": format!("http://{address}"),
                "receives": self.state.receiver.is_some(),
                "works": app.is_some(),
                "stacks": stacks,
                "data": data,
            }))?;
        }
        eprintln!("listening on http://{address}");
        for stack in &stacks {
            eprintln!("watching {stack}");
        }
        if let Some(data) = data {
            eprintln!("data in {data}");
        }
        Ok(())
    }
}

async fn record(
    app: &App,
    event_type: EventType,
    address: std::net::SocketAddr,
) -> anyhow::Result<()> {
    let payload = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "config": app.config_hash,
        "listen": address.to_string(),
    });
    let actor = Actor::new("server", app.worker.clone());
    let event = NewEvent::new(event_type, app.now(), actor, payload);
    app.store.record_events(&[event]).await?;
    Ok(())
}

async fn report_refusals(receiver: Arc<Receiver>, queue: Queue, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(REFUSALS) => receiver.report_refusals(&queue).await,
        }
    }
    receiver.report_refusals(&queue).await;
}

/// Waits for SIGTERM or Ctrl-C.
pub async fn until_signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
