//! Configurations as people write them, right and wrong, and what is said about them.

use std::{path::Path, time::Duration};

use lockstep::{
    config::{
        CheckpointSink, Config, ConfigErrors, DriftPolicy, FileFilter, Receiver, ReceiverConfig,
        RepositoryPath, SecretKey, Storage,
    },
    domain::{audit::event::Person, guard::RequireApproval, notice::News},
    webhook::{Host, Scheme},
};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};

const EXAMPLE: &str = include_str!("../../deploy/lockstep.example.toml");
const HEX_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const BASE64_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Needs no more than this; tests add what they are about.
const SMALL: &str = r#"
[webhook.acme]
host = "github"
secrets = [{ env = "HOOK" }]
[repository.shop]
url = "https://github.com/acme/shop.git"
webhook = "acme"
[target.production]
kind = "gateway"
nodes = ["http://gateway:8080"]
secret = { env = "GATEWAY" }
[stack.shop]
repository = "shop"
target = "production"
"#;

fn env(name: &str) -> Option<String> {
    let value = match name {
        "HOOK" | "LOCKSTEP_WEBHOOK_ACME" => "planted-hook-secret",
        "SIGNING" | "LOCKSTEP_WEBHOOK_APIS" | "LOCKSTEP_NOTIFY_OPS" => {
            "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q="
        }
        "GATEWAY" | "LOCKSTEP_TARGET_PRODUCTION" => "planted-gateway-secret",
        "TOKEN" | "LOCKSTEP_TOKEN_SHOP" | "LOCKSTEP_STATUS_SHOP" => "planted-token\n",
        "POSTGRES" | "LOCKSTEP_POSTGRES" => "postgres://lockstep:planted-password@db/lockstep",
        "NATS" => "nats://user:planted-nats@one:4222,tls://two:4222",
        "KEY" | "LOCKSTEP_SECRET_KEY" => HEX_KEY,
        "SHORT_KEY" => "planted-short-key",
        "EMPTY" => "",
        "BLANK" => " \n",
        "CHANNEL" => "https://hooks.example.com/planted/T0?sig=planted",
        "MULTILINE" => "planted\nlines",
        _ => return None,
    };
    Some(value.to_owned())
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, Path::new("/etc/lockstep"), &env)
}

fn problems(text: &str) -> String {
    match parse(text) {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

/// `SMALL` with one line replaced, or, when `old` is a section's header, a line added below it.
fn small_with(old: &str, new: &str) -> String {
    assert!(SMALL.contains(old), "{old}");
    if old.starts_with('[') {
        SMALL.replace(old, &format!("{old}\n{new}"))
    } else {
        SMALL.replace(old, new)
    }
}

#[test]
fn what_is_left_out_has_a_sensible_value() {
    let config = parse(SMALL).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    let Storage::Embedded(embedded) = &config.storage else {
        panic!("not embedded")
    };
    assert_eq!(embedded.dir, Path::new("/etc/lockstep/lockstep-data"));
    assert!(embedded.secret_key.is_none());
    let repository = &config.repositories["shop"];
    assert_eq!(repository.url.as_str(), "https://github.com/acme/shop.git");
    assert_eq!(
        repository.webhook.as_ref().unwrap().webhook.as_str(),
        "acme"
    );
    assert_eq!(
        repository.webhook.as_ref().unwrap().full_name.as_str(),
        "acme/shop"
    );
    assert_eq!(repository.sweep, Duration::from_mins(3));
    assert!(repository.token.is_none());
    let target = &config.targets["production"];
    assert_eq!(target.nodes[0].as_str(), "http://gateway:8080/");
    assert_eq!(target.org, "default");
    assert_eq!(
        (target.read_timeout, target.write_timeout),
        (Duration::from_secs(30), Duration::from_mins(1))
    );
    assert_eq!(target.drift_interval, Duration::from_mins(5));
    assert!(!target.allow_jwt_document_reads);
    let stack = &config.stacks["shop"];
    assert_eq!((stack.branch.as_str(), stack.path.as_str()), ("main", ""));
    assert_eq!(
        (stack.drift, stack.prune, stack.deletion_limit),
        (DriftPolicy::Report, true, 3)
    );
    assert!(stack.files.matches("a/b.yaml") && stack.files.matches("c.json"));
    assert!(!stack.files.matches("README.md"));
    assert_eq!(
        config.webhooks["acme"].secrets.scheme(),
        Scheme::GitHubSha256
    );
}

#[test]
fn an_empty_file_is_an_installation_with_nothing_to_do() {
    let config = parse("").unwrap();
    assert!(config.stacks.is_empty());
}

/// Nothing in it has its default.
const FULL: &str = r#"
server.listen = "[::]:9000"
server.public_url = "https://lockstep.example.com/x/"
[storage]
postgres = { env = "POSTGRES" }
nats = { env = "NATS" }
secret_key = { env = "KEY" }
[webhook.apis]
host = "gitlab"
scheme = "signature"
secrets = [{ env = "SIGNING" }, { env = "SIGNING" }]
[webhook.old]
host = "gitlab"
scheme = "token"
secrets = [{ env = "HOOK" }]
[repository.shop]
url = "http://127.0.0.1:3000/mirror/shop"
webhook = "apis"
full_name = "group/sub/shop"
token = { env = "TOKEN" }
sweep = "10s"
status = { token = { env = "TOKEN" }, api = "https://api.example.com/v4" }
[repository.local]
url = "../git/./shop.git"
[target.staging]
kind = "gateway"
nodes = ["https://gateway.example.com/tyk"]
secret = { env = "GATEWAY" }
org = "5e9d9544a1dcd60001d0ed20"
read_timeout = "5s"
write_timeout = "10m"
allow_jwt_document_reads = true
drift = "1h"
[stack.one]
repository = "shop"
branch = "release/1"
path = "apis/shop/"
target = "staging"
drift = "revert"
prune = false
deletion_limit = 0x10
protect = ["oas/payments*"]
require_approval = "deletions"
time_zone = "America/New_York"
freeze = [{ days = ["fri"], from = "16:00", to = "24:00" }, { days = ["sat", "sun"] }, { days = ["mon"], to = "06:00" }]
include = ["*.yaml"]
exclude = ["secret*"]
[notify.ops]
kind = "webhook"
url = { env = "CHANNEL" }
secret = { env = "SIGNING" }
events = ["drift", "succeeded"]
stacks = ["on*"]
[notify.chat]
kind = "slack"
url = { env = "CHANNEL" }
[audit.sink.here]
kind = "git"
path = "../git/audit.git"
[audit.sink.host]
kind = "git"
url = "http://localhost:3000/audit/checkpoints.git"
token = { env = "TOKEN" }
branch = "lockstep/production"
"#;

#[test]
fn every_key_is_read() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.server.listen.to_string(), "[::]:9000");
    let public_url = config.server.public_url.as_deref();
    assert_eq!(public_url, Some("https://lockstep.example.com/x"));
    let Storage::ScaledOut(storage) = &config.storage else {
        panic!("not scaled out")
    };
    assert!(storage.postgres.expose_secret().starts_with("postgres://"));
    let nats: Vec<&str> = storage
        .nats
        .urls()
        .iter()
        .map(ExposeSecret::expose_secret)
        .collect();
    assert_eq!(
        nats,
        ["nats://user:planted-nats@one:4222", "tls://two:4222"]
    );
    assert_eq!(hex::encode(storage.secret_key.expose_bytes()), HEX_KEY);
    assert_eq!(
        config.webhooks["apis"].secrets.scheme(),
        Scheme::GitLabSignature
    );
    assert_eq!(config.webhooks["old"].secrets.scheme(), Scheme::GitLabToken);
    let repository = &config.repositories["shop"];
    assert_eq!(
        repository.webhook.as_ref().unwrap().full_name.as_str(),
        "group/sub/shop"
    );
    assert_eq!(
        repository.token.as_ref().unwrap().expose_secret(),
        "planted-token"
    );
    assert_eq!(repository.sweep, Duration::from_secs(10));
    let token = &repository.status.as_ref().unwrap().token;
    assert_eq!(token.expose_secret(), "planted-token");
    let api = repository.status_api(Host::GitLab).unwrap();
    assert_eq!(api.as_str(), "https://api.example.com/v4");
    let local = &config.repositories["local"].url;
    assert_eq!(
        (local.as_str(), local.is_local_path()),
        ("/etc/lockstep/../git/shop.git", true)
    );
    let target = &config.targets["staging"];
    assert_eq!(target.nodes[0].as_str(), "https://gateway.example.com/tyk");
    assert_eq!(target.org, "5e9d9544a1dcd60001d0ed20");
    assert_eq!(
        (target.read_timeout, target.write_timeout),
        (Duration::from_secs(5), Duration::from_mins(10))
    );
    assert_eq!(target.drift_interval, Duration::from_hours(1));
    assert!(target.allow_jwt_document_reads);
    let stack = &config.stacks["one"];
    assert_eq!(
        (stack.branch.as_str(), stack.path.as_str()),
        ("release/1", "apis/shop")
    );
    assert_eq!(
        (stack.drift, stack.prune, stack.deletion_limit),
        (DriftPolicy::Revert, false, 16)
    );
    assert!(
        stack
            .protect
            .names("oas/payments-v2", "payments-v2", "Payments")
    );
    assert!(!stack.protect.names("oas/orders", "orders", "payments"));
    assert_eq!(stack.require_approval, RequireApproval::Deletions);
    assert!(stack.files.matches("a.yaml") && !stack.files.matches("a/b.yaml"));
    assert!(!stack.files.matches("secret.yaml"));
    let ops = &config.notify["ops"];
    let events: Vec<&str> = ops.events.iter().map(|news| news.as_str()).collect();
    assert_eq!(events, ["drift", "succeeded"]);
    assert!(ops.stacks.names("one") && !ops.stacks.names("two"));
    let Receiver::Webhook { address, key } = &ops.receiver else {
        panic!("not a webhook")
    };
    assert_eq!(address.url().query(), Some("sig=planted"));
    assert_eq!(key.expose_secret().len(), 32);
    let chat = &config.notify["chat"];
    assert!(matches!(chat.receiver, Receiver::Slack { .. }));
    assert!(chat.events.contains(&News::Failed) && !chat.events.contains(&News::Succeeded));
    assert!(chat.stacks.names("any"));
    // An address may be a secret.
    assert!(!format!("{config:?}").contains("planted"));
    let micros = |moment: &str| {
        let moment: jiff::Timestamp = moment.parse().unwrap();
        moment.as_microsecond()
    };
    assert_eq!(
        stack.freeze.frozen_until(micros("2026-11-20T20:59:59Z")),
        None
    );
    assert_eq!(
        stack.freeze.frozen_until(micros("2026-11-20T21:00:00Z")),
        Some(micros("2026-11-23T11:00:00Z"))
    );
}

#[test]
fn a_repository_for_checkpoints_is_a_folder_or_an_address() {
    let config = parse(FULL).unwrap();
    let sink = |name: &str| match &config.audit.sinks[name] {
        CheckpointSink::Git {
            repository,
            token,
            branch,
        } => {
            let token = token.as_ref().map(|token| token.expose_secret().to_owned());
            (repository.to_string(), token, branch.to_string())
        }
        other => panic!("{other:?}"),
    };
    let here = "/etc/lockstep/../git/audit.git".to_owned();
    assert_eq!(sink("here"), (here, None, "checkpoints".to_owned()));
    assert_eq!(
        sink("host"),
        (
            "http://localhost:3000/audit/checkpoints.git".to_owned(),
            Some("planted-token".to_owned()),
            "lockstep/production".to_owned()
        )
    );
}

const PEOPLE: &str = r#"
[person.ada]
logins = { github = "Ada", gitlab = "ada.l" }
emails = ["ada@example.org"]
[person.grace]
emails = ["grace@example.org"]
"#;

#[test]
fn people_approve_as_the_stack_says() {
    let rules = "min_approvers = 2\nallow_local_approval = false\napproval_valid = \"90m\"";
    let text = small_with("[stack.shop]", rules) + PEOPLE;
    let config = parse(&text).unwrap();
    let stack = &config.stacks["shop"];
    assert_eq!(
        (stack.min_approvers, stack.allow_local_approval),
        (2, false)
    );
    assert_eq!(stack.approval_valid, Duration::from_mins(90));
    let ada = &config.people["ada"].identity;
    for login in ["ada", "ADA.L"] {
        assert!(ada.is(&Person {
            login: Some(login.to_owned()),
            ..Person::default()
        }));
    }

    let embedded = &parse(SMALL).unwrap().stacks["shop"];
    assert_eq!(
        (embedded.min_approvers, embedded.allow_local_approval),
        (1, true)
    );
    assert_eq!(embedded.approval_valid, Duration::from_hours(24));
    let scaled_out = &parse(FULL).unwrap().stacks["one"];
    assert_eq!(
        (scaled_out.min_approvers, scaled_out.allow_local_approval),
        (1, false)
    );
}

#[test]
fn wrong_words_about_people_and_approvals_are_told() {
    let stack = |lines: &str| small_with("[stack.shop]", lines);
    for (text, said) in [
        (stack("min_approvers = 0"), "must be 1 or more"),
        (
            stack("min_approvers = 3\nallow_local_approval = false") + PEOPLE,
            "more than the 2 people",
        ),
        (stack("approval_valid = \"30s\""), "must be 1m or more"),
        (stack("approval_valid = \"721h\""), "must be 720h or less"),
        (format!("{SMALL}[person.ada]\n"), "needs logins or emails"),
        (
            format!("{SMALL}[person.ada]\nlogins = {{ sourcehut = \"ada\" }}\n"),
            "the hosts are",
        ),
        (
            format!("{SMALL}[person.ada]\nlogins = {{ github = \"a b\" }}\n"),
            "without spaces",
        ),
        (
            format!("{SMALL}[person.ada]\nemails = [\"ada\"]\n"),
            "must be an e-mail address",
        ),
        (
            format!("{SMALL}{PEOPLE}[person.other]\nlogins = {{ github = \"aDA\" }}\n"),
            "is person.ada's too",
        ),
        (
            format!("{SMALL}{PEOPLE}[person.other]\nemails = [\"Grace@Example.org\"]\n"),
            "is person.grace's too",
        ),
    ] {
        let told = problems(&text);
        assert!(told.contains(said), "{said}: {told}");
    }
    // One login at two hosts may be two people.
    let other = "[person.other]\nlogins = { gitlab = \"ada\" }\n";
    assert!(parse(&format!("{SMALL}{PEOPLE}{other}")).is_ok());
    // More approvals than people are possible where none of them needs to be known.
    assert!(parse(&stack("min_approvers = 3")).is_ok());
}

#[test]
fn the_address_of_a_hosts_api_follows_from_its_repositories() {
    let status = "status = { token = { env = \"TOKEN\" } }";
    for (host, url, expected) in [
        (
            Host::GitHub,
            "https://github.com/acme/shop.git",
            "https://api.github.com/",
        ),
        (
            Host::GitHub,
            "https://git.example.com:8443/acme/shop",
            "https://git.example.com:8443/api/v3",
        ),
        (
            Host::GitLab,
            "https://gitlab.com/acme/shop.git",
            "https://gitlab.com/api/v4",
        ),
        (
            Host::GitLab,
            "http://127.0.0.1:3000/acme/shop.git",
            "http://127.0.0.1:3000/api/v4",
        ),
    ] {
        let text = small_with("[repository.shop]", status)
            .replace("https://github.com/acme/shop.git", url);
        let config = parse(&text).unwrap();
        let api = config.repositories["shop"].status_api(host).unwrap();
        assert_eq!(api.as_str(), expected);
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_their_lines() {
    let text = r#"
[server]
listen = "8080"
[stack.shop]
repository = "shpo"
target = "prod"
pth = "x"
prune = "yes"
[repository.shop]
url = "http://github.com/acme/shop"
[target.production]
kind = "gateway"
nodes = []
secret = "plain"
[targets.x]
"#;
    assert_eq!(
        problems(text),
        r#"lockstep.toml:3: server.listen: must be an address and a port, like "127.0.0.1:8080" or "[::]:8080"
lockstep.toml:5: stack.shop.repository: there is no repository "shpo"; did you mean "shop"?
lockstep.toml:6: stack.shop.target: there is no target "prod"; did you mean "production"?
lockstep.toml:7: stack.shop.pth: unknown key; did you mean "path"?
lockstep.toml:8: stack.shop.prune: must be true or false, not a string
lockstep.toml:10: repository.shop.url: http is for this machine only; use https
lockstep.toml:13: target.production.nodes: must name the control address of each gateway, 1 to 64 of them
lockstep.toml:14: target.production.secret: secrets are given by reference: { env = "NAME" } or { file = "path" }, so that they stay out of this file
lockstep.toml:15: targets: unknown key; did you mean "target"?"#
    );
}

/// In each pair of lines: a line of `SMALL` and what replaces it (or is added below it, where it is a header;
/// `;;` parts lines), then what is said about that.
const WRONG_VALUES: &str = r#"
[webhook.acme] >> scheme = "token"
    webhook.acme.scheme: GitHub has one scheme only; leave this key out
host = "github" >> host = "gitlab"
    webhook.acme.scheme: is missing: "signature" for a signing token (GitLab 19 and later), "token" for a secret token
host = "github" >> host = "gitlab" ;; scheme = "tokn"
    webhook.acme.scheme: must be "token" or "signature"
host = "github" >> host = "gitlab" ;; scheme = "signature"
    webhook.acme.secrets: secret 1 is no GitLab signing token: whsec_ and the base64 of 32 bytes
host = "github" >> host = "gitea"
    webhook.acme.host: the hosts are "github" and "gitlab"
host = "github" >>
    webhook.acme.host: is missing
secrets = [{ env = "HOOK" }] >>
    webhook.acme.secrets: is missing
secrets = [{ env = "HOOK" }] >> secrets = []
    webhook.acme.secrets: a webhook needs one secret, or two during a rotation
secrets = [{ env = "HOOK" }] >> secrets = [{ env = "HOOK" }, { env = "HOOK" }, { env = "HOOK" }]
    webhook.acme.secrets: a webhook needs one secret, or two during a rotation
secrets = [{ env = "HOOK" }] >> secrets = { env = "HOOK" }
    webhook.acme.secrets: must be a list, not a table
secrets = [{ env = "HOOK" }] >> secrets = [{ env = "HOOK" }, { env = "ABSENT" }]
    webhook.acme.secrets[1]: the environment variable ABSENT is not set
secrets = [{ env = "HOOK" }] >> secrets = [{ env = "EMPTY" }]
    webhook.acme.secrets[0]: the environment variable EMPTY is empty
secrets = [{ env = "HOOK" }] >> secrets = [{ env = "MULTILINE" }]
    webhook.acme.secrets: secret 1 has control characters or a line break in it
secret = { env = "GATEWAY" } >> secret = { env = "planted_token" }
    target.production.secret: the environment variable that it names is not set
secret = { env = "GATEWAY" } >> secret = { env = "BLANK" }
    target.production.secret: the environment variable BLANK is empty
secret = { env = "GATEWAY" } >> secret = { env = "planted secret!" }
    target.production.secret: env takes the name of an environment variable: letters, digits and _
secret = { env = "GATEWAY" } >> secret = { env = "GATEWAY", file = "x" }
    target.production.secret: a reference is either { env = "NAME" } or { file = "path" }, and nothing else
secret = { env = "GATEWAY" } >> secret = { value = "planted" }
    target.production.secret: a reference is either { env = "NAME" } or { file = "path" }, and nothing else
secret = { env = "GATEWAY" } >> secret = { file = "" }
    target.production.secret: a reference is either { env = "NAME" } or { file = "path" }, and nothing else
secret = { env = "GATEWAY" } >> secret = {}
    target.production.secret: a reference is either { env = "NAME" } or { file = "path" }, and nothing else
secret = { env = "GATEWAY" } >> secret = { file = "absent" }
    target.production.secret: cannot read /etc/lockstep/absent: No such file or directory (os error 2)
url = "https://github.com/acme/shop.git" >>
    repository.shop.url: is missing
url = "https://github.com/acme/shop.git" >> url = 5
    repository.shop.url: must be a string, not a number
url = "https://github.com/acme/shop.git" >> url = "https://user:planted@github.com/acme/shop"
    repository.shop.url: must not hold a user or password; credentials are given by reference
url = "https://github.com/acme/shop.git" >> url = "https://planted@github.com/acme/shop"
    repository.shop.url: must not hold a user or password; credentials are given by reference
url = "https://github.com/acme/shop.git" >> url = "https://github.com/acme/shop?token=planted"
    repository.shop.url: must not have a ? or # part
url = "https://github.com/acme/shop.git" >> url = "git@github.com:acme/shop.git"
    repository.shop.url: must be an https:// URL, or a path that begins with /, ./ or ../ (ssh is not supported)
url = "https://github.com/acme/shop.git" >> url = "shop.git"
    repository.shop.url: must be an https:// URL, or a path that begins with /, ./ or ../ (ssh is not supported)
url = "https://github.com/acme/shop.git" >> url = "ssh://-oProxyCommand=x/y"
    repository.shop.url: must be an https:// URL or a path
url = "https://github.com/acme/shop.git" >> url = "file:///srv/shop.git"
    repository.shop.url: write a local repository as a path, without file://
url = "https://github.com/acme/shop.git" >> url = "http://localhost.example.com/acme/shop"
    repository.shop.url: http is for this machine only; use https
url = "https://github.com/acme/shop.git" >> url = "https://"
    repository.shop.url: is not a URL: empty host
url = "https://github.com/acme/shop.git" >> url = "/srv/shop.git"
    repository.shop.full_name: is missing: the URL does not tell what the webhook's host calls this repository
url = "https://github.com/acme/shop.git" >> url = "/srv/shop.git" ;; full_name = "acme/shop" ;; token = { env = "TOKEN" }
    repository.shop.token: has no use with a local path
[repository.shop] >> full_name = "shop"
    repository.shop.full_name: a repository's full name is like org/name, of letters, digits, `.`, `_` and `-`
webhook = "acme" >> full_name = "acme/shop"
    repository.shop.full_name: has no use without webhook
webhook = "acme" >> webhook = "acne"
    repository.shop.webhook: there is no webhook "acne"; did you mean "acme"?
webhook = "acme" >> webhook = "quite-another"
    repository.shop.webhook: there is no webhook "quite-another"
[repository.shop] >> sweep = "9s"
    repository.shop.sweep: must be 10s or more
[repository.shop] >> sweep = "25h"
    repository.shop.sweep: must be 24h or less
[repository.shop] >> sweep = "99999999999999999999h"
    repository.shop.sweep: must be 24h or less
[repository.shop] >> sweep = "3"
    repository.shop.sweep: a duration is a whole number and a unit: "90s", "3m", "1h", "7d"
[repository.shop] >> sweep = ""
    repository.shop.sweep: a duration is a whole number and a unit: "90s", "3m", "1h", "7d"
[repository.shop] >> sweep = "-3m"
    repository.shop.sweep: a duration is a whole number and a unit: "90s", "3m", "1h", "7d"
[repository.shop] >> sweep = "3µ"
    repository.shop.sweep: a duration is a whole number and a unit: "90s", "3m", "1h", "7d"
[repository.shop] >> sweep = 180
    repository.shop.sweep: must be a string, not a number
kind = "gateway" >> kind = "dashboard"
    target.production.kind: must be "gateway", the only kind of target so far
nodes = ["http://gateway:8080"] >> nodes = ["http://a", "http://a:80"]
    target.production.nodes: names a gateway twice
nodes = ["http://gateway:8080"] >> nodes = ["ftp://a"]
    target.production.nodes[0]: must be an http:// or https:// URL
nodes = ["http://gateway:8080"] >> nodes = ["http://user:planted@a"]
    target.production.nodes[0]: must not hold a user or password; credentials are given by reference
nodes = ["http://gateway:8080"] >> nodes = "http://a"
    target.production.nodes: must be a list, not a string
[target.production] >> org = "a b"
    target.production.org: must be 1 to 64 letters, digits, _ and -
[target.production] >> read_timeout = "0s"
    target.production.read_timeout: must be 1s or more
[target.production] >> write_timeout = "11m"
    target.production.write_timeout: must be 10m or less
[stack.shop] >> branch = "-x"
    stack.shop.branch: not a name that Git allows for a branch or tag
[stack.shop] >> branch = "refs/heads/main"
    stack.shop.branch: is the short name of a branch, like "main", without refs/heads/
[stack.shop] >> path = "/etc"
    stack.shop.path: must be a folder of the repository, like "apis/shop": no leading /, no . or .. parts, no \
[stack.shop] >> path = "a/../b"
    stack.shop.path: must be a folder of the repository, like "apis/shop": no leading /, no . or .. parts, no \
[stack.shop] >> path = "a//b"
    stack.shop.path: must be a folder of the repository, like "apis/shop": no leading /, no . or .. parts, no \
[stack.shop] >> path = ".git"
    stack.shop.path: must be a folder of the repository, like "apis/shop": no leading /, no . or .. parts, no \
[stack.shop] >> path = "a\\b"
    stack.shop.path: must be a folder of the repository, like "apis/shop": no leading /, no . or .. parts, no \
[stack.shop] >> drift = "fix"
    stack.shop.drift: must be "report", "revert" or "approve"
[stack.shop] >> require_approval = "sometimes"
    stack.shop.require_approval: must be "always", "deletions" or "never"
[stack.shop] >> protect = ["a", "["]
    stack.shop.protect[1]: error parsing glob '[': unclosed character class; missing ']'
[stack.shop] >> time_zone = "Berlin"
    stack.shop.time_zone: there is no time zone "Berlin"; write a name like "Europe/Berlin"
[stack.shop] >> freeze = "weekend"
    stack.shop.freeze: must be a list, not a string
[stack.shop] >> freeze = [{ days = ["sat"] }, { day = ["sun"], to = "12:00" }]
    stack.shop.freeze[1].day: unknown key; did you mean "days"?
[stack.shop] >> freeze = [{ days = ["sat", "Sunday"] }]
    stack.shop.freeze[0].days[1]: must be "mon", "tue", "wed", "thu", "fri", "sat" or "sun"
[stack.shop] >> freeze = [{ days = [] }]
    stack.shop.freeze[0].days: names no day; without it every day is meant
[stack.shop] >> freeze = [{ from = "8:00" }]
    stack.shop.freeze[0].from: is a time of day, like "08:30", and "24:00" for the end of a day
[stack.shop] >> freeze = [{ from = "08:00", to = "08:00" }]
    stack.shop.freeze[0]: ends when it begins; leave from and to out for whole days
[stack.shop] >> freeze = [{ from = "24:00", to = "08:00" }]
    stack.shop.freeze[0]: cannot begin at 24:00: that is 00:00 of the next day
[stack.shop] >> freeze = [{ from = "06:00", to = "18:00" }, { from = "18:00", to = "06:00" }]
    stack.shop.freeze: leaves no minute of the week in which anything could go live
[stack.shop] >> deletion_limit = -1
    stack.shop.deletion_limit: must be a whole number, 0 or more
[stack.shop] >> deletion_limit = 1.5
    stack.shop.deletion_limit: must be a whole number, 0 or more
[stack.shop] >> deletion_limit = 99999999999
    stack.shop.deletion_limit: must be a whole number, 0 or more
[stack.shop] >> include = ["["]
    stack.shop.include[0]: error parsing glob '[': unclosed character class; missing ']'
[stack.shop] >> include = "*.yaml"
    stack.shop.include: must be a list, not a string
[stack.shop] >> exclude = [5]
    stack.shop.exclude[0]: must be a string, not a number
repository = "shop" >> repository = "Shop!"
    stack.shop.repository: a name is 1 to 63 lower-case letters, digits and -, and does not begin with -
[repository.shop] >> status = { api = "https://api.example.com" }
    repository.shop.status.token: is missing
[repository.shop] >> status = { token = "planted" }
    repository.shop.status.token: secrets are given by reference: { env = "NAME" } or { file = "path" }, so that they stay out of this file
[repository.shop] >> status = { token = { env = "MULTILINE" } }
    repository.shop.status.token: a token has no spaces, line breaks or letters beyond ASCII
[repository.shop] >> status = { token = { env = "TOKEN" }, api = "http://api.example.com" }
    repository.shop.status.api: http is for this machine only; use https
[repository.shop] >> status = { token = { env = "TOKEN" }, url = "x" }
    repository.shop.status.url: unknown key
[repository.shop] >> status = true
    repository.shop.status: must be a table, not true or false
webhook = "acme" >> status = { token = { env = "TOKEN" } }
    repository.shop.status: needs webhook, which says what kind of host it is
target = "production" >> target = "production" ;; [server] ;; public_url = "ftp://x"
    server.public_url: must begin with https:// or http://
target = "production" >> target = "production" ;; [notify.x] ;; kind = "mail" ;; url = { env = "CHANNEL" }
    notify.x.kind: must be "webhook" or "slack"
target = "production" >> target = "production" ;; [notify.x] ;; kind = "slack" ;; url = "https://hooks.example.com/planted"
    notify.x.url: secrets are given by reference: { env = "NAME" } or { file = "path" }, so that they stay out of this file
target = "production" >> target = "production" ;; [notify.x] ;; kind = "slack" ;; url = { env = "HOOK" }
    notify.x.url: is not a URL: relative URL without a base
target = "production" >> target = "production" ;; [notify.x] ;; kind = "webhook" ;; url = "http://ops.example.com" ;; secret = { env = "SIGNING" }
    notify.x.url: http is for this machine only; use https
target = "production" >> target = "production" ;; [notify.x] ;; kind = "webhook" ;; url = "https://ops.example.com?token=planted" ;; secret = { env = "SIGNING" }
    notify.x.url: must not have a ? or # part
target = "production" >> target = "production" ;; [notify.x] ;; kind = "webhook" ;; url = "https://ops.example.com"
    notify.x.secret: is missing: requests are signed (make one with: echo whsec_$(openssl rand -base64 32))
target = "production" >> target = "production" ;; [notify.x] ;; kind = "webhook" ;; url = "https://ops.example.com" ;; secret = { env = "HOOK" }
    notify.x.secret: must be whsec_ and the base64 of 24 to 64 bytes (make one with: echo whsec_$(openssl rand -base64 32))
target = "production" >> target = "production" ;; [notify.x] ;; kind = "slack" ;; url = { env = "CHANNEL" } ;; secret = { env = "SIGNING" }
    notify.x.secret: has no use here: the address itself is the secret
target = "production" >> target = "production" ;; [notify.x] ;; kind = "slack" ;; url = { env = "CHANNEL" } ;; events = ["fail"]
    notify.x.events[0]: the events are "failed", "repaired", "parked", "recovered", "drift", "lagged", "behind" and "succeeded"
target = "production" >> target = "production" ;; [notify.x] ;; kind = "slack" ;; url = { env = "CHANNEL" } ;; events = []
    notify.x.events: names no event; leave the section out instead
target = "production" >> target = "production" ;; [notify.x] ;; kind = "slack" ;; url = { env = "CHANNEL" } ;; stacks = ["shop", "other"]
    notify.x.stacks[1]: there is no stack "other"
target = "production" >> target = "production" ;; [notify.x] ;; kind = "slack" ;; url = { env = "CHANNEL" } ;; stacks = []
    notify.x.stacks: names no stack; leave the key out for all of them
target = "production" >> target = "production" ;; values = "../env.yaml"
    stack.shop.values: must be a file of the repository, seen from its root, like "env/production.yaml"
target = "production" >> target = "production" ;; patches = [{ object = "a", merg = { x = 1 } }]
    stack.shop.patches[0]: /merg: a patch has no merg; did you mean merge?
target = "production" >> target = "production" ;; patches = [{ object = "a", operations = [{ op = "add", path = "x", value = 1 }] }]
    stack.shop.patches[0]: /operations/0/path: is a JSON pointer, which begins with /, like /info/title
target = "production" >> target = "production" ;; openapi = { listen_path = "orders/", authentication = "none" }
    stack.shop.openapi.listen_path: must begin with /, like "/{name}/"
target = "production" >> target = "production" ;; openapi = { listen_path = "/{title}/", authentication = "none" }
    stack.shop.openapi.listen_path: has braces other than those of {name}
target = "production" >> target = "production" ;; openapi = { listen_path = "/{name}/" }
    stack.shop.openapi.authentication: is missing
target = "production" >> target = "production" ;; openapi = { listen_path = "/{name}/", authentication = "jwt" }
    stack.shop.openapi.authentication: must be "none", "token" or "document"
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git"
    audit.sink.x.path: is missing: the folder of a repository on this machine; or give url, the https:// address of one on a Git host
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git" ;; path = "/srv/a" ;; url = "https://git.example.com/a"
    audit.sink.x.url: has no use beside path: a repository is in one place
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git" ;; path = ""
    audit.sink.x.path: must not be empty
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git" ;; path = "/srv/a" ;; token = { env = "TOKEN" }
    audit.sink.x.token: has no use with a local path
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git" ;; url = "http://git.example.com/a"
    audit.sink.x.url: http is for this machine only; use https
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git" ;; url = "https://me:planted@git.example.com/a"
    audit.sink.x.url: must not hold a user or password; credentials are given by reference
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git" ;; url = "ssh://git@git.example.com/a"
    audit.sink.x.url: must not hold a user or password; credentials are given by reference
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git" ;; url = "ssh://git.example.com/a"
    audit.sink.x.url: must be an https:// URL or a path
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git" ;; url = "/srv/a"
    audit.sink.x.url: is not a URL: relative URL without a base
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git" ;; url = "https://git.example.com/a" ;; token = "planted"
    audit.sink.x.token: secrets are given by reference: { env = "NAME" } or { file = "path" }, so that they stay out of this file
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git" ;; url = "https://git.example.com/a" ;; branch = "refs/heads/x"
    audit.sink.x.branch: is the short name of a branch, like "main", without refs/heads/
target = "production" >> target = "production" ;; [audit.sink.x] ;; kind = "git" ;; url = "https://git.example.com/a" ;; username = "me"
    audit.sink.x.username: unknown key
"#;

#[test]
fn every_value_that_is_wrong_is_named_with_its_cure() {
    let lines: Vec<&str> = WRONG_VALUES.trim().lines().collect();
    assert_eq!(lines.len(), 2 * 119);
    for pair in lines.chunks(2) {
        let (old, new) = pair[0].split_once(">>").unwrap();
        let text = small_with(old.trim(), &new.trim().replace(" ;; ", "\n"));
        let found = problems(&text);
        let (_, found) = found
            .split_once(": ")
            .unwrap_or_else(|| panic!("{new} was taken"));
        assert_eq!(found, pair[1].trim(), "{new}");
    }
}

#[test]
fn names_that_are_not_plain_are_refused_and_shown_on_one_line() {
    for bad in [
        "Shop",
        "-x",
        "a_b",
        "\"a.b\"",
        "\"\"",
        "\"a\\nb\"",
        &"a".repeat(64),
    ] {
        let found = problems(&format!("[webhook.{bad}]\nhost = \"github\""));
        assert!(
            found.contains("a name is 1 to 63 lower-case letters"),
            "{bad}: {found}"
        );
        assert_eq!(found.lines().count(), 1, "{found}");
    }
    assert_eq!(
        problems("[webhook]\nacme = 5"),
        "lockstep.toml:2: webhook.acme: must be a table, not a number"
    );
    assert_eq!(
        problems("webhook = 5"),
        "lockstep.toml:1: webhook: must be a table, not a number"
    );
    assert_eq!(
        problems("server = 5"),
        "lockstep.toml:1: server: must be a table, not a number"
    );
}

#[test]
fn one_gateway_is_one_target() {
    let copy = "\n[target.copy]\nkind = \"gateway\"\nnodes = [\"http://GATEWAY:8080/\"]\nsecret = { env = \"GATEWAY\" }\n";
    assert_eq!(
        problems(&format!("{SMALL}{copy}")),
        "lockstep.toml:10: target.production.nodes: is the gateway of target.copy; one gateway is one target, so that only one run at a time talks to it"
    );
}

#[test]
fn stacks_may_overlap_but_not_be_the_same() {
    let another = |path: &str| {
        format!(
            "{SMALL}\n[stack.twin]\nrepository = \"shop\"\nbranch = \"main\"\npath = \"{path}\"\ntarget = \"production\"\n"
        )
    };
    assert_eq!(problems(&another("apis")), "");
    assert_eq!(
        problems(&another("")),
        "lockstep.toml:16: stack.twin: has the target, repository, branch and path of stack.shop; give it another path or remove it"
    );
}

#[test]
fn a_name_whose_section_has_problems_is_not_called_missing() {
    let found = problems(&small_with(
        "url = \"https://github.com/acme/shop.git\"",
        "url = 5",
    ));
    assert_eq!(
        found,
        "lockstep.toml:6: repository.shop.url: must be a string, not a number"
    );
}

#[test]
fn storage_is_one_mode_or_the_other() {
    let (postgres, nats, key) = (
        "postgres = { env = \"POSTGRES\" }\n",
        "nats = \"nats://queue:4222\"\n",
        "secret_key = { env = \"KEY\" }\n",
    );
    let cases = [
        (format!("{postgres}{nats}{key}"), ""),
        (String::new(), ""),
        ("dir = \"/var/lib/lockstep\"".to_owned(), ""),
        (key.to_owned(), ""),
        (format!("dir = \"x\"\n{key}"), ""),
        (
            format!("{postgres}{nats}"),
            "1: storage.secret_key: is missing",
        ),
        (
            postgres.to_owned(),
            "2: storage.postgres: needs nats beside it: receivers reach the workers through the queue, not through the database",
        ),
        (
            nats.to_owned(),
            "2: storage.nats: needs postgres beside it: the queue carries messages, the history is kept in the database",
        ),
        (
            format!("dir = \"x\"\n{nats}"),
            "2: storage.dir: either dir (everything in one folder) or postgres and nats (scaled out); there is no mixture",
        ),
        (
            format!("dir = \"x\"\n{postgres}{nats}{key}"),
            "2: storage.dir: either dir (everything in one folder) or postgres and nats (scaled out); there is no mixture",
        ),
        ("dir = \"\"".to_owned(), "2: storage.dir: must not be empty"),
        (
            "secret_key = { env = \"SHORT_KEY\" }".to_owned(),
            "2: storage.secret_key: the key is not 32 bytes, written as 64 hex digits or as base64 (make one with: openssl rand -hex 32)",
        ),
        (
            format!("postgres = \"postgres://planted@db\"\n{nats}{key}"),
            "2: storage.postgres: secrets are given by reference: { env = \"NAME\" } or { file = \"path\" }, so that they stay out of this file",
        ),
        (
            format!("postgres = {{ env = \"NATS\" }}\n{nats}{key}"),
            "2: storage.postgres: what it refers to is not a postgres:// URL",
        ),
        (
            format!("nats = \"nats://u:planted@queue\"\n{postgres}{key}"),
            "2: storage.nats: must not hold a user or password; credentials are given by reference",
        ),
        (
            format!("nats = \"http://queue\"\n{postgres}{key}"),
            "2: storage.nats: must be nats:// or tls:// URLs, parted by commas",
        ),
        (
            format!("nats = {{ env = \"POSTGRES\" }}\n{postgres}{key}"),
            "2: storage.nats: must be nats:// or tls:// URLs, parted by commas",
        ),
        (
            "sqlite = \"x\"".to_owned(),
            "2: storage.sqlite: unknown key",
        ),
    ];
    for (lines, expected) in cases {
        let found = problems(&format!("[storage]\n{lines}"));
        assert_eq!(
            found.trim_start_matches("lockstep.toml:"),
            expected,
            "{lines}"
        );
    }
}

#[test]
fn broken_toml_is_told_by_line_without_repeating_it() {
    let found = problems("[server]\nlisten = planted-secret\n[x\n");
    assert!(found.starts_with("lockstep.toml:2: "), "{found}");
    assert!(found.contains("lockstep.toml:3: "), "{found}");
    assert!(!found.contains("planted"), "{found}");
    assert!(problems("a = 1\na = 2").contains("duplicate"));
    for deep in ["[", "a = [", "a = { a = "] {
        let text = format!("a = {}", deep.repeat(50_000));
        assert!(!problems(&text).is_empty(), "depth is bounded");
    }
}

#[test]
fn keys_of_an_installation_are_hex_or_base64() {
    for text in [
        HEX_KEY.to_owned(),
        HEX_KEY.to_uppercase(),
        BASE64_KEY.to_owned(),
        format!(" {BASE64_KEY}\n"),
    ] {
        let key = SecretKey::parse(&SecretString::from(text)).unwrap();
        assert_eq!(hex::encode(key.expose_bytes()), HEX_KEY);
        assert!(!format!("{key:?}").contains("1, 2, 3"), "{key:?}");
    }
    for text in [
        "",
        "00",
        &HEX_KEY[1..],
        &HEX_KEY.replace('0', "g"),
        &BASE64_KEY[4..],
    ] {
        assert!(
            SecretKey::parse(&SecretString::from(text)).is_err(),
            "{text}"
        );
    }
}

#[test]
fn secrets_are_read_from_files_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    let text = SMALL.replace("{ env = \"GATEWAY\" }", "{ file = \"gateway.secret\" }");
    std::fs::write(&path, &text).unwrap();
    let secret = folder.path().join("gateway.secret");
    let load = || Config::load(&path, &env);

    let missing = load().unwrap_err().to_string();
    let expected = format!(
        "{}:11: target.production.secret: cannot read {}",
        path.display(),
        secret.display()
    );
    assert!(missing.starts_with(&expected), "{missing}");

    std::fs::write(&secret, "from the file \r\n").unwrap();
    let config = load().unwrap();
    assert_eq!(
        config.targets["production"].secret.expose_secret(),
        "from the file "
    );
    let Storage::Embedded(embedded) = config.storage else {
        panic!("not embedded")
    };
    assert_eq!(embedded.dir, folder.path().join("lockstep-data"));
    assert!(!embedded.dir.exists(), "reading makes nothing");

    for (content, reason) in [
        (b"\n".to_vec(), "is empty"),
        (vec![b'x'; 70_000], "it is larger than 64 KiB"),
        (vec![0xff, 0xfe], "valid UTF-8"),
    ] {
        std::fs::write(&secret, content).unwrap();
        let errors = load().unwrap_err().to_string();
        assert!(errors.contains(reason), "{errors}");
    }
}

#[test]
fn a_file_that_is_not_there_is_one_clear_problem() {
    let errors = Config::load(Path::new("/absent/lockstep.toml"), &env).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "/absent/lockstep.toml: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn no_secret_shows_in_a_configuration_or_its_problems() {
    let storage = "[storage]\npostgres = { env = \"POSTGRES\" }\nnats = { env = \"NATS\" }\nsecret_key = { env = \"KEY\" }\n";
    let text = format!(
        "{storage}{}",
        small_with("[repository.shop]", "token = { env = \"TOKEN\" }")
    );
    let config = parse(&text).unwrap();
    let shown = format!("{config:?}");
    let exposed = config.targets["production"].secret.expose_secret();
    assert!(
        format!("{shown}{exposed}").contains("planted"),
        "the search would find it"
    );
    assert!(
        !shown.contains("planted") && !shown.contains(HEX_KEY),
        "{shown}"
    );
    let receiver = ReceiverConfig::parse(&text, Path::new(""), &env).unwrap();
    assert!(!format!("{receiver:?}").contains("planted"));
}

#[test]
fn a_receiver_follows_only_its_own_references() {
    let text = format!(
        "[storage]\npostgres = {{ env = \"ABSENT\" }}\nnats = {{ env = \"NATS\" }}\nsecret_key = {{ file = \"absent\" }}\n{}",
        SMALL.replace("\"GATEWAY\"", "\"ALSO_ABSENT\"")
    );
    let looked_up = std::cell::RefCell::new(Vec::new());
    let receiver = ReceiverConfig::parse(&text, Path::new(""), &|name: &str| {
        looked_up.borrow_mut().push(name.to_owned());
        env(name)
    })
    .unwrap();
    assert_eq!(looked_up.into_inner(), ["NATS", "HOOK"]);
    assert_eq!(receiver.nats.urls().len(), 2);
    assert_eq!(
        receiver.webhooks["acme"].secrets.scheme(),
        Scheme::GitHubSha256
    );
    let for_all = problems(&text);
    assert_eq!(
        for_all.lines().count(),
        3,
        "the same file is not enough for a worker: {for_all}"
    );

    let refused = |text: &str| {
        ReceiverConfig::parse(text, Path::new(""), &env)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(SMALL).contains("an embedded installation is one process"));
    let wrong_form = text.replace("{ env = \"ALSO_ABSENT\" }", "\"planted\"");
    assert!(
        refused(&wrong_form).contains("target.production.secret: secrets are given by reference")
    );
    assert!(refused(&text.replace("\"HOOK\"", "\"ABSENT\"")).contains("ABSENT is not set"));
}

#[test]
fn the_hash_names_what_the_file_says_not_how() {
    let hash = |text: &str| parse(text).unwrap().hash().to_owned();
    let original = hash(SMALL);
    let rewritten = format!(
        "# a comment\n{}",
        SMALL.replace("host = \"github\"", "host   = 'github' # yes")
    );
    assert_eq!(hash(&rewritten), original);
    let sections: Vec<&str> = SMALL.split_inclusive("[stack.shop]").collect();
    let reordered = format!(
        "[stack.shop]{}{}",
        sections[1],
        sections[0].trim_end_matches("[stack.shop]")
    );
    assert_eq!(hash(&reordered), original);
    assert_ne!(hash(&small_with("[stack.shop]", "prune = false")), original);
    assert_ne!(
        hash(&SMALL.replace("\"GATEWAY\"", "\"TOKEN\"")),
        original,
        "another variable"
    );
    let other_values = |name: &str| Some(format!("{}x", env(name)?));
    let config = Config::parse(SMALL, Path::new(""), &other_values).unwrap();
    assert_eq!(
        config.hash(),
        original,
        "the secrets themselves do not count"
    );
}

#[test]
fn the_example_is_valid_and_its_comments_show_the_real_defaults() {
    let example = parse(EXAMPLE).unwrap();
    let is_default = |line: &str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let defaults = EXAMPLE.lines().filter(|line| is_default(line)).count();
    assert_eq!(defaults, 26);
    let with_defaults: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| if is_default(line) { &line[1..] } else { line })
        .collect();
    let with_defaults = parse(&with_defaults.join("\n")).unwrap();
    let shown = |config: &Config| format!("{config:?}").replace(config.hash(), "");
    assert_eq!(shown(&with_defaults), shown(&example));
    assert_ne!(with_defaults.hash(), example.hash());

    let scaled_out: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("#   ") {
            Some(key) if key.starts_with(char::is_alphabetic) && key.contains(" = ") => key,
            _ => line,
        })
        .collect();
    let config = parse(&scaled_out.join("\n")).unwrap();
    assert!(matches!(config.storage, Storage::ScaledOut(_)));
}

#[test]
fn patterns_choose_files_below_the_folder() {
    let filter = FileFilter::new(&["**/*.yaml", "extra/*.txt"], &["**/draft/**"]).unwrap();
    for (path, is_chosen) in [
        ("a.yaml", true),
        ("a/b/c.yaml", true),
        ("a.yml", false),
        ("extra/a.txt", true),
        ("extra/b/a.txt", false),
        ("x/draft/a.yaml", false),
        ("draft/a.yaml", false),
    ] {
        assert_eq!(filter.matches(path), is_chosen, "{path}");
    }
    assert!(RepositoryPath::parse("äöü/x").is_ok());
}

proptest! {
    #[test]
    fn arbitrary_files_are_refused_with_a_reason(text in "(?s)[\\[\\]{}a-z=\".\n#0-9 ]{0,200}") {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.problems().is_empty());
        }
    }

    /// Whatever value stands in whatever place: a problem is reported, or it is fine.
    #[test]
    fn a_value_of_any_kind_anywhere_gives_a_reason_or_is_taken(
        line in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just("5"), Just("-1.5"), Just("true"), Just("\"\""), Just("\"x\""), Just("[]"), Just("{}"),
            Just("{ env = 5 }"), Just("[[\"x\"]]"), Just("2026-01-01"), Just("\"\\u0000\""), Just("nan"),
        ],
        receiver in any::<bool>(),
    ) {
        let lines: Vec<&str> = SMALL.lines().collect();
        let place = line.index(lines.len());
        let changed: Vec<String> = lines.iter().enumerate().map(|(index, line)| match line.split_once('=') {
            Some((key, _)) if index == place => format!("{key}= {value}"),
            _ => (*line).to_owned(),
        }).collect();
        let text = changed.join("\n");
        let errors = if receiver {
            ReceiverConfig::parse(&text, Path::new(""), &env).err()
        } else {
            parse(&text).err()
        };
        if let Some(errors) = errors {
            prop_assert!(!errors.problems().is_empty());
        }
    }
}
