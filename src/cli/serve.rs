//! `lockstep serve`: the receiver, the workers and the timers, until told to stop.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Exit, Invocation, environment, init_logs, output};
use crate::{
    app::{self, App, Queue},
    config::{ReceiverConfig, Storage, Webhook},
    http::{self, api::auth::Api, receiver::Receiver},
    metrics::Metrics,
    sync::{checkpoint, report, schedule, start, witness, worker},
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
            if matches!(&config.storage, Storage::ScaledOut(scaled_out) if !scaled_out.has_owner) {
                warn!(
                    "the role of storage.postgres owns its tables and could take the guards off the \
                     history: storage.postgres_owner and `lockstep migrate` part the two"
                );
            }
            witness::check(&app).await?;
            let receiver = receives.then(|| receiver(&config.webhooks, &app.worker, &nudge));
            let server = Server {
                listen: config.server.listen,
                state: http::State {
                    receiver: receiver.map(Arc::new),
                    queue: app.queue.clone(),
                    metrics: app.metrics.clone(),
                    api: Some(Arc::new(Api::new(app.clone()))),
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
                    api: None,
                },
                nudge,
            };
            server.run(invocation, None).await
        }
    }
}

pub fn receiver(
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
        let receives = self.state.receiver.is_some();
        let signalled = until_signalled();
        let running = Running::start(self.listen, self.state, self.nudge, app).await?;
        announce(invocation, &running, receives)?;
        signalled.await;
        info!("stopping: what is under way ends first");
        running.stop().await?;
        Ok(Exit::Done)
    }
}

/// A server that listens and, with an app, works.
pub struct Running {
    pub address: std::net::SocketAddr,
    app: Option<App>,
    shutdown: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
}

impl Running {
    /// Starts what the state and the app call for.
    pub async fn start(
        listen: std::net::SocketAddr,
        state: http::State,
        nudge: Arc<Notify>,
        app: Option<App>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen}: choose another address with server.listen")
        })?;
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        if let Some(app) = &app {
            // Whoever is new is told of what happens from here on.
            report::open_sinks(app).await?;
            start::started(app, address).await?;
            if let Queue::Local(local) = &app.queue {
                local.take_back().await?;
            }
            tasks.spawn(worker::run_until_shutdown(
                app.clone(),
                nudge.clone(),
                shutdown.clone(),
            ));
            tasks.spawn(report::run_until_shutdown(app.clone(), shutdown.clone()));
            tasks.spawn(checkpoint::run_until_shutdown(
                app.clone(),
                shutdown.clone(),
            ));
            tasks.spawn(schedule::run_until_shutdown(
                app.clone(),
                nudge,
                shutdown.clone(),
            ));
        }
        if let Some(receiver) = state.receiver.clone() {
            let queue = state.queue.clone();
            tasks.spawn(report_refusals(receiver, queue, shutdown.clone()));
        }
        if let Some(api) = state.api.clone() {
            tasks.spawn(report_api(api, shutdown.clone()));
        }
        let router = http::router(state);
        tasks.spawn(http::server::serve(listener, router, shutdown.clone()));
        Ok(Self {
            address,
            app,
            shutdown,
            tasks,
        })
    }

    /// Takes no new work, and lets what is under way end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
        if let Some(app) = &self.app {
            start::stopped(app, self.address).await?;
            // So that the end is signed, too.
            checkpoint::sign(app).await?;
            checkpoint::send_pending(app).await?;
            witness::note(app).await?;
        }
        Ok(())
    }
}

/// What it listens on, watches, and where its data is.
fn announce(invocation: &Invocation, running: &Running, receives: bool) -> anyhow::Result<()> {
    let Running { address, app, .. } = running;
    let watched = |stack: &Arc<app::Stack>| {
        let path = if stack.path.is_root() {
            "/"
        } else {
            stack.path.as_str()
        };
        format!(
            "{}: {} {} {path} → {}",
            stack.name,
            stack.repository,
            stack.branch.as_str(),
            stack.target.name
        )
    };
    let stacks: Vec<String> = app
        .iter()
        .flat_map(|app| app.stacks.values().map(watched))
        .collect();
    let data = app.as_ref().map(|app| app.folder.display().to_string());
    if invocation.is_json() {
        output::json_line(&json!({
            "listening": format!("http://{address}"),
            "receives": receives,
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

async fn report_refusals(receiver: Arc<Receiver>, queue: Queue, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(REFUSALS) => receiver.report_refusals(&queue).await,
        }
    }
    receiver.report_refusals(&queue).await;
}

async fn report_api(api: Arc<Api>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(REFUSALS) => api.report().await,
        }
    }
    api.report().await;
}

/// Ends at SIGTERM or Ctrl-C. They are heard from the call on, not from the first poll: whoever is
/// told that the server listens may stop it at once.
pub fn until_signalled() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    async move {
        match (terminate, interrupt) {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            _ => {
                let _ = tokio::signal::ctrl_c().await;
            }
        }
    }
}
