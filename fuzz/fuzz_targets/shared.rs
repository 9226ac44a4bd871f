//! Any bytes as shared data, before or during a series of requests: they are read or dropped, and nothing panics. What is written can be
//! read again, a shelf stays small, and no signal trips twice.
//!
//! The input has three parts with a `\n` between them: the first shared data, the requests, and bytes that then overwrite the shared
//! data. After that the requests continue.

#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rollout_core::{Health, Plan, Rollout, Time, compile, decide};
use rollout_core::guardrail::{End, Guardrails, Label, Outcome, Setting, SharedRecord, Shelf, SplitMark, Worker, merge};

const DOCUMENT: &[u8] = br#"{"revision": 1, "rollouts": [
  {"name": "one", "stable": "v1", "unit": [{"header": "x-user-id"}],
   "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
   "strategy": {"progressive": {"version": "v2", "start": "2026-11-25T09:00:00Z", "linear": {"from": 40, "to": 60, "over": "9h"}}},
   "guardrails": {"window": "10s", "min_requests": 1, "warm_up": "3s", "signals": [{"consecutive_failures": 3},
     {"error_rate": {"max_percent": 20}}, {"error_rate": {"max_increase_percent": 1, "confidence": 0.9}},
     {"latency": {"quantile": 0.5, "max_ms": 800}}, {"latency": {"quantile": 0.5, "max_ratio": 1.5, "confidence": 0.9}},
     {"response_header": {"name": "x-bad", "exact": "1", "max_increase_percent": 1, "confidence": 0.9}},
     {"status": {"in": [404, "5xx"], "max_percent": 20}}, {"status": {"in": [404], "max_increase_percent": 1, "confidence": 0.9}},
     {"abandon_rate": {"max_percent": 20}}, {"abandon_rate": {"max_increase_percent": 1, "confidence": 0.9}},
     {"sample_ratio": {"confidence": 0.9}}]}}]}"#;

thread_local! {
    static PLAN: OnceLock<Plan> = const { OnceLock::new() };
}

/// A proxy with one worker.
struct Proxy<'p> {
    plan: &'p Plan,
    rollout: &'p Rollout,
    guardrails: &'p Guardrails,
    worker: Worker,
    now: Duration,
    shared: Vec<u8>,
    tripped: Vec<usize>,
}

impl<'p> Proxy<'p> {
    fn new(plan: &'p Plan, shared: &[u8]) -> Self {
        let rollout = plan.rollouts().first().expect("the document has a rollout");
        let guardrails = rollout.guardrails().expect("the rollout has guardrails");
        let worker = Worker::new(guardrails, rollout.stable().ordinal());
        let now = Duration::from_secs(1_795_599_000);
        Self { plan, rollout, guardrails, worker, now, shared: shared.to_vec(), tripped: Vec::new() }
    }

    /// Each pair of bytes is a request of some unit or a step in time.
    fn live(&mut self, story: &[u8]) {
        for pair in story.chunks_exact(2) {
            match pair[0] {
                0..=7 => self.now = self.now.saturating_sub(Duration::from_millis(1 << pair[1] % 40)),
                8..=63 => self.now = self.now.saturating_add(Duration::from_millis(1 << pair[1] % 60)),
                64..=127 => self.merge(),
                128..=255 => self.request(pair[0] & 0x7f, pair[1]),
            }
        }
        self.merge();
    }

    fn request(&mut self, unit: u8, outcome: u8) {
        let unit = unit.to_string();
        let request = self.plan.request([("x-user-id", unit.as_bytes())], None);
        let time = Time::from_seconds(self.now.as_secs());
        let decision = decide(self.plan, &request, time).expect("all match");
        let split = SplitMark::of(self.rollout, Health::HEALTHY, time);
        let ticket = self.worker.begin(&decision, self.now, split).expect("both sides are recorded");
        let waited = Some(Duration::from_micros(1 << (outcome & 31)));
        let end = match outcome >> 6 {
            0 => End::Answered,
            1 => End::Failed,
            2 => End::Unanswered,
            _ => End::Abandoned,
        };
        let outcome = Outcome { end, waited: waited.filter(|_| end != End::Unanswered), marks: u16::from(outcome) << 5 };
        if unit.len() == 2 && outcome.marks == 0 {
            return self.worker.forget(&ticket);
        }
        let ticket = self.worker.record(self.guardrails, ticket, outcome, self.now);
        if unit.len() == 1 && outcome.may_fail_late(true) {
            self.worker.record_late_failure(self.guardrails, &ticket, self.now);
        }
    }

    /// Merges as the filter does.
    fn merge(&mut self) {
        let setting = Setting::of(self.rollout, 0, Health::HEALTHY, self.now).expect("a version is guarded");
        let label = Label { identity: setting.guarded.identity, epoch: setting.guarded.epoch };
        let known = Shelf::decode(&self.shared);
        if known.record(label).and_then(|bytes| SharedRecord::decode(self.guardrails, bytes)).is_none() {
            self.tripped.clear();
        }
        let merged = merge(&self.shared, &self.worker, 0, &setting);
        for verdict in &merged.verdicts {
            assert!(!self.tripped.contains(&verdict.position), "signal {} tripped twice", verdict.position);
            self.tripped.push(verdict.position);
            assert!(!verdict.finding.to_string().contains("NaN"), "{}", verdict.finding);
        }
        let shelf = Shelf::decode(&merged.bytes);
        assert_eq!(shelf.encode(), merged.bytes);
        let read = shelf.record(label).and_then(|bytes| SharedRecord::decode(self.guardrails, bytes));
        assert_eq!(read.as_ref(), Some(&merged.record));
        self.worker.merged(self.guardrails, 0, &merged.record, &merged.feedback);
        self.shared = merged.bytes;
    }
}

fuzz_target!(|bytes: &[u8]| PLAN.with(|plan| {
    let plan = plan.get_or_init(|| compile(DOCUMENT).expect("the document is valid").plan);
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n').map(|part| part.get(..4_096).unwrap_or(part));
    let [shared, story, over] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let mut proxy = Proxy::new(plan, shared);
    proxy.live(story);
    let length = proxy.shared.len();
    for place in over.chunks_exact(3) {
        let position = usize::from(u16::from_le_bytes([place[0], place[1]]));
        proxy.shared[position % length] ^= place[2];
    }
    proxy.tripped.clear();
    proxy.live(story);
}));
