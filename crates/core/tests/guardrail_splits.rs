//! Slow failures that both versions share while the split changes: no version is blamed for them. A version that fails on a rising line
//! is still condemned.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test may stop with the reason"
)]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rollout_core::guardrail::{Setting, SplitMark, Ticket, Worker, merge};
use rollout_core::{Health, Plan, Rollout, Time, compile, decide_unit};
use serde_json::{Value, json};

mod guardrail;

use guardrail::{Dice, ended};

const START: u64 = 1_795_599_000_000;

/// A document that serves, with the worker that counts for it.
struct Document {
    plan: Plan,
    rollout: Rc<Rollout>,
    worker: Worker,
}

impl Document {
    fn new(strategy: &Value) -> Self {
        let document = json!({"revision": 1, "rollouts": [{"name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "s", "stable": "v1",
            "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}], "strategy": strategy,
            "guardrails": {"min_requests": 50, "signals": [{"error_rate": {"max_increase_percent": 2, "confidence": 0.99}},
                {"latency": {"quantile": 0.95, "max_ratio": 1.5, "confidence": 0.99}}]}}]});
        let plan = compile(document.to_string().as_bytes()).unwrap_or_else(|no| panic!("{no}")).plan;
        let rollout = Rc::clone(&plan.rollouts()[0]);
        let worker = Worker::new(rollout.guardrails().unwrap(), rollout.stable().ordinal());
        Self { plan, rollout, worker }
    }

    fn split(&self, now: Duration) -> SplitMark {
        SplitMark::of(&self.rollout, Health::HEALTHY, Time::from_seconds(now.as_secs()))
    }
}

/// Requests per second, the share that fails on both versions, and the milliseconds that a failure takes.
struct Traffic {
    rate: u64,
    failing: [f64; 2],
    fails_after: u64,
}

/// Sends requests to the latest document from its second on. A request that started under an earlier document ends there, as in Envoy.
/// Returns the second of the first verdict.
fn condemned(
    documents: &mut [(u64, Document)],
    traffic: &Traffic,
    seconds: u64,
    dice: &mut Dice,
) -> Option<u64> {
    let mut under_way: BTreeMap<u64, Vec<(usize, Ticket, bool)>> = BTreeMap::new();
    let mut shared = Vec::new();
    for at in 0..seconds * 1_000 {
        let now = Duration::from_millis(START + at);
        let serving = documents.iter().rposition(|(from, _)| *from * 1_000 <= at).unwrap();
        let split = documents[serving].1.split(now);
        for _ in 0..traffic.rate * (at + 1) / 1_000 - traffic.rate * at / 1_000 {
            let document = &mut documents[serving].1;
            let unit = format!("user-{}", dice.word() % 2_000);
            let time = Time::from_seconds(now.as_secs());
            let decision = decide_unit(&document.plan, &document.rollout, unit.as_bytes(), time);
            let failed = dice.chance(traffic.failing[usize::from(decision.version.name() == "v1")]);
            let ticket = document.worker.begin(&decision, now, split).unwrap();
            let ends = at + if failed { traffic.fails_after } else { 20 };
            under_way.entry(ends).or_default().push((serving, ticket, failed));
        }
        for (document, ticket, failed) in under_way.remove(&at).unwrap_or_default() {
            let Document { rollout, worker, .. } = &mut documents[document].1;
            worker.record(rollout.guardrails().unwrap(), ticket, ended(failed, 20), now);
        }
        if at % 200 > 0 {
            continue;
        }
        for (_, Document { rollout, worker, .. }) in documents.iter_mut() {
            if worker.dirty().is_empty() {
                continue;
            }
            let setting = Setting::of(rollout, 0, Health::HEALTHY, now).unwrap().replaced_by(split);
            let merged = merge(&shared, worker, 0, &setting);
            shared = merged.bytes;
            worker.merged(rollout.guardrails().unwrap(), 0, &merged.record, &merged.feedback);
            if !merged.verdicts.is_empty() {
                return Some(at / 1_000);
            }
        }
    }
    None
}

fn canary(percent: u64) -> Value {
    json!({"canary": {"version": "v2", "percent": percent}})
}

/// Runs of each row in the short form. The environment variable `RUNS` changes it.
fn runs() -> u64 {
    std::env::var("RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

#[test]
fn timeouts_of_both_versions_condemn_neither_if_a_push_changes_the_split() {
    for to in [2, 10, 90] {
        for (failing, fails_after) in [(0.005, 10_000), (0.02, 10_000), (0.02, 30_000), (0.03, 5_000)] {
            let condemned = (0..runs()).filter(|seed| {
                let mut documents = [(0, Document::new(&canary(50))), (60, Document::new(&canary(to)))];
                let traffic = Traffic { rate: 350, failing: [failing; 2], fails_after };
                condemned(&mut documents, &traffic, 180, &mut Dice::new(*seed)).is_some()
            });
            assert_eq!(condemned.count(), 0, "50 to {to} %, {failing} failing after {fails_after} ms");
        }
    }
}

#[test]
fn timeouts_of_both_versions_condemn_neither_if_a_ramp_takes_a_step_or_a_line_is_replaced() {
    let start = "2026-11-25T09:30:00Z"; // START
    let steps = json!({"progressive": {"version": "v2", "start": start,
        "steps": [{"percent": 2, "hold": "1m"}, {"percent": 50, "hold": "1m"}, {"percent": 90}]}});
    let line = json!({"progressive": {"version": "v2", "start": start, "linear": {"from": 5, "to": 95, "over": "2m"}}});
    let traffic = Traffic { rate: 350, failing: [0.03; 2], fails_after: 10_000 };
    for seed in 0..runs() {
        let mut ramp = [(0, Document::new(&steps))];
        assert_eq!(condemned(&mut ramp, &traffic, 180, &mut Dice::new(seed)), None);
        let mut back = [(0, Document::new(&line)), (100, Document::new(&canary(2)))];
        assert_eq!(condemned(&mut back, &traffic, 180, &mut Dice::new(seed)), None);
    }
}

#[test]
fn a_version_that_times_out_is_condemned_while_its_line_rises() {
    let line = json!({"progressive": {"version": "v2", "start": "2026-11-25T09:30:00Z",
        "linear": {"from": 1, "to": 100, "over": "30m"}}});
    for (failing, within) in [(1.0, 60), (0.2, 120)] {
        let mut documents = [(0, Document::new(&line))];
        let traffic = Traffic { rate: 350, failing: [failing, 0.005], fails_after: 2_000 };
        let at = condemned(&mut documents, &traffic, 300, &mut Dice::new(7));
        assert!(at.is_some_and(|at| at < within), "{failing} failing: condemned after {at:?} s");
    }
}

#[test]
fn a_bad_version_is_condemned_after_a_push_as_before_it() {
    for to in [2, 10, 90] {
        let mut documents = [(0, Document::new(&canary(50))), (3, Document::new(&canary(to)))];
        let traffic = Traffic { rate: 1_000, failing: [0.3, 0.005], fails_after: 5_000 };
        let at = condemned(&mut documents, &traffic, 120, &mut Dice::new(8));
        assert!(at.is_some_and(|at| at > 7), "50 to {to} %: condemned after {at:?} s");
    }
}
