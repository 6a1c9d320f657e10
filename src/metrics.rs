//! What is counted while the process runs, and how it is named for Prometheus. What a database
//! knows better (queue, leases, parked runs) is read when somebody asks, see `http::metrics`.
//!
//! Labels come from configuration and from our own words only, never from a payload.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::domain::run::{Action, Outcome, RunStatus};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NoticeLabels {
    pub sink: String,
    pub outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeliveryLabels {
    pub webhook: String,
    pub outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RunLabels {
    pub stack: String,
    pub status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChangeLabels {
    pub action: String,
    pub outcome: String,
}

/// Counters of this process. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    deliveries: Family<DeliveryLabels, Counter>,
    runs: Family<RunLabels, Counter>,
    changes: Family<ChangeLabels, Counter>,
    notices: Family<NoticeLabels, Counter>,
    push_to_live: Histogram,
    run_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            deliveries: Family::default(),
            runs: Family::default(),
            changes: Family::default(),
            notices: Family::default(),
            push_to_live: Histogram::new(exponential_buckets(0.25, 2.0, 14)),
            run_seconds: Histogram::new(exponential_buckets(0.05, 2.0, 14)),
        }
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let Self {
            deliveries,
            runs,
            changes,
            notices,
            push_to_live,
            run_seconds,
        } = self;
        registry.register(
            "lockstep_deliveries",
            "Webhook requests by webhook and outcome",
            deliveries.clone(),
        );
        registry.register("lockstep_runs", "Runs by stack and status", runs.clone());
        registry.register(
            "lockstep_changes",
            "Changes of runs by action and outcome",
            changes.clone(),
        );
        registry.register(
            "lockstep_notices",
            "Attempts to tell somebody of news, by sink and outcome: told, failed, gave-up",
            notices.clone(),
        );
        registry.register(
            "lockstep_push_to_live_seconds",
            "From a push's arrival to its being live and on record",
            push_to_live.clone(),
        );
        registry.register(
            "lockstep_run_seconds",
            "How long runs took",
            run_seconds.clone(),
        );
    }

    pub fn delivery(&self, webhook: &str, outcome: &str) {
        self.deliveries
            .get_or_create(&DeliveryLabels {
                webhook: webhook.to_owned(),
                outcome: outcome.to_owned(),
            })
            .inc();
    }

    pub fn run_finished(&self, stack: &str, status: RunStatus, micros: i64) {
        self.runs
            .get_or_create(&RunLabels {
                stack: stack.to_owned(),
                status: status.to_string(),
            })
            .inc();
        self.run_seconds.observe(seconds(micros));
    }

    pub fn change(&self, action: Action, outcome: Outcome) {
        self.changes
            .get_or_create(&ChangeLabels {
                action: action.to_string(),
                outcome: outcome.to_string(),
            })
            .inc();
    }

    pub fn notice(&self, sink: &str, outcome: &str) {
        self.notices
            .get_or_create(&NoticeLabels {
                sink: sink.to_owned(),
                outcome: outcome.to_owned(),
            })
            .inc();
    }

    pub fn push_to_live(&self, micros: i64) {
        self.push_to_live.observe(seconds(micros));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a duration in microseconds is far below 2^53"
)]
pub fn seconds(micros: i64) -> f64 {
    micros as f64 / 1_000_000.0
}
