//! The command line as its users meet it: the real binary, its exit codes, what it prints where.

use std::time::Duration;

use lockstep::sandbox::gateway::{Gateway, GatewayOptions, Seen};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    app::{GATEWAY_SECRET, WEBHOOK_SECRET, classic, frozen_today, oas},
    git_repo::GitRepo,
    process::{Server, lockstep, until},
};

/// A folder with a configuration, its repository and its gateway.
struct Desk {
    folder: TempDir,
    repo: GitRepo,
    gateway: Gateway,
}

impl Desk {
    async fn new() -> Self {
        let options = GatewayOptions {
            secret: GATEWAY_SECRET.to_owned(),
            tick: Duration::from_millis(3),
            ..GatewayOptions::default()
        };
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
            repo: GitRepo::new(),
            gateway: Gateway::start(options).await.unwrap(),
        };
        desk.configure("");
        desk
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n\
             [webhook.acme]\nhost = \"github\"\nsecrets = [{{ env = \"WEBHOOK\" }}]\n\
             [repository.shop]\nurl = \"{}\"\nwebhook = \"acme\"\nfull_name = \"acme/shop\"\n\
             [target.production]\nkind = \"gateway\"\nnodes = [\"{}\"]\n\
             secret = {{ env = \"GATEWAY\" }}\n\
             [stack.shop]\nrepository = \"shop\"\ntarget = \"production\"\n{more}",
            self.repo.path().display(),
            self.gateway.url(),
        );
        std::fs::write(self.folder.path().join("lockstep.toml"), text).unwrap();
    }

    fn environment() -> Vec<(String, String)> {
        [("WEBHOOK", WEBHOOK_SECRET), ("GATEWAY", GATEWAY_SECRET)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run_with(&[], arguments).await
    }

    /// On a thread of its own, because the stand-in answers on this one.
    async fn run_with(&self, more: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
        let folder = self.folder.path().to_owned();
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let mut environment = Self::environment();
        for (name, value) in more {
            environment.push(((*name).to_owned(), (*value).to_owned()));
        }
        tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            lockstep(&folder, &environment, &arguments)
        })
        .await
        .unwrap()
    }

    async fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let arguments = [&["--output", "json"], arguments].concat();
        let (code, out, err) = self.run(&arguments).await;
        let value = serde_json::from_str(&out)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{out}\n{err}"));
        (code, value)
    }
}

#[test]
fn help_of_every_command_teaches() {
    let folder = tempfile::tempdir().unwrap();
    let commands = [
        "demo",
        "serve",
        "validate",
        "explain",
        "schema",
        "convert",
        "import",
        "diff",
        "plan",
        "sync",
        "drift",
        "adopt",
        "release",
        "recover",
        "hold",
        "release-hold",
        "rollback",
        "approve",
        "reject",
        "token",
        "status",
        "history",
        "as-of",
        "trace",
        "report",
        "show",
        "audit",
        "sandbox",
    ];
    let (code, overview, err) = lockstep(folder.path(), &[], &["--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for command in commands {
        assert!(
            overview.contains(&format!("\n  {command} ")),
            "{command} is not listed"
        );
        let (code, help, _) = lockstep(folder.path(), &[], &[command, "--help"]);
        assert_eq!(code, 0);
        assert!(help.contains("Usage: lockstep"), "{command}: {help}");
        assert!(help.contains("--config"), "{command}: {help}");
    }
    // A command that can leave with 2 says when.
    for command in [
        "plan", "sync", "drift", "diff", "rollback", "recover", "approve", "reject",
    ] {
        let (_, help, _) = lockstep(folder.path(), &[], &[command, "--help"]);
        assert!(help.contains("Exit code 0"), "{command}: {help}");
    }
}

#[test]
fn a_wrong_argument_is_a_1_and_leaves_standard_output_empty() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["no-such-command"][..],
        &["plan"],
        &["plan", "shop", "--revision", "main"],
        &["history", "--limit", "0"],
        &["--output", "xml", "status"],
    ] {
        let (code, out, err) = lockstep(folder.path(), &[], arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}");
        assert!(err.contains("error: "), "{arguments:?}: {err}");
    }
}

#[test]
fn a_missing_configuration_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for command in [&["status"][..], &["serve"], &["plan", "shop"]] {
        let (code, out, err) = lockstep(folder.path(), &[], command);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains("there is no lockstep.toml"), "{err}");
        assert!(err.contains("lockstep demo"), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_named_by_its_place_and_keeps_its_secrets() {
    let desk = Desk::new().await;
    desk.configure("brunch = \"main\"\n");
    let (code, out, err) = desk.run(&["status"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("brunch") && err.contains("branch"), "{err}");
    assert!(!err.contains("panicked"), "{err}");
    std::fs::write(
        desk.folder.path().join("lockstep.toml"),
        "[webhook.acme]\nhost = \"github\"\nsecrets = [\"plain-s3cr3t\"]\n",
    )
    .unwrap();
    let (code, _, err) = desk.run(&["status"]).await;
    assert_eq!(code, 1);
    assert!(
        err.contains("env") && !err.contains("plain-s3cr3t"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_is_not_there_is_answered_with_the_nearest() {
    let desk = Desk::new().await;
    for command in ["plan", "sync", "drift"] {
        let (code, out, err) = desk.run(&[command, "shpo"]).await;
        assert_eq!((code, out.as_str()), (1, ""), "{command}");
        assert!(err.contains("did you mean shop?"), "{command}: {err}");
    }
    let (code, _, err) = desk.run(&["show", "0000"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("error: "), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_of_an_engineer_at_the_command_line() {
    let desk = Desk::new().await;
    desk.repo
        .write("orders.json", oas("orders", "/orders/", "http://one.test/"))
        .write(
            "users.json",
            classic("users", "/users/", "http://one.test/"),
        );
    desk.repo.commit("Two APIs");

    // Nothing was done yet: a plan has changes, and says so by its exit code.
    let (code, plan) = desk.json(&["plan", "shop"]).await;
    assert_eq!(code, 2);
    assert_eq!(plan["empty"], false);
    assert!(!desk.gateway.log().iter().any(Seen::is_write));

    let (code, run) = desk.json(&["sync", "shop"]).await;
    assert_eq!(
        (code, run["status"].as_str()),
        (0, Some("succeeded")),
        "{run}"
    );
    assert_eq!(run["changes"].as_array().unwrap().len(), 2);
    let (code, out, err) = desk.run(&["sync", "shop"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("nothing to do"), "{out}");
    assert_eq!(err, "", "progress is for terminals");
    let (code, all) = desk.json(&["sync", "--all"]).await;
    assert_eq!((code, &all["applied"]), (0, &Value::from(0)), "{all}");
    assert_eq!(all["stacks"][0]["stack"], "shop");
    assert_eq!(desk.run(&["sync"]).await.0, 1, "which one, or all");
    let (code, plan) = desk.json(&["plan", "shop"]).await;
    assert_eq!((code, &plan["empty"]), (0, &Value::Bool(true)));

    // An API changed by hand.
    let (code, out, _) = desk.run(&["drift"]).await;
    assert_eq!(code, 0, "{out}");
    let mut changed: Value =
        serde_json::from_str(&classic("users", "/users/", "http://else.test/")).unwrap();
    changed["name"] = "by hand".into();
    let client = reqwest::Client::new();
    let admin = |request: reqwest::RequestBuilder| {
        request.header("x-tyk-authorization", GATEWAY_SECRET).send()
    };
    let url = desk.gateway.url();
    admin(client.put(format!("{url}/tyk/apis/users")).json(&changed))
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    admin(client.get(format!("{url}/tyk/reload/group?block=true")))
        .await
        .unwrap();
    let (code, drift) = desk.json(&["drift", "shop"]).await;
    assert_eq!(code, 2, "{drift}");
    assert!(drift.to_string().contains("http://else.test/"), "{drift}");
    let (code, _, _) = desk.run(&["sync", "shop"]).await;
    assert_eq!(code, 0);

    // What happened, and by whom.
    let (code, history) = desk
        .json(&["history", "--stack", "shop", "--object", "classic/users"])
        .await;
    assert_eq!(code, 0);
    assert!(
        !history["events"].as_array().unwrap().is_empty(),
        "{history}"
    );
    let id = run["run"].as_str().unwrap();
    let (code, shown) = desk.json(&["show", id]).await;
    assert_eq!((code, shown["run"].as_str()), (0, Some(id)), "{shown}");
    let (code, out, _) = desk.run(&["show", id]).await;
    assert_eq!(code, 0);
    assert!(out.contains("oas/orders"), "{out}");
    let (code, status) = desk.json(&["status"]).await;
    assert_eq!(code, 0);
    assert_eq!(status["stacks"][0]["stack"], "shop", "{status}");
    let (code, verified) = desk.json(&["audit", "verify"]).await;
    assert_eq!(code, 0, "{verified}");

    // A bad manifest: nothing is written, the place is named.
    let wrong = "{\n  \"api_id\": 7,\n  \"proxy\": {\"listen_path\": \"/users/\"}\n}";
    desk.repo.write("users.json", wrong);
    desk.repo.commit("Oops");
    let writes = desk
        .gateway
        .log()
        .iter()
        .filter(|seen| Seen::is_write(seen))
        .count();
    let (code, out, err) = desk.run(&["sync", "shop"]).await;
    assert_eq!(code, 1);
    assert!(format!("{out}{err}").contains("users.json:"), "{out}{err}");
    let after = desk
        .gateway
        .log()
        .iter()
        .filter(|seen| Seen::is_write(seen))
        .count();
    assert_eq!(writes, after);

    // Everything gone: the budget holds the deletions back.
    desk.repo.remove("users.json").remove("orders.json");
    desk.repo.commit("Empty");
    let (code, run) = desk.json(&["sync", "shop"]).await;
    assert_eq!((code, run["status"].as_str()), (2, Some("parked")), "{run}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_a_rollback_and_a_freeze_window_are_told_with_the_way_out_of_them() {
    let desk = Desk::new().await;
    desk.repo
        .write("users.json", classic("users", "/users/", "http://one/"));
    let first = desk.repo.commit("One");
    assert_eq!(desk.run(&["sync", "shop"]).await.0, 0);

    // A hold.
    for wrong in [
        &["hold", "shop"][..],
        &["hold", "shop", "--reason", " "],
        &["hold", "shop", "--reason", "x", "--until", "yesterday"],
        &["hold", "shop", "--reason", "x", "--until", "2020-01-01"],
        &["hold", "shpo", "--reason", "x"],
        &["release-hold", "shop"],
        &["rollback", "shop", "--to", "main", "--reason", "x"],
        &["rollback", "shop", "--to", "0123abcd", "--reason", "x"],
        &["rollback", "shop", "--to", &"0".repeat(40), "--reason", "x"],
        &["sync", "shop", "--override-freeze", ""],
    ] {
        let (code, out, err) = desk.run(wrong).await;
        assert_eq!((code, out.as_str()), (1, ""), "{wrong:?}");
        assert!(err.contains("error: "), "{wrong:?}: {err}");
    }
    let arguments = ["hold", "shop", "--until", "2h", "--reason", "Black Friday"];
    let (code, out, err) = desk.run(&arguments).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("Black Friday"), "{out}");
    let (code, out, err) = desk.run(&["sync", "shop"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    for part in [
        "shop is held since",
        "until",
        "Black Friday",
        "lockstep release-hold shop",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert_eq!(desk.run(&["plan", "shop"]).await.0, 0);
    let (_, status) = desk.json(&["status"]).await;
    assert_eq!(
        status["stacks"][0]["hold"]["reason"], "Black Friday",
        "{status}"
    );
    assert_eq!(status["stacks"][0]["standing"], "held (succeeded)");
    let (_, out, _) = desk.run(&["status"]).await;
    assert!(out.contains("shop is held since"), "{out}");
    let (code, released) = desk.json(&["release-hold", "shop"]).await;
    assert_eq!((code, &released["waited"]), (0, &Value::Array(Vec::new())));

    // A rollback, named by its first digits.
    desk.repo
        .write("users.json", classic("users", "/users/", "http://two/"));
    desk.repo.commit("Two");
    assert_eq!(desk.run(&["sync", "shop"]).await.0, 0);
    let arguments = [
        "rollback",
        "shop",
        "--to",
        &first[..8],
        "--reason",
        "Two is slow",
    ];
    let (code, run) = desk.json(&arguments).await;
    assert_eq!((code, run["revision"].as_str()), (0, Some(first.as_str())));
    let live =
        |desk: &Desk| desk.gateway.live_classic("users").unwrap()["proxy"]["target_url"].clone();
    assert_eq!(live(&desk), "http://one/");
    let (code, _, err) = desk.run(&["sync", "shop"]).await;
    assert_eq!(code, 1);
    assert!(err.contains(&format!("held at {}", &first[..8])), "{err}");
    assert_eq!(desk.run(&["release-hold", "shop"]).await.0, 0);
    assert_eq!(desk.run(&["sync", "shop"]).await.0, 0);
    assert_eq!(live(&desk), "http://two/");

    // A freeze window that is open today.
    desk.configure(&format!(
        "time_zone = \"Europe/Berlin\"\n{}\n",
        frozen_today()
    ));
    let (code, out, err) = desk.run(&["sync", "shop"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    for part in [
        "shop is frozen until",
        "Europe/Berlin",
        "--override-freeze REASON",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    let (_, status) = desk.json(&["status"]).await;
    assert!(status["stacks"][0]["frozen_until"].is_string(), "{status}");
    let arguments = ["sync", "shop", "--override-freeze", "Checkout is down"];
    assert_eq!(desk.run(&arguments).await.0, 0);
    let (_, out, _) = desk.run(&["history", "--stack", "shop"]).await;
    for part in [
        "stack.held",
        "hold.ended",
        "stack.rolled-back",
        "freeze.overridden",
        "Checkout is down",
        "Two is slow",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_whose_process_dies_is_finished_by_the_server_at_its_revision() {
    let desk = Desk::new().await;
    desk.repo
        .write("users.json", classic("users", "/users/", "http://one/"));
    let first = desk.repo.commit("One");
    assert_eq!(desk.run(&["sync", "shop"]).await.0, 0);
    let second = classic("users", "/users/", "http://two/");
    desk.repo.write("users.json", second);
    desk.repo.commit("Two");
    assert_eq!(desk.run(&["sync", "shop"]).await.0, 0);
    let live = || desk.gateway.live_classic("users").unwrap()["proxy"]["target_url"].clone();
    for point in ["after-intent", "after-writes", "before-outcome"] {
        let crash = [("LOCKSTEP_CRASH_AT", point)];
        let arguments = [
            "rollback",
            "shop",
            "--to",
            &first,
            "--reason",
            "Two is slow",
        ];
        let (code, out, _) = desk.run_with(&crash, &arguments).await;
        assert_eq!((code, out.as_str()), (-1, ""), "{point}");
        let config = desk.folder.path().join("lockstep.toml");
        let server =
            tokio::task::spawn_blocking(move || Server::start(&config, &Desk::environment(), &[]))
                .await
                .unwrap();
        until(
            "the earlier revision to be live and on record",
            async || {
                let (_, status) = desk.json(&["status"]).await;
                let shop = &status["stacks"][0];
                live() == "http://one/"
                    && shop["settled"] == first.as_str()
                    && shop["last_status"] == "succeeded"
            },
        )
        .await;
        let (_, status) = desk.json(&["status"]).await;
        assert_eq!(status["stacks"][0]["hold"]["revision"], first.as_str());
        assert_eq!(desk.run(&["release-hold", "shop"]).await.0, 0);
        until("the head to be live", async || live() == "http://two/").await;
        until("it to be on record", async || {
            let (_, status) = desk.json(&["status"]).await;
            status["stacks"][0]["standing"] == "succeeded"
        })
        .await;
        let code = tokio::task::spawn_blocking(move || server.terminate()).await;
        assert_eq!(code.unwrap(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_is_approved_at_the_command_line() {
    let desk = Desk::new().await;
    let people = "[person.grace]\nlogins = { github = \"grace\" }\n";
    desk.configure(&format!("allow_local_approval = false\n{people}"));
    for name in ["a", "b", "c"] {
        let text = classic(name, &format!("/{name}/"), "http://one.test/");
        desk.repo.write(&format!("{name}.json"), text);
    }
    desk.repo.commit("Three APIs");
    assert_eq!(desk.run(&["sync", "shop"]).await.0, 0);
    desk.repo.remove("a.json").remove("b.json");
    desk.repo.commit("Two away");
    let (code, run) = desk.json(&["sync", "shop"]).await;
    assert_eq!(code, 2, "{run}");
    let run = run["run"].as_str().unwrap();

    // Whoever looks sees what to do.
    let command = format!("lockstep approve {run} --reason …");
    for arguments in [&["status"][..], &["show", run]] {
        let (code, out, _) = desk.run(arguments).await;
        assert_eq!(code, 0);
        assert!(out.contains("0 of 1 approvals given, 1 missing"), "{out}");
        assert!(out.contains(&command), "{out}");
        assert!(out.contains("delete classic/a"), "{out}");
    }
    let (_, status) = desk.json(&["status"]).await;
    let awaiting = &status["stacks"][0]["awaiting_approval"][0];
    assert_eq!(awaiting["standing"]["needed"], 1, "{status}");

    // Without a token it is recorded, and does not count here.
    let approve = ["approve", run, "--reason", "it is meant"];
    let (code, out, _) = desk.run(&approve).await;
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("does not count"), "{out}");
    let (code, _, err) = desk.run(&["approve", run]).await;
    assert_eq!(code, 1, "{err}");
    let (code, _, err) = desk.run(&["approve", "no-such-run", "--reason", "x"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("lockstep history"), "{err}");

    // A token is printed once, alone.
    let create = ["token", "create", "--person", "grace", "--scope"];
    let (code, out, err) = desk.run(&[&create[..], &["read,approve"]].concat()).await;
    assert_eq!(code, 0, "{err}");
    let token = out.trim_end();
    assert!(
        token.starts_with("lst_") && token.lines().count() == 1,
        "{out}"
    );
    assert!(!err.contains(token), "{err}");

    let (code, _, err) = desk
        .run_with(&[("LOCKSTEP_TOKEN", "lst_nonsense")], &approve)
        .await;
    assert_eq!(code, 1);
    assert!(
        err.contains("LOCKSTEP_TOKEN") && !err.contains("nonsense"),
        "{err}"
    );
    let reject = ["reject", run, "--reason", "wait"];
    let (code, out, _) = desk.run_with(&[("LOCKSTEP_TOKEN", token)], &reject).await;
    assert_eq!(code, 0, "{out}");
    let (_, out, _) = desk.run(&["status"]).await;
    assert!(out.contains("rejected by grace: wait"), "{out}");
    let (code, out, _) = desk.run_with(&[("LOCKSTEP_TOKEN", token)], &approve).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("lockstep sync shop"), "{out}");
    let (code, run) = desk.json(&["sync", "shop"]).await;
    assert_eq!(code, 0, "{run}");
    assert_eq!(desk.gateway.live_ids(), ["c"]);
    let (_, shown) = desk.json(&["show", run["run"].as_str().unwrap()]).await;
    assert_eq!(shown["approved_by"][1]["person"], "grace", "{shown}");

    let id = token.split('_').nth(1).unwrap();
    let (code, _, _) = desk.run(&["token", "revoke", id]).await;
    assert_eq!(code, 0);
    let (_, list) = desk.json(&["token", "list"]).await;
    assert_eq!(list["tokens"][0]["state"], "revoked", "{list}");
    let (_, out, _) = desk.run(&["token", "list"]).await;
    let secret = token.rsplit('_').next().unwrap();
    assert!(out.contains(id) && !out.contains(secret), "{out}");
    assert!(!list.to_string().contains(secret), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_for_people_scopes_and_times_that_exist() {
    let desk = Desk::new().await;
    desk.configure("[person.grace]\nlogins = { github = \"grace\" }\n");
    for wrong in [
        &["token", "create", "--person", "nobody", "--scope", "read"][..],
        &[
            "token",
            "create",
            "--person",
            "grace",
            "--scope",
            "everything",
        ],
        &[
            "token",
            "create",
            "--person",
            "grace",
            "--scope",
            "read",
            "--expires",
            "9y",
        ],
        &[
            "token",
            "create",
            "--person",
            "grace",
            "--scope",
            "read",
            "--expires",
            "367d",
        ],
        &["token", "revoke", "no-such-token"],
    ] {
        let (code, out, err) = desk.run(wrong).await;
        assert_eq!((code, out.as_str()), (1, ""), "{wrong:?}");
        assert!(err.contains("error: "), "{err}");
    }
}

#[test]
fn validate_needs_no_configuration_and_lists_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(
        path.join("good.json"),
        classic("users", "/users/", "http://one.test/"),
    )
    .unwrap();
    std::fs::write(path.join("notes.yaml"), "shopping: [milk]\n").unwrap();
    let (code, out, err) = lockstep(path, &[], &["validate", "."]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("classic/users") && out.contains("notes.yaml"),
        "{out}"
    );
    std::fs::write(path.join("bad1.json"), "{\"api_id\": \"x\",").unwrap();
    std::fs::write(
        path.join("bad2.json"),
        oas("two words", "/two/", "http://one.test/"),
    )
    .unwrap();
    let (code, out, _) = lockstep(path, &[], &["validate", "."]);
    assert_eq!(code, 1);
    assert!(
        out.contains("bad1.json:1:") && out.contains("bad2.json:1:"),
        "{out}"
    );
    let (code, out, _) = lockstep(path, &[], &["--output", "json", "validate", "."]);
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &value["ok"]), (1, &Value::Bool(false)));
    let (code, out, err) = lockstep(path, &[], &["validate", "no-such-folder"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("no-such-folder"), "{err}");
}

#[test]
fn validate_reads_a_checkout_as_a_stack_does_without_any_secret() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    let config = r#"
webhook.acme = { host = "github", secrets = [{ env = "NOT_SET" }] }
repository.shop = { url = "https://github.com/acme/shop.git", webhook = "acme", token = { env = "NOT_SET" } }
target.production = { kind = "gateway", nodes = ["http://127.0.0.1:1"], secret = { env = "NOT_SET" }, org = "acme" }
[stack.shop]
repository = "shop"
target = "production"
path = "apis"
values = "env/production.yaml"
patches = [{ object = "users", merge = { tags = ["edge"] } }, "env/patches.yaml"]
"#;
    write("lockstep.toml", config);
    let users = classic("users", "/users/", "${values.users}");
    write("checkout/apis/users.json", &users);
    write("checkout/env/production.yaml", "users: http://one.test/\n");
    write(
        "checkout/env/patches.yaml",
        "object: users\nmerge: { domain: a.test }\n",
    );
    let arguments = ["validate", "--stack", "shop", "checkout"];
    let (code, out, err) = lockstep(folder.path(), &[], &arguments);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("classic/users") && out.contains("checkout/apis/users.json"),
        "{out}"
    );
    write("checkout/env/production.yaml", "user: http://one.test/\n");
    let (code, out, _) = lockstep(folder.path(), &[], &arguments);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("checkout/apis/users.json:1:"), "{out}");
    assert!(
        out.contains("there is no value users; did you mean user?"),
        "{out}"
    );

    // The same without a configuration, from within a folder whose base lies beside it.
    write("checkout/.git/HEAD", "");
    write(
        "checkout/k/prod/kustomization.yaml",
        "resources: [../base]\n",
    );
    write(
        "checkout/k/base/kustomization.yaml",
        "resources: [a.yaml]\n",
    );
    write(
        "checkout/k/base/a.yaml",
        "apiVersion: tyk.tyk.io/v1alpha1\nkind: ApiDefinition\nmetadata: { name: a }\nspec: { name: a, use_keyless: true, protocol: http, proxy: { listen_path: a, target_url: \"http://${values.user}\" } }\n",
    );
    write("checkout/env/production.yaml", "user: one.test\n");
    let prod = folder.path().join("checkout/k/prod");
    let (code, out, _) = lockstep(
        &prod,
        &[],
        &["validate", "--values", "env/production.yaml", "."],
    );
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("k/base/a.yaml:4:"), "{out}");
    assert!(
        !out.contains("target_url") && !out.contains("no value"),
        "{out}"
    );
    let (code, _, err) = lockstep(folder.path(), &[], &["validate", "--stack", "shap"]);
    assert_eq!(code, 1);
    assert!(err.contains("there is no stack shap"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_leaves_with_0() {
    let desk = Desk::new().await;
    let config = desk.folder.path().join("lockstep.toml");
    let code = tokio::task::spawn_blocking(move || {
        Server::start(&config, &Desk::environment(), &[]).terminate()
    })
    .await
    .unwrap();
    assert_eq!(code, Some(0));
}

#[test]
fn the_demo_holds_with_nothing_installed() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--output", "json", "demo", "--once"];
    let (code, out, err) = lockstep(folder.path(), &[], &arguments);
    assert_eq!(code, 0, "{out}{err}");
    let said: Value = serde_json::from_str(&out).unwrap();
    let steps = said["steps"].as_array().unwrap();
    let names: Vec<&str> = steps
        .iter()
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    let expected = [
        "create", "update", "drift", "delete", "refused", "budget", "history",
    ];
    assert_eq!(names, expected);
    for step in steps {
        assert_eq!(step["ok"], true, "{step}");
        assert!(
            step["seconds"].is_number() && step["detail"].is_string(),
            "{step}"
        );
    }
    // It worked in a temporary folder, and nothing is left behind here.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_node_that_is_down_hides_none_of_the_others() {
    let desk = Desk::new().await;
    let named =
        classic("a", "/a/", "http://a").replace("\"name\":\"a\"", "\"name\":\"a \\u001b[31m\"");
    desk.repo.write("a.json", named);
    desk.repo.commit("one");
    assert_eq!(desk.run(&["sync", "shop"]).await.0, 0);
    let path = desk.folder.path().join("lockstep.toml");
    let url = desk.gateway.url();
    let text = std::fs::read_to_string(&path).unwrap();
    let two = text.replace(
        &format!("[\"{url}\"]"),
        &format!("[\"{url}\", \"http://127.0.0.1:1\"]"),
    );
    std::fs::write(&path, two).unwrap();
    desk.gateway.remove_by_hand("a");
    desk.gateway.reload_now().await;
    for (arguments, shown) in [
        (vec!["plan", "shop"], "create classic/a"),
        (vec!["drift"], "classic/a removed from the gateway"),
        (vec!["status", "--objects"], "not on the gateway"),
    ] {
        let (code, out, err) = desk.run(&arguments).await;
        assert_eq!(code, 1, "{arguments:?}: {out}{err}");
        assert!(out.contains(shown), "{arguments:?}: {out}");
        assert!(
            err.contains("http://127.0.0.1:1: ") || err.contains("127.0.0.1:1: "),
            "{err}"
        );
        let arguments = [arguments, vec!["--output", "json"]].concat();
        let (code, out, _) = desk.run(&arguments).await;
        let data: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (code, &data["unreached"][0]["node"]),
            (1, &json!("127.0.0.1:1"))
        );
    }
    desk.run(&["sync", "shop"]).await;
    let (_, out, _) = desk.run(&["status", "--objects"]).await;
    assert!(out.contains("a \\u{1b}[31m"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "one desk for all that an auditor asks"
)]
async fn an_auditor_asks_for_runs_changes_the_past_and_a_report() {
    let desk = Desk::new().await;
    desk.repo
        .write("orders.json", oas("orders", "/orders/", "http://one.test/"))
        .write(
            "apis/users.json",
            classic("users", "/users/", "http://one.test/"),
        );
    desk.repo.commit("=cmd|' /C calc'!A0 (#7)");
    assert_eq!(desk.run(&["sync", "shop"]).await.0, 0);
    desk.repo.write(
        "apis/users.json",
        classic("users", "/users/", "http://two.test/"),
    );
    desk.repo.commit("Second");
    assert_eq!(desk.run(&["sync", "shop"]).await.0, 0);
    let head = desk.repo.head();

    for (list, count) in [
        ("runs", 2),
        ("changes", 3),
        ("objects", 2),
        ("deliveries", 0),
        ("approvals", 0),
    ] {
        let (code, found) = desk.json(&["history", list]).await;
        assert_eq!(code, 0);
        assert_eq!(
            found[list].as_array().unwrap().len(),
            count,
            "{list}: {found}"
        );
        assert_eq!(desk.run(&["history", list]).await.0, 0);
    }
    let (_, first) = desk.json(&["history", "runs", "--limit", "1"]).await;
    let before = first["before"].as_str().unwrap();
    let (_, second) = desk
        .json(&["history", "runs", "--limit", "1", "--before", before])
        .await;
    assert_ne!(first["runs"][0]["run"], second["runs"][0]["run"]);
    let (_, found) = desk
        .json(&[
            "history",
            "changes",
            "--commit",
            &head[..8],
            "--outcome",
            "applied",
        ])
        .await;
    assert_eq!(found["changes"][0]["object"], "classic/users");
    for wrong in [
        &["history", "runs", "--status", "fine"][..],
        &["history", "--type", "no.such"],
        &["history", "--before", "nonsense"],
        &["history", "runs", "--commit", "abc"],
        &["history", "--before", before, "--after", before],
        &["report", "changes"],
        &["report", "changes", "--quarter", "2026Q9"],
        &["as-of", "production", "--at", "teatime"],
        &["trace", "no/such/file"],
    ] {
        let (code, out, err) = desk.run(wrong).await;
        assert_eq!((code, out.as_str()), (1, ""), "{wrong:?}");
        assert!(err.contains("error: "), "{err}");
    }

    let (code, life) = desk
        .json(&["history", "object", "production", "classic/users"])
        .await;
    assert_eq!(code, 0);
    assert_eq!(life["chapters"].as_array().unwrap().len(), 2, "{life}");
    let (_, out, _) = desk
        .run(&["history", "object", "production", "classic/users"])
        .await;
    assert!(out.contains("http://two.test/"), "{out}");
    for what in ["apis/users.json", "classic/users", &head[..9]] {
        let (code, out, err) = desk.run(&["trace", what]).await;
        assert_eq!(code, 0, "{err}");
        assert!(
            out.contains(&head[..8]) && out.contains("live"),
            "{what}: {out}"
        );
    }

    // The past as manifests: they describe what is live, with references for secrets.
    let (code, past) = desk
        .json(&["as-of", "production", "--at", "0m", "--into", "past"])
        .await;
    assert_eq!(code, 0, "{past}");
    assert_eq!(past["files"].as_array().unwrap().len(), 2, "{past}");
    assert!(
        past["rests_on"][0]
            .as_str()
            .unwrap()
            .contains("last looked at"),
        "{past}"
    );
    let (code, out, err) = desk.run(&["validate", "past"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let written = std::fs::read_to_string(desk.folder.path().join("past/apis/users.json"))
        .unwrap_or_else(|error| panic!("{error}: {past}"));
    assert!(
        written.contains("http://two.test/") && written.contains("env://LOCKSTEP_"),
        "{written}"
    );
    let (code, out, _) = desk.run(&["as-of", "production", "--at", "1d"]).await;
    assert_eq!((code, out.as_str()), (0, ""));

    let (code, csv, _) = desk
        .run(&["report", "changes", "--since", "1d", "--csv"])
        .await;
    assert_eq!(code, 0);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(lines[1].starts_with("\"by-hand\""), "{csv}");
    for cell in csv.split(&[',', '\n'][..]) {
        assert!(
            !cell.trim_start_matches('"').starts_with(['=', '+', '@']),
            "{cell}"
        );
    }
    let (code, report) = desk.json(&["report", "changes", "--since", "1d"]).await;
    assert_eq!((code, &report["count"]), (0, &Value::from(3)), "{report}");
    let (_, exported) = desk.json(&["history", "--type", "history.exported"]).await;
    assert_eq!(
        exported["events"].as_array().unwrap().len(),
        3,
        "{exported}"
    );
    let (code, _) = desk.json(&["audit", "verify"]).await;
    assert_eq!(code, 0);
}

#[test]
fn who_reads_no_further_is_no_mistake() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .arg("schema")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    assert_eq!(done.status.code(), Some(0));
}

#[test]
fn data_that_cannot_be_written_does_not_pass_for_complete() {
    use std::process::Command;
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .arg("schema")
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        said.starts_with("error: standard output cannot be written"),
        "{said}"
    );
}
