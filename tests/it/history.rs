//! What is on record, asked for: over the store, over HTTP, and put together. Both databases.

use std::collections::BTreeSet;

use lockstep::{
    domain::{
        audit::event::{Actor, EventType, NewEvent, Person},
        object::ObjectKey,
        run::{Outcome, RunStatus},
        token::Scope,
    },
    store::{Cursor, Filter, From, LARGEST_PAGE, Paging},
    sync::{
        history::{self, State},
        schedule,
        token::{self, Wanted},
    },
};
use reqwest::{Client, RequestBuilder, Response};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::app::{
    GATEWAY_SECRET, Mode, PLANTED, TestApp, WEBHOOK_SECRET, classic, oas, policy,
};

const HOUR: i64 = 3_600_000_000;

crate::in_both_modes! {
    everything_is_found_by_what_it_is_about,
    pages_stay_as_they_are_while_the_history_grows,
    a_page_ends_where_it_has_looked_enough_and_says_from_where_to_go_on,
    names_that_need_quotes_are_found_too,
    the_api_shows_what_is_on_record_to_who_may_read,
    what_is_asked_wrongly_is_refused_by_its_name,
    an_answer_that_is_known_is_not_sent_again,
    pages_of_other_sites_get_nothing,
    who_reads_is_on_record_in_bounded_numbers,
    a_token_that_asks_too_often_waits,
    no_secret_is_in_any_answer,
    the_life_of_an_object_names_runs_people_and_handwork,
    the_past_is_put_together_from_what_was_recorded,
    a_commit_is_followed_to_what_is_live_and_back,
    a_report_has_what_was_done_beside_git_and_by_whom,
}

const PEOPLE: &str = "min_approvers = 1\n[person.ada]\nlogins = { github = \"ada\" }\n\
                      [person.grace]\nemails = [\"grace@example.org\"]\n";

/// Two APIs and a policy, live, and one of them changed.
async fn shop(mode: Mode) -> TestApp {
    let app = TestApp::with_stack(mode, PEOPLE).await;
    app.repo
        .write("orders.json", oas("orders", "/orders/", "http://one"))
        .write("apis/ping.json", classic("ping", "/ping/", "http://one"))
        .write("gold.json", policy("gold", "ping", 5));
    app.push_well("First").await;
    app.repo
        .write("apis/ping.json", classic("ping", "/ping/", "http://two"));
    app.push_well("Second").await;
    app
}

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

async fn token_for(app: &TestApp, person: &str, scopes: &[Scope]) -> String {
    let wanted = Wanted {
        person: person.to_owned(),
        scopes: scopes.iter().copied().collect(),
        expires_at: app.app.now() + HOUR,
        note: None,
    };
    let actor = Actor::new("cli", "test");
    let made = token::create(&app.app, wanted, actor, Person::default()).await;
    made.unwrap().1.expose_secret().to_owned()
}

fn get(app: &TestApp, token: &str, path: &str) -> RequestBuilder {
    Client::new().get(app.url(path)).bearer_auth(token)
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.unwrap()
}

async fn read(app: &TestApp, token: &str, path: &str) -> Value {
    let response = send(get(app, token, path)).await;
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

async fn status(app: &TestApp, token: &str, path: &str) -> u16 {
    send(get(app, token, path)).await.status().as_u16()
}

#[expect(clippy::too_many_lines, reason = "a list of questions")]
async fn everything_is_found_by_what_it_is_about(mode: Mode) {
    let app = shop(mode).await;
    let store = &app.app.store;
    let head: lockstep::domain::revision::Revision = app.repo.head().parse().unwrap();
    let page = Paging::of(100);
    let everything = Filter::default();
    let by = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    };
    // A filter, and how many runs, changes, deliveries there are of it.
    let cases = [
        ("nothing", everything.clone(), [2, 4, 2]),
        ("stack", by(&|it| it.stack = Some("shop".into())), [2, 4, 2]),
        (
            "another stack",
            by(&|it| it.stack = Some("other".into())),
            [0, 0, 0],
        ),
        (
            "target",
            by(&|it| it.target = Some("production".into())),
            [2, 4, 2],
        ),
        (
            "another target",
            by(&|it| it.target = Some("other".into())),
            [0, 0, 0],
        ),
        ("login", by(&|it| it.person = Some("ADA".into())), [2, 4, 2]),
        (
            "address",
            by(&|it| it.person = Some("Ada@Example.org".into())),
            [2, 4, 2],
        ),
        (
            "nobody",
            by(&|it| it.person = Some("nobody".into())),
            [0, 0, 0],
        ),
        (
            "commit",
            by(&|it| it.commit = Some(head.clone())),
            [1, 1, 1],
        ),
        ("future", by(&|it| it.since = Some(i64::MAX - 1)), [0, 0, 0]),
        ("past", by(&|it| it.until = Some(1)), [0, 0, 0]),
        ("since", by(&|it| it.since = Some(1)), [2, 4, 2]),
    ];
    for (name, filter, [runs, changes, deliveries]) in cases {
        let found = store.runs_page(&filter, &page).await.unwrap();
        assert_eq!(found.items.len(), runs, "runs by {name}");
        let found = store.changes_page(&filter, &page).await.unwrap();
        assert_eq!(found.items.len(), changes, "changes by {name}");
        let found = store.deliveries_page(&filter, &page).await.unwrap();
        assert_eq!(found.items.len(), deliveries, "deliveries by {name}");
        let found = store.events_page(&filter, &page).await.unwrap();
        assert_eq!(found.items.is_empty(), runs == 0, "events by {name}");
    }
    // Each filter beside another: what the one finds, the other looks at.
    let ping = by(&|it| it.object = Some(key("classic/ping")));
    for (changed, runs, changes) in [
        (ping.clone(), 2, 2),
        (
            Filter {
                commit: Some(head.clone()),
                ..ping.clone()
            },
            1,
            1,
        ),
        (
            Filter {
                person: Some("ada".into()),
                ..ping.clone()
            },
            2,
            2,
        ),
        (
            Filter {
                stack: Some("other".into()),
                ..ping.clone()
            },
            0,
            0,
        ),
        (
            Filter {
                text: Some("http://TWO".into()),
                ..Filter::default()
            },
            0,
            1,
        ),
        (
            Filter {
                text: Some("100%".into()),
                ..Filter::default()
            },
            0,
            0,
        ),
    ] {
        let found = store.runs_page(&changed, &page).await.unwrap();
        assert_eq!(found.items.len(), runs, "{changed:?}");
        let found = store.changes_page(&changed, &page).await.unwrap();
        assert_eq!(found.items.len(), changes, "{changed:?}");
    }
    let applied = by(&|it| it.outcome = Some(Outcome::Applied));
    assert_eq!(
        store
            .changes_page(&applied, &page)
            .await
            .unwrap()
            .items
            .len(),
        4
    );
    let failed = by(&|it| it.status = Some(RunStatus::Failed));
    assert!(
        store
            .runs_page(&failed, &page)
            .await
            .unwrap()
            .items
            .is_empty()
    );

    // The events of a commit: its delivery's, and its run's.
    let of_commit = by(&|it| it.commit = Some(head.clone()));
    let events = store.events_page(&of_commit, &page).await.unwrap().items;
    let types: BTreeSet<String> = events
        .iter()
        .map(|event| serde_json::from_str::<Value>(&event.header).unwrap()["type"].to_string())
        .collect();
    for wanted in [
        "delivery.accepted",
        "run.intended",
        "change.applied",
        "run.finished",
    ] {
        assert!(types.contains(&format!("\"{wanted}\"")), "{types:?}");
    }
    let run = store
        .runs_page(&of_commit, &page)
        .await
        .unwrap()
        .items
        .remove(0);
    let of_run = by(&|it| it.run = Some(run.id.clone()));
    let count = store.events_page(&of_run, &page).await.unwrap().items.len();
    assert_eq!(count + 1, events.len());
    assert_eq!(
        store
            .changes_page(&of_run, &page)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(
        store
            .deliveries_page(&of_run, &page)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let of_type = by(&|it| it.types = vec![EventType::RunFinished]);
    assert_eq!(
        store
            .events_page(&of_type, &page)
            .await
            .unwrap()
            .items
            .len(),
        2
    );
    assert_eq!(
        store.commits_like(&head.as_str()[..9]).await.unwrap(),
        [head]
    );

    // Objects, by who owns them and where they are described.
    let file = by(&|it| it.path = Some("apis/ping.json".into()));
    let found = store.objects_page(&file, &page).await.unwrap().items;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].object.to_string(), found[0].owned.stack.as_str()),
        ("classic/ping".into(), "shop")
    );
    let mut seen = Vec::new();
    let mut from = From::Newest;
    loop {
        let page = Paging { from, limit: 1 };
        let page = store.objects_page(&everything, &page).await.unwrap();
        seen.extend(page.items.iter().map(|entry| entry.object.to_string()));
        let Some(next) = page.before else { break };
        from = From::Before(next);
    }
    assert_eq!(seen, ["classic/ping", "oas/orders", "policy/gold"]);
    app.finish().await;
}

fn note(app: &TestApp, index: i64) -> NewEvent {
    app.app.event(
        EventType::RunRequested,
        Actor::new("cli", "somebody"),
        json!({"reason": format!("number {index}"), "token": "none"}),
    )
}

async fn pages_stay_as_they_are_while_the_history_grows(mode: Mode) {
    let app = shop(mode).await;
    let store = &app.app.store;
    let notes: Vec<NewEvent> = (0..20).map(|index| note(&app, index)).collect();
    store.record_events(&notes).await.unwrap();
    for filter in [
        Filter::default(),
        Filter {
            actor: Some("somebody".into()),
            ..Filter::default()
        },
        Filter {
            text: Some("NUMBER".into()),
            ..Filter::default()
        },
        Filter {
            since: Some(1),
            until: Some(i64::MAX - 1),
            ..Filter::default()
        },
    ] {
        let whole = store
            .events_page(&filter, &Paging::of(LARGEST_PAGE))
            .await
            .unwrap();
        let expected: Vec<i64> = whole.items.iter().map(|event| event.sequence).collect();
        assert!(expected.len() >= 20 && expected.is_sorted_by(|one, next| one > next));
        let mut seen = Vec::new();
        let mut from = From::Newest;
        let mut newest = None;
        loop {
            let page = store
                .events_page(&filter, &Paging { from, limit: 7 })
                .await
                .unwrap();
            seen.extend(page.items.iter().map(|event| event.sequence));
            newest = newest.or(page.after);
            // What is appended meanwhile is on no older page.
            store.record_events(&[note(&app, 99)]).await.unwrap();
            let Some(next) = page.before else { break };
            // A cursor is a text to whoever pages.
            from = From::Before(next.to_string().parse::<Cursor>().unwrap());
        }
        assert_eq!(seen, expected);
        let newer = Paging {
            from: From::After(newest.unwrap()),
            limit: 100,
        };
        let newer = store.events_page(&filter, &newer).await.unwrap();
        assert!(!newer.items.is_empty());
        assert!(newer.items.iter().all(|event| event.sequence > expected[0]));
        assert!(newer.items.is_sorted_by_key(|event| -event.sequence));
    }
    // The same of runs and changes, which go by time.
    for rate in 10..13 {
        app.repo.write("gold.json", policy("gold", "ping", rate));
        app.push_well("again").await;
    }
    let whole = store
        .changes_page(&Filter::default(), &Paging::of(100))
        .await
        .unwrap();
    let place = |entry: &lockstep::store::ChangeEntry| (entry.run.clone(), entry.change.position);
    let expected: Vec<_> = whole.items.iter().map(place).collect();
    let by_twos = history::all(100, async |paging: Paging| {
        store
            .changes_page(&Filter::default(), &Paging { limit: 2, ..paging })
            .await
    });
    let seen: Vec<_> = by_twos.await.unwrap().iter().map(place).collect();
    assert_eq!(seen, expected);
    let last = whole.items.last().unwrap();
    let oldest = store
        .changes_page(
            &Filter {
                run: Some(last.run.clone()),
                ..Filter::default()
            },
            &Paging::of(1),
        )
        .await
        .unwrap();
    let forward = Paging {
        from: From::After(oldest.after.unwrap()),
        limit: 2,
    };
    let forward = store
        .changes_page(&Filter::default(), &forward)
        .await
        .unwrap();
    let nearest: Vec<_> = forward.items.iter().map(place).collect();
    let first = expected
        .iter()
        .position(|each| *each == place(&oldest.items[0]))
        .unwrap();
    assert_eq!(nearest, expected[first - 2..first]);
    app.finish().await;
}

async fn a_page_ends_where_it_has_looked_enough_and_says_from_where_to_go_on(mode: Mode) {
    let app = TestApp::start(mode).await;
    let store = &app.app.store;
    let needle = note(&app, 0).with("reason", "a needle");
    store.record_events(&[needle]).await.unwrap();
    let many = usize::try_from(lockstep::store::LOOK).unwrap() + 500;
    let hay: Vec<NewEvent> = (0..many).map(|_| note(&app, 1)).collect();
    store.record_events(&hay).await.unwrap();
    let filter = Filter {
        text: Some("needle".into()),
        ..Filter::default()
    };
    let first = store.events_page(&filter, &Paging::of(10)).await.unwrap();
    assert!(first.items.is_empty());
    let further = Paging {
        from: From::Before(first.before.unwrap()),
        limit: 10,
    };
    let second = store.events_page(&filter, &further).await.unwrap();
    assert_eq!(second.items.len(), 1);
    assert!(second.before.is_none());
    // Whoever wants it whole goes on by itself.
    let found = history::all(10, async |paging: Paging| {
        store.events_page(&filter, &paging).await
    });
    assert_eq!(found.await.unwrap().len(), 1);
    app.finish().await;
}

async fn names_that_need_quotes_are_found_too(mode: Mode) {
    let app = TestApp::start(mode).await;
    let store = &app.app.store;
    for name in [
        "Ada \"the\" Exa\\mple",
        "100%_",
        "Zoë",
        "a\u{0}b",
        "{\"login\":\"ada\"}",
    ] {
        let event = NewEvent {
            people: vec![(
                "operator".into(),
                Person {
                    name: Some(name.into()),
                    ..Person::default()
                },
            )],
            ..note(&app, 0)
        };
        store.record_events(&[event]).await.unwrap();
        let filter = Filter {
            person: Some(name.into()),
            ..Filter::default()
        };
        let found = store.events_page(&filter, &Paging::of(10)).await.unwrap();
        // Nobody goes by a name with a NUL in it.
        assert_eq!(
            found.items.len(),
            usize::from(!name.contains('\0')),
            "{name:?}"
        );
    }
    let ada = Filter {
        person: Some("ada".into()),
        ..Filter::default()
    };
    assert!(
        store
            .events_page(&ada, &Paging::of(10))
            .await
            .unwrap()
            .items
            .is_empty()
    );
    app.finish().await;
}

const LISTS: [&str; 8] = [
    "/api/v1/runs",
    "/api/v1/changes",
    "/api/v1/events",
    "/api/v1/objects",
    "/api/v1/deliveries",
    "/api/v1/approvals",
    "/api/v1/stacks",
    "/api/v1/targets",
];

async fn the_api_shows_what_is_on_record_to_who_may_read(mode: Mode) {
    let app = shop(mode).await;
    let audit = token_for(&app, "ada", &[Scope::Audit]).await;
    let reader = token_for(&app, "ada", &[Scope::Read]).await;
    let operator = token_for(&app, "ada", &[Scope::Operate, Scope::Approve]).await;
    for path in LISTS {
        assert_eq!(
            Client::new()
                .get(app.url(path))
                .send()
                .await
                .unwrap()
                .status(),
            401
        );
        assert_eq!(status(&app, &operator, path).await, 403, "{path}");
        assert_eq!(status(&app, &reader, path).await, 200, "{path}");
        let list = read(&app, &audit, path).await;
        assert_eq!(
            list["items"].as_array().unwrap().is_empty(),
            path.ends_with("approvals"),
            "{list}"
        );
    }
    let head = app.repo.head();
    let runs = read(&app, &audit, &format!("/api/v1/runs?commit={}", &head[..8])).await;
    let run = runs["items"][0]["run"].as_str().unwrap();
    assert_eq!(runs["items"].as_array().unwrap().len(), 1);
    let whole = read(&app, &audit, &format!("/api/v1/runs/{run}")).await;
    assert_eq!(whole["deliveries"][0]["after"], head.as_str(), "{whole}");
    let changes = read(&app, &audit, &format!("/api/v1/changes?run={run}")).await;
    let change = &changes["items"][0];
    assert_eq!(
        (change["object"].as_str(), change["outcome"].as_str()),
        (Some("classic/ping"), Some("applied"))
    );
    assert!(
        change["fields"].to_string().contains("http://two"),
        "{change}"
    );
    let events = read(&app, &audit, "/api/v1/events?type=run.finished&limit=1").await;
    let sequence = events["items"][0]["header"]["seq"].as_i64().unwrap();
    let event = read(&app, &audit, &format!("/api/v1/events/{sequence}")).await;
    assert_eq!(event, events["items"][0]);
    let before = events["before"].as_str().unwrap();
    let older = read(
        &app,
        &audit,
        &format!("/api/v1/events?type=run.finished&limit=1&before={before}"),
    )
    .await;
    assert!(older["items"][0]["header"]["seq"].as_i64().unwrap() < sequence);
    for path in [
        "/api/v1/runs/none",
        "/api/v1/events/999999",
        "/api/v1/events/-1",
        "/api/v1/events/x",
        "/api/v1/runs?commit=0000000",
    ] {
        assert_eq!(status(&app, &audit, path).await, 404, "{path}");
    }
    let objects = read(&app, &audit, "/api/v1/objects?path=apis/ping.json").await;
    assert_eq!(objects["items"][0]["owner"], "shop");
    app.finish().await;
}

async fn what_is_asked_wrongly_is_refused_by_its_name(mode: Mode) {
    let app = TestApp::with_stack(mode, PEOPLE).await;
    let token = token_for(&app, "ada", &[Scope::Audit]).await;
    for (query, named) in [
        ("runs?colour=red", "colour"),
        ("runs?limit=0", "limit"),
        ("runs?limit=201", "limit"),
        ("runs?limit=many", "limit"),
        ("runs?before=nonsense", "cursor"),
        ("runs?before=WzJd", "cursor"),
        (
            "runs?before=WzEsMSwiIiwwXQ&after=WzEsMSwiIiwwXQ",
            "not both",
        ),
        ("runs?since=yesterday", "yesterday"),
        ("runs?status=wonderful", "status"),
        ("runs?object=orders", "object"),
        ("runs?commit=xyz", "commit"),
        ("runs?text=", "text"),
        ("events?type=no.such", "no.such"),
        ("objects?since=1h", "since"),
    ] {
        let response = send(get(&app, &token, &format!("/api/v1/{query}"))).await;
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 422, "{query}: {body}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(named), "{query}: {message}");
    }
    // Hostile, and merely without an answer.
    for query in [
        "runs?stack=%27%3B%20drop%20table%20run",
        "events?person=%00",
        "runs?text=%25%5C_",
    ] {
        let list = read(&app, &token, &format!("/api/v1/{query}")).await;
        assert_eq!(list["items"], json!([]), "{query}");
    }
    app.finish().await;
}

async fn an_answer_that_is_known_is_not_sent_again(mode: Mode) {
    let app = shop(mode).await;
    let token = token_for(&app, "ada", &[Scope::Audit]).await;
    let path = "/api/v1/runs";
    let first = send(get(&app, &token, path)).await;
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(first.headers()["cache-control"], "private, no-cache");
    for given in [tag.clone(), format!("\"other\", W/{tag}")] {
        let again = send(get(&app, &token, path).header("if-none-match", given)).await;
        assert_eq!(again.status(), 304);
        assert_eq!(again.headers()["etag"], tag.as_str());
        assert!(again.bytes().await.unwrap().is_empty());
    }
    app.repo.write("gold.json", policy("gold", "ping", 9));
    app.push_well("Third").await;
    let news = send(get(&app, &token, path).header("if-none-match", tag.clone())).await;
    assert_eq!(news.status(), 200);
    assert_ne!(news.headers()["etag"], tag.as_str());
    app.finish().await;
}

async fn pages_of_other_sites_get_nothing(mode: Mode) {
    let app = TestApp::with_stack(mode, PEOPLE).await;
    let token = token_for(&app, "ada", &[Scope::Audit, Scope::Operate]).await;
    for path in ["/api/v1/runs", "/openapi.json"] {
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
        ] {
            let response = send(get(&app, &token, path).header(name, value)).await;
            assert_eq!(response.status(), 403, "{path} {name}: {value}");
            assert!(
                !response
                    .headers()
                    .keys()
                    .any(|name| name.as_str().starts_with("access-control"))
            );
        }
        let own = format!("http://{}", app.address);
        let response = send(
            get(&app, &token, path)
                .header("origin", own)
                .header("sec-fetch-site", "same-origin"),
        )
        .await;
        assert_eq!(response.status(), 200);
        assert!(
            !response
                .headers()
                .keys()
                .any(|name| name.as_str().starts_with("access-control"))
        );
    }
    let post = Client::new()
        .post(app.url("/api/v1/stacks/shop/sync"))
        .bearer_auth(&token);
    assert_eq!(
        send(post.header("origin", "https://evil.example"))
            .await
            .status(),
        403
    );
    let asked = Client::new().request(reqwest::Method::OPTIONS, app.url("/api/v1/runs"));
    let asked = send(asked.header("origin", "https://evil.example")).await;
    assert!(!asked.status().is_success());
    let allows = |name: &reqwest::header::HeaderName| name.as_str().starts_with("access-control");
    assert!(!asked.headers().keys().any(allows));
    app.finish().await;
}

async fn who_reads_is_on_record_in_bounded_numbers(mode: Mode) {
    let app = TestApp::with_stack(mode, PEOPLE).await;
    let token = token_for(&app, "grace", &[Scope::Read]).await;
    for _ in 0..3 {
        read(&app, &token, "/api/v1/runs").await;
    }
    read(&app, &token, "/api/v1/stacks").await;
    app.api.report().await;
    app.api.report().await;
    let events = app.events().await;
    let told: Vec<_> = events
        .iter()
        .filter(|(header, _)| header.event_type == "history.read")
        .collect();
    assert_eq!(told.len(), 1, "nothing is told twice");
    let (header, event) = told[0];
    assert_eq!(
        (header.actor.kind.as_str(), header.actor.id.as_str()),
        ("api", &token[4..16])
    );
    let payload: Value = serde_json::from_str(&event.payload).unwrap();
    assert_eq!(payload["counts"], json!({"runs": 3, "stacks": 1}));
    assert_eq!(history::people(event)[0].1.login.as_deref(), Some("grace"));
    app.finish().await;
}

async fn a_token_that_asks_too_often_waits(mode: Mode) {
    let app = TestApp::with_stack(mode, PEOPLE).await;
    let token = token_for(&app, "ada", &[Scope::Read]).await;
    let other = token_for(&app, "ada", &[Scope::Read]).await;
    let mut last = 200;
    // It gets one back every half second.
    for _ in 0..600 {
        let response = send(get(&app, &token, "/api/v1/targets")).await;
        last = response.status().as_u16();
        if last == 429 {
            assert!(response.headers().contains_key("retry-after"));
            break;
        }
    }
    assert_eq!(last, 429);
    assert_eq!(status(&app, &other, "/api/v1/targets").await, 200);
    app.finish().await;
}

async fn no_secret_is_in_any_answer(mode: Mode) {
    let app = shop(mode).await;
    let token = token_for(&app, "ada", &[Scope::Audit]).await;
    let mut text = String::new();
    for path in LISTS {
        text.push_str(&read(&app, &token, path).await.to_string());
    }
    let at = app.app.now();
    let past = history::as_of(&app.app.store, "production", at, None)
        .await
        .unwrap();
    text.push_str(&format!("{past:?}"));
    let life = history::life(&app.app.store, "production", &key("classic/ping"), None, 50).await;
    text.push_str(&format!("{life:?}"));
    assert!(
        text.contains("http://two") && text.contains("(secret "),
        "the search finds nothing"
    );
    for secret in [PLANTED, GATEWAY_SECRET, WEBHOOK_SECRET, token.as_str()] {
        assert!(!text.contains(secret));
    }
    app.finish().await;
}

async fn by_hand(app: &TestApp, body: &str) {
    let mut body: Value = serde_json::from_str(body).unwrap();
    body["org_id"] = json!("default");
    app.gateway.put_api_by_hand(&body);
    app.gateway.reload_now().await;
    schedule::drift(&app.app, "production").await.unwrap();
}

async fn the_life_of_an_object_names_runs_people_and_handwork(mode: Mode) {
    let app = shop(mode).await;
    by_hand(&app, &classic("ping", "/ping/", "http://by-hand")).await;
    let store = &app.app.store;
    let (chapters, more) = history::life(store, "production", &key("classic/ping"), None, 50)
        .await
        .unwrap();
    assert!(!more);
    let told: Vec<(&str, bool)> = chapters
        .iter()
        .map(|it| (it.what.as_str(), it.by_hand))
        .collect();
    assert_eq!(
        told,
        [("drift", true), ("update", false), ("create", false)]
    );
    let drift: Vec<String> = chapters[0].fields.iter().map(ToString::to_string).collect();
    assert!(
        drift.iter().any(|field| field.contains("http://by-hand")),
        "{drift:?}"
    );
    let update = &chapters[1];
    assert!(
        update
            .fields
            .iter()
            .any(|field| field.to_string().contains("http://two"))
    );
    assert_eq!(update.revision.as_ref().unwrap().as_str(), app.repo.head());
    assert_eq!(update.path.as_deref(), Some("apis/ping.json"));
    assert_eq!(update.behind.pusher.as_ref().unwrap().to_string(), "ada");
    assert!(update.behind.author.is_some());
    assert_eq!(update.outcome, Some(Outcome::Applied));
    let (first, more) = history::life(store, "production", &key("classic/ping"), None, 1)
        .await
        .unwrap();
    assert_eq!((first.len(), more), (1, true));
    let (rest, _) = history::life(
        store,
        "production",
        &key("classic/ping"),
        Some(first[0].at),
        50,
    )
    .await
    .unwrap();
    assert_eq!(rest.len(), 2);
    let (none, _) = history::life(store, "production", &key("classic/none"), None, 50)
        .await
        .unwrap();
    assert!(none.is_empty());
    app.finish().await;
}

async fn the_past_is_put_together_from_what_was_recorded(mode: Mode) {
    let app = TestApp::with_stack(mode, PEOPLE).await;
    let store = &app.app.store;
    let before = app.app.now();
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://one"))
        .write("orders.json", oas("orders", "/orders/", "http://one"));
    app.push_well("First").await;
    let first = app.app.now();
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://two"))
        .remove("orders.json");
    app.push_well("Second").await;
    let second = app.app.now();
    by_hand(&app, &classic("ping", "/ping/", "http://by-hand")).await;
    by_hand(&app, &classic("stray", "/stray/", "http://stray")).await;
    let third = app.app.now();

    let at = async |moment| {
        history::as_of(store, "production", moment, None)
            .await
            .unwrap()
    };
    let empty = at(before).await;
    assert!(empty.objects.is_empty() && empty.looked.is_none());
    let said = |past: &history::AsOf, object: &str| {
        let stand = past
            .objects
            .iter()
            .find(|stand| stand.object == key(object))
            .unwrap();
        match &stand.state {
            State::Known(body) => body.clone(),
            State::Absent => "absent".to_owned(),
            State::Unknown(why) => why.clone(),
        }
    };
    let past = at(first).await;
    assert_eq!(past.objects.len(), 2);
    assert!(said(&past, "classic/ping").contains("http://one"));
    assert!(said(&past, "oas/orders").contains("/orders/"));
    assert!(past.looked.is_some() && past.objects.iter().all(|stand| stand.drifted.is_none()));
    let past = at(second).await;
    assert!(said(&past, "classic/ping").contains("http://two"));
    assert_eq!(said(&past, "oas/orders"), "absent");
    assert!(past.objects.iter().all(|stand| stand.drifted.is_none()));
    // It says what it does not know.
    let past = at(third).await;
    let ping = past
        .objects
        .iter()
        .find(|stand| stand.object == key("classic/ping"))
        .unwrap();
    assert!(ping.drifted.is_some());
    assert_eq!(past.foreign, [key("classic/stray")].into());
    let one = history::as_of(store, "production", third, Some(&key("oas/orders")))
        .await
        .unwrap();
    assert_eq!(one.objects.len(), 1);
    app.finish().await;
}

async fn a_commit_is_followed_to_what_is_live_and_back(mode: Mode) {
    let app = TestApp::with_stack(mode, PEOPLE).await;
    let store = &app.app.store;
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://one"));
    app.push_well("First").await;
    let first = app.repo.head();
    // Two pushes, one run: the first of them is passed over.
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://two"));
    app.repo.commit("Second");
    let second = app.repo.head();
    assert_eq!(app.push_webhook().await, 202);
    app.repo
        .write("ping.json", classic("ping", "/ping/", "http://three"));
    app.push_well("Third").await;
    let third = app.repo.head();

    let trace = async |commit: &str| {
        let commit = history::commit(store, &commit[..10]).await.unwrap();
        history::trace_commit(store, commit).await.unwrap()
    };
    let old = trace(&first).await;
    assert_eq!((old.deliveries.len(), old.runs.len()), (1, 1));
    let (change, live) = &old.changes[0];
    assert_ne!(live[0].owned.run, change.run, "changed since");
    let passed = trace(&second).await;
    assert!(passed.runs.is_empty());
    assert_eq!(passed.passed_over_by.len(), 1);
    assert_eq!(
        passed.passed_over_by[0].revision.as_ref().unwrap().as_str(),
        third
    );
    let new = trace(&third).await;
    let (change, live) = &new.changes[0];
    assert_eq!(live[0].owned.run, change.run, "live as that run left it");

    for traces in [
        history::trace_path(store, "ping.json").await.unwrap(),
        history::trace_object(store, &key("classic/ping"))
            .await
            .unwrap(),
    ] {
        let [trace] = traces.as_slice() else {
            panic!("{traces:?}")
        };
        assert_eq!(trace.live[0].owned.path.as_deref(), Some("ping.json"));
        let last = trace.last.as_ref().unwrap();
        assert_eq!(last.revision.as_ref().unwrap().as_str(), third);
        assert_eq!(trace.deliveries.len(), 2);
        assert!(trace.behind.author.is_some());
    }
    assert!(history::commit(store, "0123456").await.is_err());
    assert!(
        history::trace_path(store, "none.json")
            .await
            .unwrap()
            .is_empty()
    );
    app.finish().await;
}

async fn a_report_has_what_was_done_beside_git_and_by_whom(mode: Mode) {
    let app = shop(mode).await;
    by_hand(&app, &classic("ping", "/ping/", "http://by-hand")).await;
    let store = &app.app.store;
    let page = store
        .changes_page(&Filter::default(), &Paging::of(100))
        .await
        .unwrap();
    let rows = history::rows(&app.app, page.items).await.unwrap();
    assert_eq!(rows.len(), 4);
    for row in &rows {
        assert_eq!(row.standing, history::Standing::Unapproved);
        assert_eq!(row.by_another, None);
        assert_eq!(row.pusher.as_ref().unwrap().to_string(), "ada");
        assert!(row.author.is_some());
        assert!(row.notes[0].contains("no approval"), "{:?}", row.notes);
    }
    let drift = Filter {
        types: history::OUT_OF_BAND.to_vec(),
        ..Filter::default()
    };
    let drift = store.events_page(&drift, &Paging::of(100)).await.unwrap();
    let beside: Vec<_> = drift.items.iter().flat_map(history::out_of_band).collect();
    assert_eq!(beside.len(), 1);
    assert_eq!(
        (beside[0].standing, beside[0].object.as_str()),
        (history::Standing::OutOfBand, "classic/ping")
    );

    // A deletion beyond the budget, approved by somebody else than who pushed.
    app.gateway.reload_now().await;
    app.repo.remove("apis/ping.json").remove("gold.json");
    let parked = app.push("Away").await;
    assert_eq!(parked.status, RunStatus::Parked, "{:?}", parked.message);
    let token = token_for(&app, "grace", &[Scope::Approve]).await;
    let path = format!("/api/v1/runs/{}/approve", parked.run.unwrap());
    let answer = send(
        Client::new()
            .post(app.url(&path))
            .bearer_auth(token)
            .json(&json!({"reason": "it is meant"})),
    )
    .await;
    assert_eq!(answer.status(), 200);
    let reports = app.run_pending().await;
    let run = reports[0].run.clone().unwrap();
    let of_run = Filter {
        run: Some(run.clone()),
        ..Filter::default()
    };
    let page = store.changes_page(&of_run, &Paging::of(100)).await.unwrap();
    let rows = history::rows(&app.app, page.items).await.unwrap();
    assert!(!rows.is_empty());
    for row in rows {
        assert_eq!(row.standing, history::Standing::Approved, "{:?}", row.notes);
        assert_eq!(row.by_another, Some(true));
        assert_eq!(row.approvals[0].by.to_string(), "grace");
    }
    let approvals = store
        .approvals_page(&of_run, &Paging::of(10))
        .await
        .unwrap();
    assert_eq!(approvals.items[0].used_by, Some(run));
    app.finish().await;
}

/// Every `$ref` of a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "$ref" {
                    found.insert(member.as_str().unwrap().to_owned());
                }
                references(member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_route_is_in_the_document_and_every_path_of_it_is_served() {
    let app = TestApp::start(Mode::Embedded).await;
    let document: Value = Client::new()
        .get(app.url("/openapi.json"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let mut wanted = BTreeSet::new();
    references(&document, &mut wanted);
    assert!(!wanted.is_empty());
    for reference in wanted {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    let mut names = BTreeSet::new();
    let mut routes = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert!(names.insert(name), "{path}: two operations of one name");
            assert!(!operation["responses"].as_object().unwrap().is_empty());
            for answer in operation["responses"].as_object().unwrap().values() {
                assert!(answer["description"].is_string(), "{path}: {answer}");
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["schema"].is_object(), "{path}: {parameter}");
                assert!(["path", "query"].contains(&parameter["in"].as_str().unwrap()));
            }
            assert!(
                operation["summary"].is_string(),
                "{path} says nothing of itself"
            );
            let declared: BTreeSet<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let named: BTreeSet<&str> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            assert_eq!(declared, named, "{path}");
            let url = app.url(
                &path
                    .replace("{id}", "x")
                    .replace("{name}", "x")
                    .replace("{sequence}", "0"),
            );
            let method = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = Client::new()
                .request(method.clone(), url)
                .send()
                .await
                .unwrap();
            let expected = if path == "/openapi.json" { 200 } else { 401 };
            assert_eq!(answer.status(), expected, "{method} {path}");
            let told = operation["responses"].get(answer.status().as_str());
            assert!(told.is_some(), "{method} {path}: its answer is not told of");
            routes.insert(format!("{method} {path}"));
        }
    }
    for route in LISTS {
        assert!(routes.contains(&format!("GET {route}")), "{route}");
    }
    for route in [
        "GET /api/v1/runs/{id}",
        "GET /api/v1/events/{sequence}",
        "POST /api/v1/runs/{id}/approve",
        "POST /api/v1/runs/{id}/reject",
        "POST /api/v1/stacks/{name}/sync",
        "POST /api/v1/stacks/{name}/hold",
        "POST /api/v1/stacks/{name}/release",
        "GET /openapi.json",
    ] {
        assert!(routes.contains(route), "{route}");
    }
    // No route of the API comes in beside its document.
    let api = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/api");
    for file in std::fs::read_dir(api).unwrap() {
        let code = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!code.contains(".route("), "a route without its document");
    }
    app.finish().await;
}
