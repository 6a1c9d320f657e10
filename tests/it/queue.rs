//! The queue against real servers, every one that `LOCKSTEP_TEST_NATS` lists.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use async_nats::jetstream;
use bytes::Bytes;
use futures_util::future::join_all;
use lockstep::queue::{Error, JetStream, Message, Options, PublishError, Published};

use crate::support::nats::{self, Nats};

/// The longest that a call of ours waits for a server, unless a test sets it.
const BOUND: Duration = Duration::from_secs(2);
/// What a call may take beyond its bound on the busiest machine. It tells a wait that ends from one
/// that does not, and measures nothing.
const SLACK: Duration = Duration::from_secs(15);
/// A wait that would be noticed if it were waited out.
const LONG: Duration = Duration::from_secs(40);

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_message_is_published_once_pulled_and_acknowledged() {
    on_every_server(async |nats| {
        let queue = connect(&nats);
        assert_eq!(publish(&queue, "a", "body").await, Published::New);
        assert_eq!(publish(&queue, "a", "again").await, Published::Duplicate);
        let depth = queue.depth().await.unwrap();
        assert_eq!((depth.messages, depth.set_aside), (1, 0));
        assert!(depth.oldest.unwrap() < LONG);

        let message = pull_one(&queue).await;
        assert_eq!((message.body(), message.attempt()), (b"body".as_slice(), 1));
        message.ack().await.unwrap();
        let depth = queue.depth().await.unwrap();
        assert_eq!((depth.messages, depth.oldest), (0, None));

        // Its id is remembered after it is gone.
        assert_eq!(publish(&queue, "a", "late").await, Published::Duplicate);
        assert!(queue.pull(1, Duration::ZERO).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn thousands_publish_at_once_over_one_connection() {
    on_every_server(async |nats| {
        let queue = connect(&nats);
        let ids: Vec<String> = (0..5_000).map(|n| format!("id {n}")).collect();
        for expected in [Published::New, Published::Duplicate] {
            let all = join_all(ids.iter().map(|id| publish(&queue, id, id))).await;
            assert!(all.iter().all(|published| *published == expected));
        }
        assert_eq!(bodies(drain(&queue).await), ids.into_iter().collect());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn ids_that_would_break_a_header_stay_apart() {
    on_every_server(async |nats| {
        let queue = connect(&nats);
        for id in ["a\r\nb", "a\nb", "a\\nb", "a\\r\\nb", "ä 🦀", "\0"] {
            assert_eq!(publish(&queue, id, id).await, Published::New, "{id:?}");
            assert_eq!(publish(&queue, id, id).await, Published::Duplicate);
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_pull_takes_what_is_there_and_waits_only_for_the_first() {
    on_every_server(async |nats| {
        let queue = connect(&nats);
        for id in ["a", "b", "c"] {
            publish(&queue, id, id).await;
        }
        let started = Instant::now();
        let messages = queue.pull(100, LONG).await.unwrap();
        assert_eq!(messages.len(), 3);
        assert!(started.elapsed() < LONG, "{:?}", started.elapsed());

        let wait = Duration::from_millis(300);
        let started = Instant::now();
        assert!(queue.pull(100, wait).await.unwrap().is_empty());
        assert!(started.elapsed() >= wait && started.elapsed() < wait + SLACK);

        let started = Instant::now();
        let (pulled, _) = tokio::join!(queue.pull(100, LONG), publish(&queue, "d", "d"));
        assert_eq!(pulled.unwrap().len(), 1);
        assert!(started.elapsed() < LONG, "{:?}", started.elapsed());

        assert!(queue.pull(0, LONG).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_message_is_given_out_again_without_limit_and_not_before_its_time() {
    on_every_server(async |nats| {
        let queue = connect(&nats);
        publish(&queue, "a", "a").await;
        for attempt in 1..=60 {
            let message = pull_one(&queue).await;
            assert_eq!(message.attempt(), attempt);
            message.retry_after(Duration::ZERO).await.unwrap();
        }
        let delay = Duration::from_millis(400);
        let message = pull_one(&queue).await;
        let started = Instant::now();
        message.retry_after(delay).await.unwrap();
        assert!(queue.pull(1, Duration::ZERO).await.unwrap().is_empty());
        let message = pull_one(&queue).await;
        assert!(started.elapsed() >= delay, "{:?}", started.elapsed());
        assert_eq!((message.attempt(), message.body()), (62, b"a".as_slice()));
        message.ack().await.unwrap();
        assert_eq!(queue.depth().await.unwrap().messages, 0);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn messages_given_back_together_are_pulled_together_with_new_ones() {
    on_every_server(async |nats| {
        let queue = connect(&nats);
        for id in ["a", "b", "c"] {
            publish(&queue, id, id).await;
        }
        for message in queue.pull(10, LONG).await.unwrap() {
            message.retry_after(Duration::ZERO).await.unwrap();
        }
        publish(&queue, "d", "d").await;
        let expected = ["a", "b", "c", "d"].map(str::to_owned).into();
        assert_eq!(bodies(drain(&queue).await), expected);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_full_queue_refuses_and_loses_nothing() {
    on_every_server(async |nats| {
        let mut options = options(&nats);
        options.max_bytes = 64 * 1024;
        let queue = JetStream::connect(options).unwrap();
        let mut accepted = BTreeSet::new();
        let refused = loop {
            let id = format!("{:01000}", accepted.len());
            match queue.publish(&id[900..], id.clone().into()).await {
                Ok(published) => assert_eq!(published, Published::New),
                Err(error) => {
                    assert!(matches!(error, PublishError::Full), "{error:?}");
                    assert!(error.is_transient());
                    break id;
                }
            }
            accepted.insert(id);
        };
        assert!(accepted.len() > 20, "{}", accepted.len());
        assert_eq!(bodies(drain(&queue).await), accepted);

        // The refusal did not leave its id behind.
        let published = queue.publish(&refused[900..], refused.clone().into()).await;
        assert_eq!(published.unwrap(), Published::New);
        assert_eq!(bodies(drain(&queue).await), [refused].into());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn what_cannot_be_read_is_set_aside_with_the_reason_and_is_not_given_out_again() {
    on_every_server(async |nats| {
        let queue = connect(&nats);
        publish(&queue, "a", "not to be read").await;
        let reason = "not JSON:\r\nEvil: header";
        pull_one(&queue).await.set_aside(reason).await.unwrap();
        let depth = queue.depth().await.unwrap();
        assert_eq!((depth.messages, depth.set_aside), (0, 1));

        let stream = raw(&nats).await.get_stream("LOCKSTEP_ASIDE").await.unwrap();
        let aside = stream.get_raw_message(1).await.unwrap();
        assert_eq!(aside.payload, Bytes::from("not to be read"));
        assert_eq!(
            aside.headers.get("Lockstep-Reason").unwrap().as_str(),
            "not JSON:\\r\\nEvil: header"
        );
        assert!(aside.headers.get("Evil").is_none());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_message_too_large_is_refused_and_the_largest_can_still_be_set_aside() {
    on_every_server(async |nats| {
        let queue = connect(&nats);
        queue.ready().await.unwrap();
        let error = queue.publish("a", vec![0; 2 << 20].into()).await;
        let PublishError::TooLarge { size, limit } = error.unwrap_err() else {
            panic!("it is too large");
        };
        assert!(size >= 2 << 20 && limit < 1 << 20, "{size} {limit}");

        let largest = limit - "b".len() - 32;
        let published = queue.publish("b", vec![0; largest + 1].into()).await;
        assert!(matches!(published, Err(PublishError::TooLarge { .. })));
        let published = queue.publish("b", vec![0; largest].into()).await;
        assert_eq!(published.unwrap(), Published::New);
        let message = pull_one(&queue).await;
        message.set_aside(&"ü\n".repeat(2_000)).await.unwrap();
        assert_eq!(queue.depth().await.unwrap().set_aside, 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_receiver_starts_while_the_server_is_down_and_works_once_it_is_up() {
    for binary in nats::binaries() {
        let mut nats = Nats::stopped(&binary);
        let queue = connect_hasty(&nats);
        let error = refused_within_bound(&queue).await;
        assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
        let error = queue.ready().await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");

        nats.restart();
        queue.ready().await.unwrap();
        assert_eq!(publish(&queue, "a", "a").await, Published::New);
    }
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_killed_server_is_told_within_the_bound_and_used_again_when_it_is_back() {
    on_every_server(async |mut nats| {
        let queue = connect_hasty(&nats);
        publish(&queue, "a", "a").await;
        let held = pull_one(&queue).await;

        nats.kill();
        refused_within_bound(&queue).await;
        let started = Instant::now();
        assert!(held.ack().await.unwrap_err().is_transient());
        assert!(queue.depth().await.unwrap_err().is_transient());
        let pulled = queue.pull(1, Duration::from_millis(100)).await;
        assert!(pulled.unwrap_err().is_transient());
        assert!(started.elapsed() < 2 * BOUND + 2 * SLACK);

        nats.restart();
        queue.ready().await.unwrap();
        assert_eq!(publish(&queue, "b", "b").await, Published::New);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_server_that_hangs_costs_the_bound_and_no_message_twice() {
    on_every_server(async |nats| {
        let hasty = connect_hasty(&nats);
        hasty.ready().await.unwrap();
        let queue = connect(&nats);
        queue.ready().await.unwrap();
        nats.freeze();
        let error = refused_within_bound(&hasty).await;
        assert!(matches!(error, Error::TimedOut), "{error:?}");
        nats.thaw();
        // Stored or not the first time: stored once.
        queue.publish("probe", "probe".into()).await.unwrap();
        assert_eq!(queue.depth().await.unwrap().messages, 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_restart_that_takes_less_than_the_bound_is_not_noticed_by_publishers() {
    on_every_server(async |mut nats| {
        let queue = connect(&nats);
        queue.ready().await.unwrap();
        let ids: Vec<String> = (0..100).map(|n| format!("id {n}")).collect();
        nats.freeze();
        let all = join_all(ids.iter().map(|id| queue.publish(id, id.clone().into())));
        let (all, ()) = tokio::join!(all, async { nats.restart() });
        for published in all {
            published.unwrap();
        }
        assert_eq!(bodies(drain(&queue).await), ids.into_iter().collect());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_pull_that_waits_survives_the_server() {
    on_every_server(async |mut nats| {
        let queue = connect_hasty(&nats);
        queue.ready().await.unwrap();
        let wait = Duration::from_secs(1);
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.pull(1, wait).await }
        });
        nats.kill();
        nats.restart();
        let started = Instant::now();
        // Nothing, or an error that says to try again: never a wait without an end.
        match waiting.await.unwrap() {
            Ok(messages) => assert!(messages.is_empty()),
            Err(error) => assert!(error.is_transient(), "{error:?}"),
        }
        assert!(started.elapsed() < wait + 2 * BOUND + SLACK);
        queue.ready().await.unwrap();
        publish(&queue, "a", "a").await;
        pull_one(&queue).await.ack().await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn what_was_acknowledged_to_the_publisher_survives_kill_9() {
    on_every_server(async |mut nats| {
        let queue = connect(&nats);
        let ids: Vec<String> = (0..500).map(|n| format!("id {n}")).collect();
        join_all(ids.iter().map(|id| publish(&queue, id, id))).await;
        nats.kill();
        nats.restart();
        queue.ready().await.unwrap();
        for id in &ids {
            assert_eq!(publish(&queue, id, id).await, Published::Duplicate);
        }
        assert_eq!(bodies(drain(&queue).await), ids.into_iter().collect());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_stream_that_could_lose_messages_is_refused_by_the_name_of_its_setting() {
    type Change = fn(&mut jetstream::stream::Config);
    let changes: [(&str, Change); 7] = [
        ("max_age", |c| c.max_age = Duration::from_hours(24)),
        ("discard", |c| {
            c.discard = jetstream::stream::DiscardPolicy::Old;
        }),
        ("max_msgs", |c| c.max_messages = 10),
        ("max_bytes", |c| c.max_bytes = 4096),
        ("retention", |c| {
            c.retention = jetstream::stream::RetentionPolicy::Limits;
        }),
        ("storage", |c| {
            c.storage = jetstream::stream::StorageType::Memory;
        }),
        ("duplicate_window", |c| {
            c.duplicate_window = Duration::from_mins(2);
        }),
    ];
    on_every_server(async |nats| {
        let js = raw(&nats).await;
        for (setting, change) in changes {
            let mut config = wanted_stream();
            change(&mut config);
            js.create_stream(config).await.unwrap();
            assert_refused_for(&connect(&nats), setting, "LOCKSTEP").await;
            js.delete_stream("LOCKSTEP").await.unwrap();
        }
        // What may differ: how often the server keeps it, and a description.
        let mut config = wanted_stream();
        config.description = Some("ours".to_owned());
        js.create_stream(config).await.unwrap();
        connect(&nats).ready().await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_consumer_that_gives_up_is_refused_until_it_is_repaired() {
    on_every_server(async |nats| {
        let js = raw(&nats).await;
        let stream = js.create_stream(wanted_stream()).await.unwrap();
        let config = jetstream::consumer::pull::Config {
            durable_name: Some("workers".to_owned()),
            max_deliver: 5,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 20_000,
            ..Default::default()
        };
        stream.create_consumer(config).await.unwrap();
        let queue = connect(&nats);
        assert_refused_for(&queue, "max_deliver", "workers").await;

        stream.delete_consumer("workers").await.unwrap();
        queue.ready().await.unwrap();
        assert_eq!(publish(&queue, "a", "a").await, Published::New);

        // Changed behind our back on the same connection: found by the next look.
        let mut config = wanted_stream();
        config.max_age = Duration::from_hours(24);
        js.update_stream(config).await.unwrap();
        assert_refused_for(&queue, "max_age", "LOCKSTEP").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn what_was_deleted_at_the_server_is_made_again() {
    on_every_server(async |nats| {
        let queue = connect(&nats);
        queue.ready().await.unwrap();
        let js = raw(&nats).await;
        js.delete_stream("LOCKSTEP").await.unwrap();
        assert_eq!(publish(&queue, "a", "a").await, Published::New);
        let stream = js.get_stream("LOCKSTEP").await.unwrap();
        stream.delete_consumer("workers").await.unwrap();
        assert!(queue.pull(1, LONG).await.unwrap_err().is_transient());
        pull_one(&queue).await.ack().await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_password_is_used_and_never_shown() {
    for binary in nats::binaries() {
        let mut nats = Nats::stopped(&binary).with_arguments(&[
            "--user",
            "lockstep",
            "--pass",
            "hunter2@home",
        ]);
        nats.restart();
        let address = nats.address();
        let with_password = |password: &str| {
            let url = format!("nats://lockstep:{password}@{address}");
            JetStream::connect(Options::new(url.into())).unwrap()
        };
        let queue = with_password("hunter2%40home");
        queue.ready().await.unwrap();
        assert!(!format!("{queue:?}").contains("hunter2"));

        let wrong = with_password("hunter3");
        let error = wrong.ready().await.unwrap_err();
        assert!(error.to_string().contains("authorization"), "{error}");
        assert!(!format!("{error} {error:?} {wrong:?}").contains("hunter3"));
    }
}

#[tokio::test]
#[ignore = "needs NATS; tests/run has it"]
async fn a_server_without_jetstream_is_named_as_such() {
    for binary in nats::binaries() {
        let nats = Nats::start_without_jetstream(&binary);
        let queue = connect_hasty(&nats);
        let error = queue.ready().await.unwrap_err();
        assert!(error.to_string().contains("JetStream"), "{error}");
        refused_within_bound(&queue).await;
    }
}

#[test]
fn options_that_can_never_work_are_refused_at_once() {
    let url = "nats://127.0.0.1:1";
    // Outside a runtime.
    assert!(JetStream::connect(Options::new(url.into())).is_err());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    assert!(JetStream::connect(Options::new(url.into())).is_ok());
    for bad in ["", "127.0.0.1", "https://127.0.0.1"] {
        assert!(JetStream::connect(Options::new(bad.into())).is_err());
    }
    for bad in ["", "a.b", "a b", "a*", "ä"] {
        let mut options = Options::new(url.into());
        bad.clone_into(&mut options.stream);
        assert!(JetStream::connect(options).is_err(), "{bad:?}");
    }
    for bad in [Duration::ZERO, Duration::MAX] {
        let mut options = Options::new(url.into());
        options.publish_timeout = bad;
        assert!(JetStream::connect(options).is_err(), "{bad:?}");
    }
    for bad in ["", "a..b", "a.>", ".a", "a b"] {
        let mut options = Options::new(url.into());
        bad.clone_into(&mut options.subject);
        assert!(JetStream::connect(options).is_err(), "{bad:?}");
    }
}

/// A receiver and a worker run each of these in tasks of their own.
#[expect(dead_code, reason = "that it compiles is the test")]
fn every_call_can_be_spawned(queue: &'static JetStream, [a, b, c]: [Message; 3]) {
    fn can_be_spawned(_: impl Future + Send + 'static) {}
    can_be_spawned(queue.ready());
    can_be_spawned(queue.publish("", Bytes::new()));
    can_be_spawned(queue.pull(1, LONG));
    can_be_spawned(queue.depth());
    can_be_spawned(a.ack());
    can_be_spawned(b.retry_after(LONG));
    can_be_spawned(c.set_aside(""));
}

async fn on_every_server(test: impl AsyncFn(Nats)) {
    for binary in nats::binaries() {
        test(Nats::start(&binary)).await;
    }
}

/// With more patience than a busy machine needs.
fn options(nats: &Nats) -> Options {
    Options {
        publish_timeout: LONG,
        ..Options::new(nats.url().into())
    }
}

fn connect(nats: &Nats) -> JetStream {
    JetStream::connect(options(nats)).unwrap()
}

/// Waits for `BOUND` and no longer.
fn connect_hasty(nats: &Nats) -> JetStream {
    JetStream::connect(Options::new(nats.url().into())).unwrap()
}

async fn publish(queue: &JetStream, id: &str, body: &str) -> Published {
    let body = body.to_owned().into();
    queue.publish(id, body).await.unwrap()
}

async fn pull_one(queue: &JetStream) -> Message {
    queue.pull(1, LONG).await.unwrap().pop().unwrap()
}

/// Acknowledges and returns everything.
async fn drain(queue: &JetStream) -> Vec<String> {
    let mut bodies = Vec::new();
    while queue.depth().await.unwrap().messages > 0 {
        let messages = queue.pull(256, LONG).await.unwrap();
        assert!(!messages.is_empty());
        bodies.extend(messages.iter().map(|m| text(m.body())));
        for done in join_all(messages.into_iter().map(Message::ack)).await {
            done.unwrap();
        }
    }
    bodies
}

fn bodies(all: Vec<String>) -> BTreeSet<String> {
    let count = all.len();
    let distinct: BTreeSet<String> = all.into_iter().collect();
    assert_eq!(distinct.len(), count, "a message came twice");
    distinct
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

async fn refused_within_bound(queue: &JetStream) -> Error {
    let started = Instant::now();
    let error = queue.publish("probe", "probe".into()).await.unwrap_err();
    assert!(started.elapsed() < BOUND + SLACK, "{:?}", started.elapsed());
    assert!(error.is_transient(), "{error:?}");
    match error {
        PublishError::Unavailable(error) => error,
        other => panic!("{other:?}"),
    }
}

async fn assert_refused_for(queue: &JetStream, setting: &str, of: &str) {
    let error = queue.ready().await.unwrap_err();
    assert!(!error.is_transient());
    let Error::Settings(differences) = &error else {
        panic!("{error:?}");
    };
    assert!(
        differences
            .iter()
            .any(|d| d.setting == setting && d.of.contains(of)),
        "{setting}: {error}"
    );
    assert!(error.to_string().contains(setting));
    let refused = queue.publish("probe", "probe".into()).await;
    assert!(matches!(
        refused,
        Err(PublishError::Unavailable(Error::Settings(_)))
    ));
}

async fn raw(nats: &Nats) -> jetstream::Context {
    jetstream::new(async_nats::connect(nats.url()).await.unwrap())
}

fn wanted_stream() -> jetstream::stream::Config {
    jetstream::stream::Config {
        name: "LOCKSTEP".to_owned(),
        subjects: vec!["lockstep.push".to_owned()],
        retention: jetstream::stream::RetentionPolicy::WorkQueue,
        discard: jetstream::stream::DiscardPolicy::New,
        max_bytes: 1 << 30,
        duplicate_window: Duration::from_hours(2),
        ..Default::default()
    }
}
