//! A gateway that lost its disk, with 1,000 APIs to be put back in one run, beside a bare client
//! that posts each, reloads once and lists.

use std::time::Instant;

use lockstep::domain::run::RunStatus;

use super::{
    apply::{COUNT, bare_client},
    random_pause, repeats, report,
    world::{Documents, Target, World},
};

pub async fn run() {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let documents = Documents::Classic;
    for _ in 0..repeats() {
        let target = Target::start().await;
        target.empty().await;
        let world = World::new(&target, documents, COUNT).await;
        assert_eq!(world.run().await.status, RunStatus::Succeeded);
        target.empty().await;
        random_pause().await;
        let start = Instant::now();
        let report = world.run().await;
        ours.push(start.elapsed().as_secs_f64());
        assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.message);
        assert_eq!(report.changes.len(), COUNT);

        let target = Target::start().await;
        target.empty().await;
        random_pause().await;
        let start = Instant::now();
        bare_client(&target, documents).await;
        bare.push(start.elapsed().as_secs_f64());
    }
    report(
        &format!("refill, {COUNT} classic APIs of a gateway that lost them"),
        "s",
        &ours,
        &bare,
    );
}
