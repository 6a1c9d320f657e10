//! 1,000 APIs onto an empty gateway, beside a bare client that posts each, reloads once and lists.

use std::time::Instant;

use lockstep::domain::run::RunStatus;
use serde_json::Value;

use super::{
    random_pause, repeats, report,
    world::{Documents, Target, World, document},
};

pub const COUNT: usize = 1_000;

pub async fn run() {
    for (name, documents) in [("classic", Documents::Classic), ("OAS", Documents::Oas)] {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..repeats() {
            let target = Target::start().await;
            target.empty().await;
            let world = World::new(&target, documents, COUNT).await;
            random_pause().await;
            let start = Instant::now();
            let report = world.run().await;
            ours.push(start.elapsed().as_secs_f64());
            assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.message);

            let target = Target::start().await;
            target.empty().await;
            random_pause().await;
            let start = Instant::now();
            bare_client(&target, documents).await;
            bare.push(start.elapsed().as_secs_f64());
        }
        report(
            &format!("apply, {COUNT} {name} APIs onto an empty gateway"),
            "s",
            &ours,
            &bare,
        );
    }
}

pub async fn bare_client(target: &Target, documents: Documents) {
    let http = reqwest::Client::new();
    let path = match documents {
        Documents::Classic => "/tyk/apis",
        Documents::Oas => "/tyk/apis/oas",
    };
    for index in 0..COUNT {
        let body = document(documents, index).to_string();
        let answer = http
            .post(format!("{}{path}", target.url))
            .header("x-tyk-authorization", &target.secret)
            .body(body)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success());
        answer.bytes().await.unwrap();
    }
    for path in ["/tyk/reload?block=true", "/tyk/apis"] {
        let answer = http
            .get(format!("{}{path}", target.url))
            .header("x-tyk-authorization", &target.secret)
            .send()
            .await
            .unwrap();
        let bytes = answer.bytes().await.unwrap();
        if path == "/tyk/apis" {
            let listed: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
            assert!(listed.len() >= COUNT);
        }
    }
}
