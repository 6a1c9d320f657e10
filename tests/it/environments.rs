//! One repository, several environments: a stack each, with values and patches of its own.

use lockstep::{
    app::App,
    domain::run::{RunStatus, Trigger},
    sandbox::gateway::{Gateway, GatewayOptions},
    sync::worker,
};
use serde_json::Value;

use crate::{
    in_both_modes,
    support::app::{GATEWAY_SECRET, Mode, TestApp},
};

const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "live"];

const ORDERS: &str = r#"openapi: 3.0.3
info: { title: Orders, version: "1" }
paths: {}
x-tyk-api-gateway:
  info: { id: orders, name: Orders, state: { active: true } }
  upstream: { url: "${values.orders}" }
  server:
    listenPath: { value: "/orders/", strip: "${values.strip}" }
    authentication: { enabled: true }
"#;

/// One repository, three gateways, three stacks.
struct World {
    test: TestApp,
    app: App,
    gateways: Vec<Gateway>,
}

impl World {
    async fn new(mode: Mode) -> Self {
        let mut gateways = Vec::new();
        let mut sections = String::new();
        for name in ENVIRONMENTS {
            let gateway = Gateway::start(GatewayOptions {
                secret: GATEWAY_SECRET.to_owned(),
                tick: std::time::Duration::from_millis(3),
                ..GatewayOptions::default()
            });
            let gateway = gateway.await.unwrap();
            sections.push_str(&format!(
                "[target.{name}]\nkind = \"gateway\"\nnodes = [\"{}\"]\nsecret = {{ env = \"GATEWAY\" }}\n[stack.{name}]\nrepository = \"shop\"\ntarget = \"{name}\"\npath = \"apis\"\nvalues = [\"env/base.yaml\", \"env/{name}.yaml\"]\npatches = [\"env/{name}-patches.yaml\", {{ object = \"classic/ping\", merge = {{ tags = [\"{name}\"] }} }}]\n",
                gateway.url()
            ));
            gateways.push(gateway);
        }
        let test = TestApp::with_stack(mode, "path = \"other\"").await;
        let mut app = test
            .opened_with(&format!("{}\n{sections}", test.config_text))
            .await;
        app.lag_patience = std::time::Duration::ZERO;
        test.repo.write("other/notes.yaml", "nothing: here\n");
        test.repo.write("apis/orders.yaml", ORDERS);
        test.repo.write(
            "apis/ping.json",
            crate::support::app::classic("ping", "/ping/", "http://ping"),
        );
        test.repo
            .write("env/base.yaml", "strip: true\norders: http://orders\n");
        for name in ENVIRONMENTS {
            test.repo.write(
                &format!("env/{name}.yaml"),
                format!("orders: http://orders.{name}\n"),
            );
            test.repo.write(
                &format!("env/{name}-patches.yaml"),
                format!("object: classic/ping\noperations: [{{ op: add, path: /domain, value: {name}.example }}]\n"),
            );
        }
        Self {
            test,
            app,
            gateways,
        }
    }

    /// Commits, and runs every stack; which ones wrote something to their gateway.
    async fn push(&self, message: &str) -> Vec<&'static str> {
        self.test.repo.commit(message);
        let before: Vec<usize> = self.writes();
        for name in ENVIRONMENTS {
            let stack = self.app.stack(name).unwrap();
            self.app
                .store
                .want(&stack.id(), Trigger::Manual)
                .await
                .unwrap();
        }
        let reports = worker::run_pending(&self.app).await.unwrap();
        assert_eq!(reports.len(), ENVIRONMENTS.len(), "{reports:#?}");
        for report in reports {
            let settled = report.status == RunStatus::Succeeded;
            assert!(settled, "{:?}", report.message);
        }
        let after = self.writes();
        let changed = ENVIRONMENTS.into_iter().zip(before.iter().zip(after));
        changed
            .filter(|(_, (before, after))| *before != after)
            .map(|(name, _)| name)
            .collect()
    }

    fn writes(&self) -> Vec<usize> {
        let count = |gateway: &Gateway| gateway.log().iter().filter(|seen| seen.is_write()).count();
        self.gateways.iter().map(count).collect()
    }

    fn definition(&self, index: usize, id: &str) -> Value {
        self.gateways[index].live_classic(id).unwrap()
    }
}

async fn a_change_of_the_base_reaches_all_and_one_of_an_overlay_its_own(mode: Mode) {
    let world = World::new(mode).await;
    assert_eq!(world.push("Everything").await, ENVIRONMENTS);
    for (index, name) in ENVIRONMENTS.iter().enumerate() {
        let orders = world.definition(index, "orders");
        assert_eq!(
            orders["proxy"]["target_url"],
            format!("http://orders.{name}")
        );
        assert_eq!(orders["proxy"]["strip_listen_path"], true);
        let ping = world.definition(index, "ping");
        assert_eq!(ping["domain"], format!("{name}.example"));
        assert_eq!(ping["tags"], serde_json::json!([name]));
    }
    assert!(world.push("Nothing").await.is_empty());

    world
        .test
        .repo
        .write("apis/orders.yaml", ORDERS.replace("/orders/", "/shop/"));
    assert_eq!(world.push("The base").await, ENVIRONMENTS);

    world
        .test
        .repo
        .write("env/staging.yaml", "orders: http://canary\n");
    assert_eq!(world.push("A value of one").await, ["staging"]);
    assert_eq!(
        world.definition(1, "orders")["proxy"]["target_url"],
        "http://canary"
    );
    assert_eq!(
        world.definition(1, "orders")["proxy"]["listen_path"],
        "/shop/"
    );

    let patch = "object: classic/ping\nmerge: { domain: moved.example }\n";
    world.test.repo.write("env/live-patches.yaml", patch);
    assert_eq!(world.push("A patch of one").await, ["live"]);
    assert_eq!(world.definition(2, "ping")["domain"], "moved.example");

    world.test.repo.write("env/base.yaml", "strip: false\n");
    assert_eq!(world.push("A value of all").await, ENVIRONMENTS);
    for gateway in &world.gateways {
        assert_eq!(gateway.misuse(), Vec::<String>::new());
    }
    world.app.store.close().await;
    world.test.finish().await;
}

/// Whatever links to elsewhere is not followed, and says so.
async fn a_value_behind_a_link_stops_its_own_stack(mode: Mode) {
    let world = World::new(mode).await;
    world.push("Everything").await;
    std::fs::remove_file(world.test.repo.path().join("env/dev.yaml")).unwrap();
    world.test.repo.symlink("env/dev.yaml", "/etc/passwd");
    world.test.repo.commit("A link");
    let stack = world.app.stack("dev").unwrap();
    world
        .app
        .store
        .want(&stack.id(), Trigger::Manual)
        .await
        .unwrap();
    let reports = worker::run_pending(&world.app).await.unwrap();
    let message = reports[0].message.clone().unwrap_or_default();
    assert!(
        message.contains("env/dev.yaml: is a symbolic link"),
        "{message}"
    );
    world.app.store.close().await;
    world.test.finish().await;
}

in_both_modes!(
    a_change_of_the_base_reaches_all_and_one_of_an_overlay_its_own,
    a_value_behind_a_link_stops_its_own_stack,
);
