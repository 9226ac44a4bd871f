//! Any bytes as what workers share, before a story or in the midst of one: read or dropped, never a panic; what is written is read
//! again, a shelf stays small, and no signal trips twice.
//!
//! Three parts with a `\n` between them: the bytes to begin with, the story, and bytes that are laid over what the story has left.
//! Then the story goes on.

#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rollout_core::compile::compile;
use rollout_core::decide::decide;
use rollout_core::guardrail::Guardrails;
use rollout_core::guardrail::outcome::Outcome;
use rollout_core::guardrail::record::{Record, Setting};
use rollout_core::guardrail::recorder::Recorder;
use rollout_core::guardrail::shelf::{Label, Shelf};
use rollout_core::health::Health;
use rollout_core::plan::{Plan, Rollout};
use rollout_core::request::Request;
use rollout_core::time::Time;

const DOCUMENT: &[u8] = br#"{"revision": 1, "rollouts": [
  {"name": "one", "stable": "v1", "unit": [{"header": "x-user-id"}],
   "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
   "strategy": {"canary": {"version": "v2", "percent": 50}},
   "guardrails": {"window": "10s", "min_requests": 1, "signals": [{"consecutive_failures": 3},
     {"error_rate": {"max_percent": 20}}, {"error_rate": {"max_increase_percent": 1, "confidence": 0.9}},
     {"latency": {"quantile": 0.5, "max_ms": 800}}, {"latency": {"quantile": 0.5, "max_ratio": 1.5, "confidence": 0.9}},
     {"response_header": {"name": "x-bad", "exact": "1", "max_increase_percent": 1, "confidence": 0.9}},
     {"sample_ratio": {"confidence": 0.9}}]}}]}"#;

thread_local! {
    static PLAN: OnceLock<Plan> = const { OnceLock::new() };
}

/// A worker that merges into what it shares with nobody.
struct Worker<'p> {
    plan: &'p Plan,
    rollout: &'p Rollout,
    guardrails: &'p Guardrails,
    recorder: Recorder,
    now: Duration,
    shared: Vec<u8>,
    tripped: Vec<usize>,
}

impl<'p> Worker<'p> {
    fn new(plan: &'p Plan, shared: &[u8]) -> Self {
        let rollout = plan.rollouts().first().expect("the document has a rollout");
        let guardrails = rollout.guardrails().expect("the rollout has guardrails");
        let recorder = Recorder::new(guardrails, rollout.stable().ordinal());
        let now = Duration::from_secs(1_795_599_000);
        Self { plan, rollout, guardrails, recorder, now, shared: shared.to_vec(), tripped: Vec::new() }
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
        let request = Request::new(self.plan, [("x-user-id", unit.as_bytes())], None);
        let decision = decide(self.plan, &request, Time::from_seconds(self.now.as_secs())).expect("all match");
        let ticket = self.recorder.begin(&decision, self.now).expect("both sides are recorded");
        let latency = Duration::from_micros(1 << (outcome & 31));
        let latency = Some(latency).filter(|_| outcome & 64 == 0);
        let outcome = Outcome { failed: outcome & 128 != 0, latency, headers: u16::from(outcome & 32) };
        let guardrails = self.guardrails;
        let ticket = self.recorder.record(guardrails, ticket, outcome);
        if unit.len() == 1 && !outcome.failed {
            self.recorder.record_late_failure(guardrails, ticket);
        }
    }

    /// As the filter does it.
    fn merge(&mut self) {
        let guardrails = self.guardrails;
        let guarded = guardrails.guarded().first().expect("a version is guarded");
        let label = Label { identity: guarded.identity, epoch: guarded.epoch };
        let time = Time::from_seconds(self.now.as_secs());
        let (share, split) = self.rollout.drawn(&guarded.version, Health::HEALTHY, time);
        let setting = Setting { guardrails, now: self.now, share, split };
        let mut shelf = Shelf::decode(&self.shared);
        let known = shelf.record(label).and_then(|bytes| Record::decode(guardrails, bytes));
        if known.is_none() {
            self.tripped.clear();
        }
        let mut record = known.unwrap_or_else(|| Record::new(guardrails, self.now));
        for verdict in self.recorder.merge_into(&mut record, 0, &setting).verdicts {
            assert!(!self.tripped.contains(&verdict.position), "signal {} tripped twice", verdict.position);
            self.tripped.push(verdict.position);
            assert!(!verdict.finding.to_string().contains("NaN"), "{}", verdict.finding);
        }
        let bytes = record.encode();
        assert_eq!(Record::decode(guardrails, &bytes).as_ref(), Some(&record));
        shelf.put(label, (bytes, None), self.now.as_secs());
        self.shared = shelf.encode();
        assert_eq!(Shelf::decode(&self.shared), shelf);
        self.recorder.merged(guardrails, 0, &record);
        self.recorder.age();
    }
}

fuzz_target!(|bytes: &[u8]| PLAN.with(|plan| {
    let plan = plan.get_or_init(|| compile(DOCUMENT).expect("the document is valid").plan);
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n').map(|part| part.get(..4_096).unwrap_or(part));
    let [shared, story, over] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let mut worker = Worker::new(plan, shared);
    worker.live(story);
    let length = worker.shared.len();
    for place in over.chunks_exact(3) {
        let position = usize::from(u16::from_le_bytes([place[0], place[1]]));
        worker.shared[position % length] ^= place[2];
    }
    worker.tripped.clear();
    worker.live(story);
}));
