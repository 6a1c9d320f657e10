//! A repository, a gateway and an app in a temporary folder.

use std::{path::Path, process::Command, sync::Arc};

use lockstep::{
    app::{App, Stack},
    config::Config,
    sandbox::gateway::{Gateway, GatewayOptions, Keep},
    sync::{
        lease::Holding,
        run::{self, Report},
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const SECRET: &str = "bench-gateway-secret";

/// Which documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Documents {
    Classic,
    Oas,
}

pub fn document(documents: Documents, index: usize) -> Value {
    let id = format!("bench-{index}");
    match documents {
        Documents::Classic => json!({
            "api_id": id, "org_id": "default", "name": id, "active": true, "use_keyless": true,
            "proxy": {"listen_path": format!("/{id}/"), "target_url": "http://127.0.0.1:9/", "strip_listen_path": true},
            "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default", "use_extended_paths": true}}},
        }),
        Documents::Oas => json!({
            "openapi": "3.0.3", "info": {"title": id, "version": "1"},
            "paths": {
                "/a": {"get": {"operationId": "getA", "responses": {"200": {"description": "ok"}}}},
                "/b": {"get": {"operationId": "getB", "responses": {"200": {"description": "ok"}}}},
                "/c": {"post": {"operationId": "postC", "responses": {"200": {"description": "ok"}}}},
            },
            "x-tyk-api-gateway": {
                "info": {"id": id, "orgId": "default", "name": id, "state": {"active": true}},
                "upstream": {"url": "http://127.0.0.1:9/"},
                "server": {"listenPath": {"value": format!("/{id}/"), "strip": true}},
            },
        }),
    }
}

/// A gateway to measure with: the stand-in, or the one that `LOCKSTEP_BENCH_GATEWAY_URL` and
/// `LOCKSTEP_BENCH_GATEWAY_SECRET` name.
pub struct Target {
    pub url: String,
    pub secret: String,
    _stand_in: Option<Gateway>,
}

impl Target {
    pub async fn start() -> Self {
        if let Ok(url) = std::env::var("LOCKSTEP_BENCH_GATEWAY_URL") {
            let secret = std::env::var("LOCKSTEP_BENCH_GATEWAY_SECRET").unwrap();
            return Self {
                url,
                secret,
                _stand_in: None,
            };
        }
        let options = GatewayOptions {
            secret: SECRET.to_owned(),
            keep: Keep::Nothing,
            ..GatewayOptions::default()
        };
        let gateway = Gateway::start(options).await.unwrap();
        Self {
            url: gateway.url(),
            secret: SECRET.to_owned(),
            _stand_in: Some(gateway),
        }
    }

    /// Removes every API, so that the next measurement begins on an empty gateway.
    pub async fn empty(&self) {
        let http = reqwest::Client::new();
        let get = |path: &str| {
            http.get(format!("{}{path}", self.url))
                .header("x-tyk-authorization", &self.secret)
                .send()
        };
        let apis: Vec<Value> = get("/tyk/apis").await.unwrap().json().await.unwrap();
        for api in apis {
            let id = api["api_id"].as_str().unwrap();
            http.delete(format!("{}/tyk/apis/{id}", self.url))
                .header("x-tyk-authorization", &self.secret)
                .send()
                .await
                .unwrap();
        }
        get("/tyk/reload?block=true").await.unwrap();
    }
}

pub struct World {
    pub app: App,
    pub stack: Arc<Stack>,
    _folder: TempDir,
}

impl World {
    /// A repository with so many documents, bound to the target.
    pub async fn new(target: &Target, documents: Documents, count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("repo");
        std::fs::create_dir_all(repository.join("apis")).unwrap();
        for index in 0..count {
            let text = document(documents, index).to_string();
            std::fs::write(repository.join(format!("apis/{index}.json")), text).unwrap();
        }
        git(&repository, &["init", "-q", "-b", "main"]);
        git(&repository, &["add", "-A"]);
        git(&repository, &["commit", "-q", "-m", "bench"]);
        let text = format!(
            r#"
[storage]
dir = "data"
[repository.bench]
url = "./repo"
[target.bench]
kind = "gateway"
nodes = ["{}"]
secret = {{ env = "GATEWAY" }}
[stack.bench]
repository = "bench"
path = "apis"
target = "bench"
"#,
            target.url
        );
        let secret = target.secret.clone();
        let environment = move |_: &str| Some(secret.clone());
        let config = Config::parse(&text, folder.path(), &environment).unwrap();
        let app = App::open(&config).await.unwrap();
        let stack = app.stack("bench").unwrap().clone();
        Self {
            app,
            stack,
            _folder: folder,
        }
    }

    pub async fn run(&self) -> Report {
        let holding = Holding::take(&self.app.store, "bench", &self.app.worker)
            .await
            .unwrap()
            .unwrap();
        let state = self.app.store.stack_state("bench").await.unwrap();
        let state = state.unwrap_or_else(|| self.stack.fresh_state());
        let report = run::run_stack(&self.app, &holding, &self.stack, &state, None, &run::silent)
            .await
            .unwrap();
        holding.release().await.unwrap();
        report
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let done = Command::new("git")
        .args([
            "-c",
            "user.name=Bench",
            "-c",
            "user.email=bench@example.org",
        ])
        .args(arguments)
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(done.success());
}
