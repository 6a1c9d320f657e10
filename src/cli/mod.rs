//! The command line: a file a command. Only this module prints to standard output, and only data.

mod annotations;
mod approval;
mod as_of;
mod audit;
mod checkout;
mod convert;
mod demo;
mod diff;
mod drift;
mod explain;
mod export;
mod forget;
mod history;
mod hold;
mod import;
mod legal_hold;
mod migrate;
mod notify;
mod objects;
mod output;
mod ownership;
mod plan;
mod recover;
mod report;
mod retire;
mod sandbox;
mod schema;
mod serve;
mod show;
mod status;
mod sync;
mod token;
mod trace;
mod validate;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    app::App,
    config::{Config, ManifestConfig, OwnerConfig, Tables},
};

/// Keeps the Tyk API gateway in step with Git.
///
/// A push to a branch reaches the receiver, and seconds later the gateway serves what the branch
/// says, with a history that can be verified. Try `lockstep demo`: it needs nothing.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, max_term_width = 100)]
struct Cli {
    /// The configuration file
    #[arg(
        long,
        global = true,
        env = "LOCKSTEP_CONFIG",
        default_value = "lockstep.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
    /// How to print what was asked for; messages always go to standard error as text. github and
    /// sarif, for annotations in a pull request, are forms of validate alone
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    /// Workflow commands of GitHub Actions
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

// What a command is for stands once, above its own type.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Validate(validate::Validate),
    Explain(explain::Explain),
    Schema(schema::Schema),
    Convert(convert::Convert),
    Import(import::Import),
    Diff(diff::Diff),
    Plan(plan::Plan),
    Sync(sync::Sync),
    Drift(drift::Drift),
    Hold(hold::Hold),
    ReleaseHold(hold::ReleaseHold),
    Rollback(hold::Rollback),
    Approve(approval::Approve),
    Reject(approval::Reject),
    Adopt(ownership::Adopt),
    Release(ownership::Release),
    Recover(recover::Recover),
    Migrate(migrate::Migrate),
    Status(status::Status),
    History(Box<history::History>),
    AsOf(as_of::AsOf),
    Trace(trace::Trace),
    #[command(subcommand)]
    Report(report::Report),
    Show(show::Show),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Notify(notify::Notify),
    #[command(subcommand)]
    Sandbox(sandbox::Sandbox),
}

/// What a command's exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Done, or nothing to do.
    Done,
    /// It went wrong.
    Failed,
    /// Changes are pending.
    Pending,
}

impl Exit {
    /// Of several things that were done: what went wrong counts most.
    fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Failed, _) | (_, Self::Failed) => Self::Failed,
            (Self::Pending, _) | (_, Self::Pending) => Self::Pending,
            (Self::Done, Self::Done) => Self::Done,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::from(1),
            Exit::Pending => Self::from(2),
        }
    }
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help that was asked for is no error; a wrong argument is one, and not a 2.
            return if error.use_stderr() {
                Exit::Failed.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return Exit::Failed.into();
        }
    };
    let result = runtime.block_on(run(cli));
    // What still runs on the blocking pool (a Git host that hangs) must not hold the exit up.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {}", output::harmless(&format!("{error:#}")));
            Exit::Failed.into()
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let Cli {
        config,
        output,
        command,
    } = cli;
    let is_annotation = matches!(output, Format::Github | Format::Sarif);
    if is_annotation && !matches!(command, Command::Validate(_)) {
        anyhow::bail!("--output github and sarif are forms of `lockstep validate` alone");
    }
    let context = Invocation { config, output };
    match command {
        Command::Demo(demo) => demo.run(&context).await,
        Command::Serve(serve) => serve.run(&context).await,
        Command::Validate(validate) => validate.run(&context),
        Command::Explain(explain) => explain.run(&context),
        Command::Schema(schema) => schema.run(&context),
        Command::Convert(convert) => convert.run(&context),
        Command::Import(import) => import.run(&context).await,
        Command::Diff(diff) => diff.run(&context).await,
        Command::Plan(plan) => plan.run(&context).await,
        Command::Sync(sync) => sync.run(&context).await,
        Command::Drift(drift) => drift.run(&context).await,
        Command::Hold(hold) => hold.run(&context).await,
        Command::ReleaseHold(release) => release.run(&context).await,
        Command::Rollback(rollback) => rollback.run(&context).await,
        Command::Approve(approve) => approve.run(&context).await,
        Command::Reject(reject) => reject.run(&context).await,
        Command::Adopt(adopt) => adopt.run(&context).await,
        Command::Release(release) => release.run(&context).await,
        Command::Recover(recover) => recover.run(&context).await,
        Command::Migrate(migrate) => migrate.run(&context).await,
        Command::Status(status) => status.run(&context).await,
        Command::History(history) => history.run(&context).await,
        Command::AsOf(as_of) => as_of.run(&context).await,
        Command::Trace(trace) => trace.run(&context).await,
        Command::Report(report) => report.run(&context).await,
        Command::Show(show) => show.run(&context).await,
        Command::Token(token) => token.run(&context).await,
        Command::Audit(audit) => audit.run(&context).await,
        Command::Notify(notify) => notify.run(&context).await,
        Command::Sandbox(sandbox) => sandbox.run().await,
    }
}

/// What every command is given.
#[derive(Debug)]
struct Invocation {
    config: PathBuf,
    output: Format,
}

impl Invocation {
    fn is_json(&self) -> bool {
        self.output == Format::Json
    }

    fn load(&self) -> anyhow::Result<Config> {
        self.must_exist()?;
        Ok(Config::load(&self.config, &environment)?)
    }

    fn must_exist(&self) -> anyhow::Result<()> {
        if !self.config.exists() {
            anyhow::bail!(
                "there is no {}\nhint: name another with --config, start from \
                 deploy/lockstep.example.toml, or run `lockstep demo`, which needs none",
                self.config.display()
            );
        }
        Ok(())
    }

    /// What checking manifests needs of the configuration; no secret is looked up.
    fn load_for_manifests(&self) -> anyhow::Result<ManifestConfig> {
        self.must_exist()?;
        Ok(ManifestConfig::load(&self.config)?)
    }

    async fn open(&self) -> anyhow::Result<App> {
        init_logs("warn");
        App::open(&self.load()?).await
    }

    /// As the owner of the database's tables, for what the role that serves may not do.
    async fn open_as_owner(&self) -> anyhow::Result<App> {
        init_logs("warn");
        App::open_as_owner(&self.load()?, &self.load_tables()?).await
    }

    /// What `storage` says of the tables; no other secret of the file is looked up.
    fn load_tables(&self) -> anyhow::Result<Tables> {
        self.must_exist()?;
        Ok(OwnerConfig::load(&self.config, &environment)?.tables)
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Logs go to standard error, as text on a terminal and as JSON elsewhere if asked for with
/// `LOCKSTEP_LOG_FORMAT=json`; `LOCKSTEP_LOG` chooses what is logged.
fn init_logs(default: &str) {
    use tracing_subscriber::{EnvFilter, fmt};
    let filter =
        EnvFilter::try_from_env("LOCKSTEP_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let is_json = environment("LOCKSTEP_LOG_FORMAT").as_deref() == Some("json");
    let logs = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = if is_json {
        logs.json().try_init()
    } else {
        logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_target(false)
            .try_init()
    };
}

/// The stack of that name, or an error that names the nearest.
fn find_stack<'a>(
    app: &'a App,
    name: &str,
) -> anyhow::Result<&'a std::sync::Arc<crate::app::Stack>> {
    app.stack(name)
        .with_context(|| unknown("stack", name, app.stacks.keys()))
}

/// The target of that name, or an error that names the nearest.
fn find_target<'a>(
    app: &'a App,
    name: &str,
) -> anyhow::Result<&'a std::sync::Arc<crate::app::Target>> {
    app.targets
        .get(name)
        .with_context(|| unknown("target", name, app.targets.keys()))
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let nearest = known
        .max_by(|left, right| {
            strsim::jaro_winkler(left, name).total_cmp(&strsim::jaro_winkler(right, name))
        })
        .map(|nearest| format!("; did you mean {nearest}?"))
        .unwrap_or_default();
    format!("there is no {what} {name} in the configuration{nearest}")
}

/// Takes a target's lease for a command, and says who holds it while that takes.
async fn take_target(app: &App, target: &str) -> anyhow::Result<crate::sync::lease::Holding> {
    const LOOK: std::time::Duration = std::time::Duration::from_millis(500);
    let mut told = false;
    loop {
        let holding = crate::sync::lease::Holding::take(&app.store, target, &app.worker).await?;
        if let Some(holding) = holding {
            return Ok(holding);
        }
        if !told && let Some(holder) = app.store.holder(target).await? {
            eprintln!(
                "waiting for {target}: {} is busy with it (for another {} s at most, unless it goes on)",
                holder.owner,
                holder.remaining.as_secs() + 1
            );
            told = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}
