//! `GET /metrics`, in Prometheus's text form. Counters are kept by the process; what the database
//! knows is read when somebody asks, within a bound in time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State as Shared,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use std::sync::atomic::AtomicU64;

use super::State;
use crate::{
    app::{App, Queue},
    domain::run::RunStatus,
    metrics::seconds,
    store::{self, StackState},
    sync::{checkpoint, hold::lets_begin, report},
};

pub fn router() -> Router<Arc<State>> {
    Router::new().route("/metrics", get(metrics))
}

type FloatGauge = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StackLabel {
    stack: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabel {
    target: String,
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    const PATIENCE: Duration = Duration::from_secs(3);
    let mut registry = Registry::default();
    state.metrics.register(&mut registry);
    let store_up: Gauge = Gauge::default();
    let queue_up: Gauge = Gauge::default();
    if let Some(app) = &state.app {
        let read = tokio::time::timeout(PATIENCE, of_store(app, &mut registry)).await;
        let sinks = tokio::time::timeout(PATIENCE, of_sinks(app, &mut registry)).await;
        let proof = tokio::time::timeout(PATIENCE, of_proof(app, &mut registry)).await;
        let is_up = [read, sinks, proof]
            .iter()
            .all(|read| matches!(read, Ok(Ok(()))));
        store_up.set(i64::from(is_up));
        registry.register("lockstep_store_up", "Whether the store answers", store_up);
    }
    let depth = tokio::time::timeout(PATIENCE, of_queue(&state.queue, &mut registry)).await;
    queue_up.set(i64::from(matches!(depth, Ok(Ok(())))));
    registry.register("lockstep_queue_up", "Whether the queue answers", queue_up);

    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        text.clear();
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

async fn of_queue(queue: &Queue, registry: &mut Registry) -> anyhow::Result<()> {
    let messages: Gauge = Gauge::default();
    let oldest: FloatGauge = Gauge::default();
    let set_aside: Gauge = Gauge::default();
    match queue {
        Queue::Local(local) => {
            let depth = local.depth().await?;
            let now = crate::app::now();
            messages.set(depth.waiting);
            oldest.set(depth.oldest.map_or(0.0, |at| seconds(now - at)));
            set_aside.set(depth.set_aside);
        }
        Queue::JetStream(jetstream) => {
            let depth = jetstream.depth().await?;
            messages.set(i64::try_from(depth.messages).unwrap_or(i64::MAX));
            oldest.set(depth.oldest.map_or(0.0, |age| age.as_secs_f64()));
            set_aside.set(i64::try_from(depth.set_aside).unwrap_or(i64::MAX));
        }
    }
    registry.register(
        "lockstep_queue_messages",
        "Messages that wait in the queue",
        messages,
    );
    registry.register(
        "lockstep_queue_oldest_seconds",
        "Age of the oldest waiting message",
        oldest,
    );
    registry.register(
        "lockstep_queue_set_aside",
        "Messages that could not be read and were set aside",
        set_aside,
    );
    Ok(())
}

async fn of_store(app: &App, registry: &mut Registry) -> store::Result<()> {
    let now = app.now();
    let drifted: Family<StackLabel, Gauge> = Family::default();
    let parked: Family<StackLabel, Gauge> = Family::default();
    let failing: Family<StackLabel, Gauge> = Family::default();
    let waiting: Family<StackLabel, Gauge> = Family::default();
    let last_success: Family<StackLabel, FloatGauge> = Family::default();
    let lease_age: Family<TargetLabel, FloatGauge> = Family::default();
    let unsettled: FloatGauge = Gauge::default();
    let states = app.store.stack_states().await?;
    let waits_by_intent = of_holds(app, &states, now, registry);
    for state in states {
        if !app.stacks.contains_key(&state.stack) {
            continue;
        }
        let label = StackLabel {
            stack: state.stack.clone(),
        };
        drifted.get_or_create(&label).set(state.drifted);
        let is = |status: RunStatus| i64::from(state.last_status == Some(status));
        parked.get_or_create(&label).set(is(RunStatus::Parked));
        let fails = is(RunStatus::Failed) + is(RunStatus::Refused);
        failing.get_or_create(&label).set(fails);
        waiting
            .get_or_create(&label)
            .set(i64::from(state.wanted > state.done));
        if let Some(at) = state.last_success_at {
            last_success.get_or_create(&label).set(seconds(at));
        }
    }
    for target in app.targets.keys() {
        let target = target.clone();
        lease_age.get_or_create(&TargetLabel { target }).set(0.0);
    }
    for lease in app.store.leases().await? {
        if !app.targets.contains_key(&lease.target) {
            continue;
        }
        lease_age
            .get_or_create(&TargetLabel {
                target: lease.target,
            })
            .set(lease.age.as_secs_f64());
    }
    let mut waiting_since = app.store.oldest_unsettled().await?;
    waiting_since.retain(|stack, _| !waits_by_intent.contains(stack));
    if let Some(at) = waiting_since.into_values().min() {
        unsettled.set(seconds(now - at));
    }
    registry.register(
        "lockstep_drifted_objects",
        "Objects that differ from what the last run left",
        drifted,
    );
    registry.register(
        "lockstep_parked",
        "1 while something of the stack waits for a person",
        parked,
    );
    registry.register(
        "lockstep_failing",
        "1 while the stack's last run failed or was refused",
        failing,
    );
    registry.register(
        "lockstep_waiting",
        "1 while the stack wants a run that has not ended",
        waiting,
    );
    registry.register(
        "lockstep_last_success_timestamp_seconds",
        "When the stack was last in step, seconds since 1970",
        last_success,
    );
    registry.register(
        "lockstep_lease_age_seconds",
        "For how long a target's lease has been held without a break; 0 while it is free",
        lease_age,
    );
    registry.register(
        "lockstep_oldest_unsettled_push_seconds",
        "Age of the oldest push that no run has settled, but for those that a hold or a freeze \
         window keeps waiting",
        unsettled,
    );
    Ok(())
}

/// Tells what is held and frozen, and answers the stacks that wait because somebody wants it so.
fn of_holds(
    app: &App,
    states: &[StackState],
    now: i64,
    registry: &mut Registry,
) -> BTreeSet<String> {
    let held: Family<StackLabel, Gauge> = Family::default();
    let frozen: Family<StackLabel, Gauge> = Family::default();
    let mut waits = BTreeSet::new();
    for state in states {
        let Some(stack) = app.stack(&state.stack) else {
            continue;
        };
        let label = StackLabel {
            stack: state.stack.clone(),
        };
        let is_held = state.hold.as_ref().is_some_and(|hold| !hold.is_over(now));
        held.get_or_create(&label).set(i64::from(is_held));
        let is_frozen = stack.freeze.frozen_until(now).is_some();
        frozen.get_or_create(&label).set(i64::from(is_frozen));
        if !lets_begin(stack, state, now) {
            waits.insert(state.stack.clone());
        }
    }
    registry.register(
        "lockstep_stack_held",
        "1 while somebody holds the stack",
        held,
    );
    registry.register(
        "lockstep_stack_frozen",
        "1 inside a freeze window of the stack",
        frozen,
    );
    waits
}

/// How the history's proof stands.
async fn of_proof(app: &App, registry: &mut Registry) -> store::Result<()> {
    let now = app.now();
    let proof = checkpoint::proof(app).await?;
    let broken: Gauge = Gauge::default();
    let is_broken = proof.check.flaw.is_some() || proof.check.unsigned.is_some();
    broken.set(i64::from(is_broken));
    registry.register(
        "lockstep_audit_broken",
        "1 while the history's own check finds it other than it was written, or no checkpoint of it \
         can be signed",
        broken,
    );
    if let Some(at) = proof.check.sound_at {
        let sound: FloatGauge = Gauge::default();
        sound.set(seconds(at));
        registry.register(
            "lockstep_audit_sound_timestamp_seconds",
            "When the history's own check last came to the end and found nothing wrong, seconds \
             since 1970",
            sound,
        );
    }
    if proof.is_keyless {
        return Ok(());
    }
    let age: FloatGauge = Gauge::default();
    age.set(
        proof
            .last
            .as_ref()
            .map_or(0.0, |last| seconds(now - last.at)),
    );
    registry.register(
        "lockstep_audit_checkpoint_age_seconds",
        "Age of the last signed checkpoint of the history",
        age,
    );
    let unsigned: Gauge = Gauge::default();
    unsigned.set(proof.head.size - proof.last.map_or(0, |last| last.size));
    registry.register(
        "lockstep_audit_unsigned_events",
        "Events of the history that no checkpoint covers yet",
        unsigned,
    );
    Ok(())
}

async fn of_sinks(app: &App, registry: &mut Registry) -> store::Result<()> {
    let now = app.now();
    let failing_sinks: Family<SinkLabel, Gauge> = Family::default();
    let untold: Family<SinkLabel, FloatGauge> = Family::default();
    let mut standings = report::standings(app).await?;
    standings.extend(checkpoint::standings(app).await?);
    for standing in standings {
        let label = SinkLabel {
            sink: standing.sink,
        };
        let fails = standing.problem.is_some();
        failing_sinks.get_or_create(&label).set(i64::from(fails));
        let lag = standing.untold_since.map_or(0.0, |at| seconds(now - at));
        untold.get_or_create(&label).set(lag);
    }
    registry.register(
        "lockstep_sink_failing",
        "1 while a receiver of news did not take the last notice",
        failing_sinks,
    );
    registry.register(
        "lockstep_sink_lag_seconds",
        "Age of the oldest event that a receiver of news is still to be told of",
        untold,
    );
    Ok(())
}
