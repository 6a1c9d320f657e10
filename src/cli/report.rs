//! `lockstep report changes`: every change of a time, for whoever samples them.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Exit, Invocation, output, sync::asker};
use crate::{
    app::App,
    domain::{
        audit::event::Person,
        csv,
        moment::{parse_moment, parse_quarter},
    },
    http::api::view::{ApprovalView, PersonView},
    store::{Filter, From, Paging},
    sync::{
        history::{self, Row, Standing},
        reading,
    },
};

/// Reports for auditors.
#[derive(Debug, Subcommand)]
pub enum Report {
    /// Every change of a time with who wrote, pushed and approved it; what needs a look comes first
    Changes(Changes),
}

/// The population of changes that an auditor samples: one row a change.
///
/// First what was done beside Git (drift, what others made, freezes that were overridden), then
/// what was done by hand or approved without a token, then what has no approval of another person
/// on record here, then the rest; each newest first. Reviews of pull requests are with the Git
/// host; where a commit's message names one, the row does.
#[derive(Debug, Args)]
pub struct Changes {
    /// A quarter in UTC, as in 2026Q4
    #[arg(long, conflicts_with_all = ["since", "until"])]
    quarter: Option<String>,
    /// From a day (2026-11-23), a moment (2026-11-23T12:00:00Z) or a time ago (36h, 90d) on
    #[arg(long, value_name = "WHEN", required_unless_present = "quarter")]
    since: Option<String>,
    /// Up to a day, a moment or a time ago, itself not included; now when it is left out
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Of one stack
    #[arg(long)]
    stack: Option<String>,
    /// Of one target
    #[arg(long)]
    target: Option<String>,
    /// As comma-separated values; no cell of it is a formula to a spreadsheet
    #[arg(long)]
    csv: bool,
}

/// How many rows are gathered at once.
const BATCH: i64 = 500;

impl Report {
    pub async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let Self::Changes(changes) = self;
        changes.run(invocation).await
    }
}

impl Changes {
    async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let app = invocation.open().await?;
        let now = app.now();
        let moment = |when: Option<&str>| when.map(|when| parse_moment(when, now)).transpose();
        let (since, until) = match &self.quarter {
            Some(quarter) => parse_quarter(quarter)?,
            None => (
                moment(self.since.as_deref())?.unwrap_or(0),
                moment(self.until.as_deref())?.unwrap_or(now),
            ),
        };
        let filter = Filter {
            stack: self.stack,
            target: self.target,
            since: Some(since),
            until: Some(until),
            ..Filter::default()
        };
        let asked = json!({
            "since": since,
            "until": until,
            "stack": filter.stack,
            "target": filter.target,
        });
        reading::reported(&app, &asker(&app), "changes", asked).await?;
        let mut printer = Printer::new(if self.csv {
            Form::Csv
        } else if invocation.is_json() {
            Form::Json
        } else {
            Form::Text
        });
        printer.begin(since, until)?;
        beside_git(&app, &filter, &mut printer).await?;
        for standing in [Standing::ByHand, Standing::Unapproved, Standing::Approved] {
            through_git(&app, &filter, standing, &mut printer).await?;
        }
        printer.end();
        Ok(Exit::Done)
    }
}

async fn beside_git(app: &App, filter: &Filter, printer: &mut Printer) -> anyhow::Result<()> {
    for event_type in history::OUT_OF_BAND {
        let filter = Filter {
            types: vec![*event_type],
            ..filter.clone()
        };
        let mut from = From::Newest;
        loop {
            let paging = Paging { from, limit: BATCH };
            let page = app.store.events_page(&filter, &paging).await?;
            for row in page.items.iter().flat_map(history::out_of_band) {
                printer.row(&row)?;
            }
            let Some(before) = page.before else { break };
            from = From::Before(before);
        }
    }
    Ok(())
}

/// One walk a standing: a report may be longer than what fits into memory.
async fn through_git(
    app: &App,
    filter: &Filter,
    standing: Standing,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let mut from = From::Newest;
    loop {
        let paging = Paging { from, limit: BATCH };
        let page = app.store.changes_page(filter, &paging).await?;
        for row in history::rows(app, page.items).await? {
            if row.standing == standing {
                printer.row(&row)?;
            }
        }
        let Some(before) = page.before else {
            return Ok(());
        };
        from = From::Before(before);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Csv,
}

/// Prints row by row.
struct Printer {
    form: Form,
    rows: usize,
}

const HEAD: [&str; 19] = [
    "standing",
    "at",
    "kind",
    "target",
    "stack",
    "object",
    "action",
    "outcome",
    "run",
    "trigger",
    "commit",
    "author",
    "pusher",
    "operator",
    "approvers",
    "approver_is_another",
    "pull_request",
    "reason",
    "notes",
];

impl Printer {
    fn new(form: Form) -> Self {
        Self { form, rows: 0 }
    }

    fn begin(&self, since: i64, until: i64) -> anyhow::Result<()> {
        let (since, until) = (output::rfc3339(since), output::rfc3339(until));
        match self.form {
            Form::Text => eprintln!("changes from {since} to {until}"),
            Form::Json => output::text(&format!(
                "{{\"since\": {}, \"until\": {}, \"changes\": [",
                serde_json::to_string(&since)?,
                serde_json::to_string(&until)?
            )),
            Form::Csv => output::text(&csv::line(HEAD)),
        }
        Ok(())
    }

    fn row(&mut self, row: &Row) -> anyhow::Result<()> {
        match self.form {
            Form::Text => output::text(&text(row)),
            Form::Json => {
                let comma = if self.rows == 0 { "" } else { "," };
                output::text(&format!("{comma}{}", serde_json::to_string(&to_json(row))?));
            }
            Form::Csv => output::text(&csv::line(cells(row).iter().map(String::as_str))),
        }
        self.rows += 1;
        Ok(())
    }

    fn end(&self) {
        match self.form {
            Form::Json => output::text(&format!("], \"count\": {}}}", self.rows)),
            Form::Text | Form::Csv => eprintln!("{} rows", self.rows),
        }
    }
}

fn to_json(row: &Row) -> Value {
    let person = |person: &Option<Person>| person.as_ref().map(PersonView::of);
    let approvals: Vec<ApprovalView> = row.approvals.iter().map(ApprovalView::of).collect();
    json!({
        "standing": row.standing.as_str(),
        "at": output::rfc3339(row.at),
        "kind": row.kind,
        "target": row.target,
        "stack": row.stack,
        "object": row.object,
        "action": row.action,
        "outcome": row.outcome,
        "run": row.run,
        "trigger": row.trigger,
        "commit": row.commit,
        "author": person(&row.author),
        "pusher": person(&row.pusher),
        "operator": person(&row.operator),
        "approvals": approvals,
        "approver_is_another": row.by_another,
        "pull_request": row.pull_request,
        "reason": row.reason,
        "notes": row.notes,
    })
}

fn cells(row: &Row) -> [String; 19] {
    let person = |person: &Option<Person>| {
        person
            .as_ref()
            .map_or_else(String::new, ToString::to_string)
    };
    let approvers: Vec<String> = row
        .approvals
        .iter()
        .map(|approval| {
            format!(
                "{} {} ({}): {}",
                approval.by,
                output::rfc3339(approval.at),
                approval.plan_hash,
                approval.reason
            )
        })
        .collect();
    [
        row.standing.as_str().to_owned(),
        output::rfc3339(row.at),
        row.kind.clone(),
        row.target.clone(),
        row.stack.clone(),
        row.object.clone(),
        row.action.clone(),
        row.outcome.clone(),
        row.run
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        row.trigger
            .map_or_else(String::new, |trigger| trigger.to_string()),
        row.commit
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        person(&row.author),
        person(&row.pusher),
        person(&row.operator),
        approvers.join("; "),
        row.by_another.map_or_else(String::new, |another| {
            if another { "yes" } else { "no" }.to_owned()
        }),
        row.pull_request.clone().unwrap_or_default(),
        row.reason.clone(),
        row.notes.join("; "),
    ]
}

fn text(row: &Row) -> String {
    let mut words = vec![
        format!("{:11}", row.standing.as_str()),
        output::moment(row.at),
    ];
    for word in [&row.stack, &row.action, &row.object, &row.outcome] {
        if !word.is_empty() {
            words.push(word.clone());
        }
    }
    if row.kind != "change" {
        words.push(row.kind.clone());
    }
    words.extend(row.commit.as_ref().map(|commit| commit.short().to_owned()));
    for (part, person) in [
        ("by", &row.author),
        ("pushed by", &row.pusher),
        ("asked for by", &row.operator),
    ] {
        words.extend(person.as_ref().map(|person| format!("{part} {person}")));
    }
    for approval in &row.approvals {
        words.push(format!("approved by {}", approval.by));
    }
    words.extend(row.pull_request.clone());
    if !row.notes.is_empty() {
        words.push(format!("[{}]", row.notes.join("; ")));
    }
    words.join("  ")
}
