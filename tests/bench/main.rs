//! Benchmarks, run by hand: `cargo bench -- NAME`, a file a NAME.
//!
//! Each figure is a ratio against a baseline that is measured in the same run, the two in turns,
//! with a random pause before each so that a gateway's one-second tick is met at every phase. The
//! median of the ratios counts; the seconds only give a feeling.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

mod apply;
mod audit;
mod history;
mod ingest;
mod manifests;
mod plan;
mod refill;
mod world;

use std::time::Duration;

fn main() {
    // Cargo adds --bench.
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wants = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    if wants("ingest") {
        runtime.block_on(ingest::run());
    }
    if wants("apply") {
        runtime.block_on(apply::run());
    }
    if wants("refill") {
        runtime.block_on(refill::run());
    }
    if wants("manifests") {
        manifests::run();
    }
    if wants("audit") {
        runtime.block_on(audit::run());
    }
    // Fills a database, so only by its name.
    if chosen.iter().any(|chosen| chosen == "history") {
        runtime.block_on(history::run());
    }
    if wants("plan") {
        runtime.block_on(plan::run());
    }
    runtime.shutdown_background();
}

/// How often each pair is measured; `LOCKSTEP_BENCH_REPEATS` sets another number.
fn repeats() -> usize {
    std::env::var("LOCKSTEP_BENCH_REPEATS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(9)
}

/// Up to a second, so that a tick is met at a random phase.
async fn random_pause() {
    let random = uuid::Uuid::new_v4().as_u128() % 1_000;
    tokio::time::sleep(Duration::from_millis(u64::try_from(random).unwrap())).await;
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Prints one line: both medians, and the median, lowest and highest of the paired ratios.
fn report(name: &str, unit: &str, ours: &[f64], baseline: &[f64]) {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(baseline)
        .map(|(ours, base)| ours / base)
        .collect();
    let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = ratios.iter().copied().fold(0.0, f64::max);
    println!(
        "{name}: ours {:.3} {unit}, baseline {:.3} {unit}, ratio {:.2} ({lowest:.2}–{highest:.2}), {} pairs",
        median(ours),
        median(baseline),
        median(&ratios),
        ours.len()
    );
}
