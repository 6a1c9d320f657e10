//! Things that go wrong on purpose: what a real gateway was seen to do on a bad day. Nothing here
//! happens unless a test asked for it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// A request, as far as a fault may look at it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'request> {
    pub method: &'request str,
    pub path: &'request str,
    pub query: &'request str,
    pub body: &'request [u8],
}

/// What happens to a request instead of, or after, its proper handling.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answered with this status, not acted upon.
    Answer(u16),
    /// Acted upon, then answered with this status.
    AnswerAfter(u16),
    /// Refused with words that quote what was sent, not acted upon.
    Quote,
    /// The connection is cut, the request not acted upon.
    Reset,
    /// The request is acted upon, then the connection is cut.
    ResetAfter,
    /// Waits until the `Hang` is dropped, then is handled as ever.
    Hang(Gate),
    /// A list is answered as if there were nothing.
    EmptyList,
}

/// Holds requests, or loads, up until it is dropped.
#[derive(Debug)]
pub struct Hang {
    _release: watch::Sender<()>,
    arrived: watch::Receiver<usize>,
}

impl Hang {
    /// Waits until `count` of them have arrived here.
    pub async fn reached(&mut self, count: usize) {
        // The other side lives in the gateway; when it is gone, nothing more will arrive.
        let _ = self.arrived.wait_for(|arrived| *arrived >= count).await;
    }
}

/// The inside of a `Hang`.
#[derive(Debug, Clone)]
pub struct Gate {
    open: watch::Receiver<()>,
    arrived: Arc<watch::Sender<usize>>,
}

impl Gate {
    pub(super) async fn pass(mut self) {
        self.arrived.send_modify(|arrived| *arrived += 1);
        // The sender never sends: an error says that the `Hang` was dropped.
        while self.open.changed().await.is_ok() {}
    }
}

type Predicate = Box<dyn Fn(&Asked<'_>) -> bool + Send>;

struct Rule {
    when: Predicate,
    left: usize,
    fault: Fault,
}

/// The faults of one gateway.
#[derive(Default)]
pub struct Faults {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    rules: Vec<Rule>,
    slow_reload: Duration,
    load_gate: Option<Gate>,
    missing: Vec<String>,
    dies_on_overlapping_oas_reads: bool,
    redis_down: bool,
    reload_fails: bool,
}

impl Faults {
    /// The next `times` requests for which `when` holds are answered with `status`.
    pub fn answer(
        &self,
        status: u16,
        times: usize,
        when: impl Fn(&Asked<'_>) -> bool + Send + 'static,
    ) {
        self.rule(Fault::Answer(status), times, when);
    }

    /// The next `times` such requests are refused, in words that quote their bodies.
    pub fn quote(&self, times: usize, when: impl Fn(&Asked<'_>) -> bool + Send + 'static) {
        self.rule(Fault::Quote, times, when);
    }

    /// As `answer`, but what was asked is done first.
    pub fn answer_after(
        &self,
        status: u16,
        times: usize,
        when: impl Fn(&Asked<'_>) -> bool + Send + 'static,
    ) {
        self.rule(Fault::AnswerAfter(status), times, when);
    }

    /// The connection of the next `times` such requests is cut before anything is done.
    pub fn reset(&self, times: usize, when: impl Fn(&Asked<'_>) -> bool + Send + 'static) {
        self.rule(Fault::Reset, times, when);
    }

    /// What was asked is done, and the connection cut instead of an answer.
    pub fn reset_after(&self, times: usize, when: impl Fn(&Asked<'_>) -> bool + Send + 'static) {
        self.rule(Fault::ResetAfter, times, when);
    }

    /// The next `times` such requests wait until the returned `Hang` is dropped.
    pub fn hang(&self, times: usize, when: impl Fn(&Asked<'_>) -> bool + Send + 'static) -> Hang {
        let (hang, gate) = hang();
        self.rule(Fault::Hang(gate), times, when);
        hang
    }

    /// The next `times` lists (of APIs or policies) are empty.
    pub fn empty_list(&self, times: usize) {
        self.rule(Fault::EmptyList, times, |asked| {
            asked.method == "GET"
                && matches!(
                    asked.path,
                    "/tyk/apis" | "/tyk/apis/oas" | "/tyk/policies" | "/tyk/mcps"
                )
        });
    }

    /// Every load takes this much longer.
    pub fn slow_reload(&self, by: Duration) {
        self.lock().slow_reload = by;
    }

    /// Loads, also the one after a restart, wait until the returned `Hang` is dropped.
    pub fn hold_loads(&self) -> Hang {
        let (hang, gate) = hang();
        self.lock().load_gate = Some(gate);
        hang
    }

    /// The API is accepted when it is written, and missing after every load.
    pub fn lose(&self, id: &str) {
        self.lock().missing.push(id.to_owned());
    }

    /// The process dies when two OAS reads overlap; `Gateway::restart` brings it back.
    pub fn die_on_overlapping_oas_reads(&self, dies: bool) {
        self.lock().dies_on_overlapping_oas_reads = dies;
    }

    pub fn redis_down(&self, down: bool) {
        self.lock().redis_down = down;
    }

    /// A reload stops before the APIs; everything stays as it was and the answer is still 200.
    pub fn fail_reloads(&self, fails: bool) {
        self.lock().reload_fails = fails;
    }

    /// No fault any more. Requests that hang go on when their `Hang` is dropped.
    pub fn clear(&self) {
        *self.lock() = Inner::default();
    }

    pub(super) fn take(&self, asked: &Asked<'_>) -> Option<Fault> {
        let mut inner = self.lock();
        let position = inner.rules.iter().position(|rule| (rule.when)(asked))?;
        let rule = &mut inner.rules[position];
        rule.left -= 1;
        let fault = rule.fault.clone();
        if rule.left == 0 {
            inner.rules.remove(position);
        }
        Some(fault)
    }

    pub(super) async fn before_load(&self) {
        let (delay, gate) = {
            let inner = self.lock();
            (inner.slow_reload, inner.load_gate.clone())
        };
        if let Some(gate) = gate {
            gate.pass().await;
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    pub(super) fn loses(&self, id: &str) -> bool {
        self.lock().missing.iter().any(|missing| missing == id)
    }

    pub(super) fn dies_on_overlap(&self) -> bool {
        self.lock().dies_on_overlapping_oas_reads
    }

    pub(super) fn redis_is_down(&self) -> bool {
        self.lock().redis_down
    }

    pub(super) fn reload_fails(&self) -> bool {
        self.lock().reload_fails
    }

    fn rule(&self, fault: Fault, times: usize, when: impl Fn(&Asked<'_>) -> bool + Send + 'static) {
        if times == 0 {
            return;
        }
        self.lock().rules.push(Rule {
            when: Box::new(when),
            left: times,
            fault,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hang() -> (Hang, Gate) {
    let (release, open) = watch::channel(());
    let (arrivals, arrived) = watch::channel(0);
    let gate = Gate {
        open,
        arrived: Arc::new(arrivals),
    };
    let hang = Hang {
        _release: release,
        arrived,
    };
    (hang, gate)
}

impl fmt::Debug for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        formatter
            .debug_struct("Faults")
            .field("rules", &inner.rules.len())
            .field("missing", &inner.missing)
            .finish_non_exhaustive()
    }
}
