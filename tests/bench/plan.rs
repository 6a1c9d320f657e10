//! A plan with nothing to do, beside the target's bare listings read into values.

use std::time::Instant;

use lockstep::sync::look;
use serde_json::Value;

use super::{
    repeats, report,
    world::{Documents, Target, World},
};

pub async fn run() {
    for count in [1_000, 10_000] {
        let target = Target::start().await;
        target.empty().await;
        let world = World::new(&target, Documents::Classic, count).await;
        world.run().await;
        let state = world.app.store.stack_state("bench").await.unwrap().unwrap();
        let (mut ours, mut whole, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..repeats() {
            let start = Instant::now();
            let head = look::head(&world.app, &world.stack).await.unwrap();
            let wanted = look::wanted(&world.app, &world.stack, &head).await.unwrap();
            let git = start.elapsed().as_secs_f64();
            let start = Instant::now();
            let look = look::look(&world.app, &world.stack, &state, wanted, world.app.now())
                .await
                .unwrap();
            let target_side = start.elapsed().as_secs_f64();
            assert!(look.plan.is_empty(), "{}", look.plan);
            ours.push(target_side);
            whole.push(git + target_side);

            let start = Instant::now();
            bare_listings(&target).await;
            bare.push(start.elapsed().as_secs_f64());
        }
        report(
            &format!("plan, {count} objects, nothing to do, against the target"),
            "s",
            &ours,
            &bare,
        );
        report(
            &format!("plan, {count} objects, Git and its manifests read too"),
            "s",
            &whole,
            &bare,
        );
    }
}

async fn bare_listings(target: &Target) {
    let http = reqwest::Client::new();
    for path in ["/tyk/apis", "/tyk/policies"] {
        let answer = http
            .get(format!("{}{path}", target.url))
            .header("x-tyk-authorization", &target.secret)
            .send()
            .await
            .unwrap();
        let bytes = answer.bytes().await.unwrap();
        let listed: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
        std::hint::black_box(listed);
    }
}
