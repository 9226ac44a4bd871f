//! The signal `shadow_mismatch`: which pairs it counts, which version it judges, and what its verdict does.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may stop with the reason"
)]

use std::rc::Rc;
use std::time::Duration;

use rollout_core::guardrail::{
    Action, Finding, Guardrails, Merge, PairTicket, Setting, Shelf, SplitMark, Worker, merge,
};
use rollout_core::{Decision, Health, Plan, Rollout, Shadow, State, Time, compile, decide_unit};
use serde_json::{Value, json};

mod guardrail;

use guardrail::site::{FAILED, FINE, START, after};

/// v1 is stable, v2 may be a canary, and both v2 and v3 get copies that are compared.
fn document(strategy: &Value, guardrails: &Value) -> Value {
    let shadow = |version: &str| json!({"version": version, "cluster": format!("{version}-copies"), "percent": 100, "compare": {"status": true}});
    json!({"revision": 1, "rollouts": [{"name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "g", "stable": "v1",
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}, {"name": "v3", "cluster": "c3"}],
        "strategy": strategy, "shadow": [shadow("v2"), shadow("v3")], "guardrails": guardrails}]})
}

fn canary() -> Value {
    json!({"canary": {"version": "v2", "percent": 10}})
}

/// A proxy with workers that merge on every tick of 200 ms.
struct Proxy {
    plan: Plan,
    rollout: Rc<Rollout>,
    /// Decisions of units that stable serves.
    decisions: Vec<Decision>,
    workers: Vec<Worker>,
    /// The shelf of each guarded version.
    shared: Vec<Vec<u8>>,
    ticks: u32,
    found: Vec<Merge>,
}

impl Proxy {
    fn new(document: &Value) -> Self {
        let plan = compile(document.to_string().as_bytes()).unwrap().plan;
        let rollout = Rc::clone(&plan.rollouts()[0]);
        let decide = |number: usize| {
            let time = Time::from_seconds(START.as_secs());
            decide_unit(&plan, &rollout, format!("user-{number}").as_bytes(), time)
        };
        let decisions = (0..1_000).map(decide).filter(|of| of.version.name() == "v1").collect();
        let guardrails = rollout.guardrails().unwrap();
        let workers = (0..2).map(|_| Worker::new(guardrails, rollout.stable().ordinal())).collect();
        let shared = guardrails.guarded().iter().map(|_| Vec::new()).collect();
        Self { plan, rollout, decisions, workers, shared, ticks: 0, found: Vec::new() }
    }

    fn with(guardrails: &Value) -> Self {
        Self::new(&document(&canary(), guardrails))
    }

    fn guardrails(&self) -> &Guardrails {
        self.rollout.guardrails().unwrap()
    }

    fn now(&self) -> Duration {
        after(f64::from(self.ticks) / 5.0)
    }

    fn shadow(&self, version: &str) -> Rc<Shadow> {
        Rc::clone(self.rollout.shadows().find(|shadow| shadow.version.name() == version).unwrap())
    }

    fn position(&self, version: &str) -> usize {
        let named = |of: &rollout_core::guardrail::Guarded| of.version.name() == version;
        self.guardrails().guarded().iter().position(named).unwrap()
    }

    fn begin(&mut self, version: &str, unit: usize) -> Option<PairTicket> {
        let (shadow, now) = (self.shadow(version), self.now());
        let decision = &self.decisions[unit % self.decisions.len()];
        let worker = unit % self.workers.len();
        self.workers[worker].begin_pair(decision, &shadow, now)
    }

    fn end(&mut self, unit: usize, ticket: &PairTicket, is_mismatch: bool) {
        let worker = unit % self.workers.len();
        self.workers[worker].record_pair(self.rollout.guardrails().unwrap(), ticket, is_mismatch);
    }

    fn pairs(&mut self, version: &str, units: std::ops::Range<usize>, is_mismatch: bool) {
        for unit in units {
            let ticket = self.begin(version, unit).unwrap();
            self.end(unit, &ticket, is_mismatch);
        }
    }

    /// The end of a tick: a merge of each worker for each version that has something to merge.
    fn tick(&mut self) -> Vec<Merge> {
        self.ticks += 1;
        let now = self.now();
        let mut merges = Vec::new();
        for worker in &mut self.workers {
            for position in worker.dirty() {
                let setting = Setting::of(&self.rollout, position, Health::HEALTHY, now).unwrap();
                let merged = merge(&self.shared[position], worker, position, &setting);
                self.shared[position].clone_from(&merged.bytes);
                worker.merged(setting.guardrails, position, &merged.record, &merged.feedback);
                self.found.extend(merged.verdicts.first().map(|_| merged.clone()));
                merges.push(merged);
            }
        }
        merges
    }

    /// The lines of all verdicts so far.
    fn lines(&self) -> Vec<String> {
        let of = |merged: &Merge| {
            let lines = merged.verdicts.iter().map(|verdict| {
                let latched = merged.latch.map_or("no latch", |latch| match latch.action {
                    Action::Rollback => "latched",
                    Action::Freeze => "kept",
                    Action::Warn => "warned",
                });
                format!("{latched}: {}", verdict.finding)
            });
            lines.collect::<Vec<_>>()
        };
        self.found.iter().flat_map(of).collect()
    }
}

fn absolute() -> Value {
    json!({"window": "10s", "min_requests": 20, "signals": [{"shadow_mismatch": {"max_percent": 20}}]})
}

fn tested() -> Value {
    json!({"window": "10s", "min_requests": 20, "signals": [{"shadow_mismatch": {"max_percent": 1, "confidence": 0.99}}]})
}

#[test]
fn a_share_of_mismatches_above_the_limit_rolls_a_canary_back() {
    let mut proxy = Proxy::with(&absolute());
    proxy.pairs("v2", 0..80, false);
    proxy.pairs("v2", 100..120, true);
    proxy.tick();
    assert_eq!(proxy.lines(), [""; 0], "20 % are allowed");
    proxy.pairs("v2", 200..205, true);
    proxy.tick();
    assert_eq!(proxy.lines(), ["latched: 23 of 103 (22.3301 %), limit 20.0000 %"]);
}

#[test]
fn the_verdict_is_of_the_version_that_gets_the_copies_and_of_no_other() {
    for guardrails in [absolute(), tested()] {
        let mut proxy = Proxy::with(&guardrails);
        let [canary, shadow] = ["v2", "v3"].map(|version| proxy.position(version));
        for _ in 0..10 {
            proxy.pairs("v2", 0..50, false);
            proxy.pairs("v3", 0..50, true);
            proxy.tick();
        }
        let latch = |position: usize| {
            let identity = proxy.guardrails().guarded()[position].identity;
            Shelf::decode(&proxy.shared[position]).latch(identity, 0)
        };
        assert_eq!((latch(canary), latch(shadow)), (None, None));
        assert_eq!(proxy.found.len(), 1, "once in an epoch");
        assert!(proxy.lines()[0].starts_with("no latch: "), "{:?}", proxy.lines());
        let (merged, now) = (&proxy.found[0], proxy.now());
        let setting = Setting::of(&proxy.rollout, shadow, Health::HEALTHY, now).unwrap();
        let line = merged.verdicts[0].line(&setting);
        assert!(line.starts_with("version v3: warning only, signal shadow_mismatch: "), "{line}");
    }
}

#[test]
fn each_action_does_to_the_canary_what_it_does_for_other_signals() {
    for (action, expected) in [("rollback", "latched"), ("freeze", "kept"), ("warn", "no latch")] {
        for mut guardrails in [absolute(), tested()] {
            guardrails["action"] = action.into();
            let mut proxy = Proxy::with(&guardrails);
            for _ in 0..10 {
                proxy.pairs("v2", 0..50, true);
                proxy.tick();
            }
            assert!(proxy.lines()[0].starts_with(expected), "{action}: {:?}", proxy.lines());
        }
    }
    let mut dry = absolute();
    dry["dry_run"] = true.into();
    let mut proxy = Proxy::with(&dry);
    proxy.pairs("v2", 0..50, true);
    proxy.tick();
    assert!(proxy.lines()[0].starts_with("no latch"), "{:?}", proxy.lines());
}

#[test]
fn a_frozen_canary_keeps_the_exposure_that_its_ramp_had() {
    let ramp = json!({"progressive": {"version": "v2", "start": "2026-11-01T00:00:00Z", "steps": [{"percent": 5, "hold": "60d"}, {"percent": 50}]}});
    let mut guardrails = absolute();
    guardrails["action"] = "freeze".into();
    let mut proxy = Proxy::new(&document(&ramp, &guardrails));
    proxy.pairs("v2", 0..50, true);
    proxy.tick();
    let latch = proxy.found[0].latch.unwrap();
    assert_eq!(latch.exposure.get(), 50_000);
    assert!(matches!(latch.state(), State::Frozen(_)));
}

#[test]
fn a_limit_without_a_confidence_needs_pairs_and_mismatches_of_several_units() {
    for (matching, differing, trips) in [(0, 19, false), (0, 20, true), (80, 19, false), (40, 19, true)] {
        let mut proxy = Proxy::with(&absolute());
        proxy.pairs("v2", 100..100 + matching, false);
        proxy.pairs("v2", 0..differing, true);
        proxy.tick();
        assert_eq!(!proxy.found.is_empty(), trips, "{matching} match and {differing} differ");
    }
    for (units, trips) in [(1, false), (3, false), (4, true)] {
        let mut proxy = Proxy::with(&absolute());
        for _ in 0..30 {
            proxy.pairs("v2", 0..units, true);
            proxy.pairs("v2", 100..104, false);
        }
        proxy.tick();
        assert_eq!(!proxy.found.is_empty(), trips, "{units} units differ, four do not");
    }
    let mut proxy = Proxy::with(&absolute());
    for _ in 0..30 {
        proxy.pairs("v2", 0..1, true);
    }
    proxy.tick();
    assert!(!proxy.found.is_empty(), "the only unit that was compared");
}

#[test]
fn a_stable_that_fails_withholds_nothing() {
    let mut proxy = Proxy::with(&absolute());
    let split = SplitMark::of(&proxy.rollout, Health::HEALTHY, Time::from_seconds(START.as_secs()));
    for unit in 0..100 {
        let now = proxy.now();
        let worker = &mut proxy.workers[unit % 2];
        let ticket = worker.begin(&proxy.decisions[unit], now, split).unwrap();
        worker.record(proxy.rollout.guardrails().unwrap(), ticket, FAILED, now);
    }
    proxy.pairs("v2", 0..50, true);
    let merges = proxy.tick();
    assert!(merges.iter().all(|merged| merged.withheld.is_empty()));
    assert!(proxy.lines()[0].starts_with("latched"), "{:?}", proxy.lines());
}

#[test]
fn a_share_forgets_what_the_window_forgets_and_a_test_forgets_nothing() {
    for (guardrails, expected) in [(absolute(), 20..=20), (tested(), 41..=60)] {
        let mut proxy = Proxy::with(&guardrails);
        for start in [0, 100] {
            proxy.pairs("v2", start..start + 20, false);
            proxy.tick();
            proxy.ticks += 60;
        }
        proxy.pairs("v2", 300..320, true);
        proxy.tick();
        let finding = proxy.found[0].verdicts[0].finding;
        let observed = match finding {
            Finding::Share { observed, .. } => observed.version.observed,
            Finding::Above { observed, .. } => observed.observed,
            Finding::Increase { .. } | Finding::Consecutive { .. } | Finding::SampleRatio { .. } => 0,
        };
        assert!(expected.contains(&observed), "{finding}");
    }
}

#[test]
fn a_pair_that_is_compared_late_counts_for_its_plan_and_not_for_a_new_epoch() {
    let mut proxy = Proxy::with(&absolute());
    let tickets: Vec<_> = (0..50).map(|unit| (unit, proxy.begin("v2", unit).unwrap())).collect();
    proxy.ticks += 5 * 29;
    proxy.tick();
    for (unit, ticket) in &tickets {
        proxy.end(*unit, ticket, true);
    }
    proxy.tick();
    assert_eq!(proxy.found.len(), 1);
    // The same shelf, but another way to compare: the old pairs are not in the new record.
    let mut other = document(&canary(), &absolute());
    other["rollouts"][0]["shadow"][0]["compare"] = json!({"status": true, "headers": ["content-type"]});
    let mut pushed = Proxy::new(&other);
    pushed.shared.clone_from(&proxy.shared);
    pushed.ticks = proxy.ticks;
    pushed.pairs("v2", 0..4, true);
    let merged = pushed.tick().remove(0);
    assert_eq!(merged.verdicts, [], "four pairs are too few");
    assert!(merged.latch.is_some(), "the latch stays");
}

#[test]
fn pairs_from_before_the_end_of_a_warm_up_are_not_judged() {
    for mut guardrails in [absolute(), tested()] {
        guardrails["warm_up"] = "10s".into();
        let mut proxy = Proxy::with(&guardrails);
        proxy.pairs("v3", 0..100, true);
        let slow = proxy.begin("v3", 500).unwrap();
        let merged = proxy.tick().remove(0);
        assert_eq!(merged.record.warming_up(proxy.guardrails(), proxy.now()), 1);
        for _ in 0..48 {
            proxy.pairs("v3", 0..100, true);
            proxy.tick();
        }
        assert_eq!(proxy.lines(), [""; 0]);
        proxy.ticks += 5;
        proxy.end(500, &slow, true);
        proxy.tick();
        for _ in 0..10 {
            proxy.pairs("v3", 0..100, false);
            proxy.tick();
        }
        assert_eq!(proxy.lines(), [""; 0], "nothing that began later differs");
        for _ in 0..60 {
            proxy.pairs("v3", 0..100, true);
            proxy.tick();
        }
        assert_eq!(proxy.found.len(), 1);
    }
}

#[test]
fn a_test_counts_a_unit_once_per_second_in_the_whole_proxy() {
    let mut proxy = Proxy::with(&tested());
    let mut counted = 0;
    for _ in 0..5 {
        for _ in 0..4 {
            proxy.pairs("v2", 0..30, false);
        }
        let merges = proxy.tick();
        counted += merges.iter().flat_map(|of| &of.observed).map(|of| of.sides.version.observed).sum::<u64>();
    }
    assert!((25..=30).contains(&counted), "{counted}: 30 units, some in the same bucket");
}

#[test]
fn the_first_request_that_starts_counts_whichever_ends_first() {
    // In every second, a unit has a slow pair that matches and a quick one that differs. The slow one started first.
    let mut proxy = Proxy::with(&tested());
    for _ in 0..60 {
        let slow: Vec<_> = (0..40).map(|unit| (unit, proxy.begin("v2", unit).unwrap())).collect();
        proxy.pairs("v2", 0..40, true);
        proxy.tick();
        for (unit, ticket) in slow {
            proxy.end(unit, &ticket, false);
        }
        proxy.ticks += 4;
        proxy.tick();
    }
    assert_eq!(proxy.lines(), [""; 0]);
}

#[test]
fn few_units_that_always_differ_do_not_trip_a_test() {
    for most in [0.0, 0.01, 1.0] {
        let guardrails = json!({"min_requests": 20, "signals": [{"shadow_mismatch": {"max_percent": most, "confidence": 0.99}}]});
        for (differing, trips) in [(1, false), (3, false), (30, true)] {
            let mut proxy = Proxy::with(&guardrails);
            for second in 0..600 {
                proxy.pairs("v2", 0..differing, true);
                proxy.pairs("v2", 100 + second % 5 * 100..200 + second % 5 * 100, false);
                proxy.tick();
                proxy.ticks += 4;
            }
            assert_eq!(!proxy.found.is_empty(), trips, "{differing} units differ, at most {most} %");
        }
    }
}

#[test]
fn requests_without_a_unit_are_one_bucket_and_no_evidence_for_a_test() {
    for (guardrails, trips) in [(absolute(), false), (tested(), false)] {
        let mut proxy = Proxy::with(&guardrails);
        let nobody: Decision = {
            let request = proxy.plan.request([("user-agent", b"prober".as_slice())], None);
            rollout_core::decide(&proxy.plan, &request, Time::from_seconds(START.as_secs())).unwrap()
        };
        proxy.pairs("v2", 0..10, false);
        let (shadow, now) = (proxy.shadow("v2"), proxy.now());
        for _ in 0..100 {
            let ticket = proxy.workers[0].begin_pair(&nobody, &shadow, now).unwrap();
            proxy.workers[0].record_pair(proxy.rollout.guardrails().unwrap(), &ticket, true);
        }
        proxy.tick();
        assert_eq!(!proxy.found.is_empty(), trips);
    }
}

#[test]
fn other_signals_do_not_judge_a_version_that_only_gets_copies() {
    let guardrails = json!({"min_requests": 20, "signals": [{"consecutive_failures": 20}, {"error_rate": {"max_percent": 20}},
        {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}}, {"sample_ratio": {"confidence": 0.999}},
        {"shadow_mismatch": {"max_percent": 20}}]});
    let proxy = Proxy::with(&guardrails);
    let guarded = proxy.guardrails().guarded();
    let names: Vec<_> = guarded.iter().map(|of| of.version.name()).collect();
    assert_eq!(names, ["v2", "v3"]);
    let judged = |position: usize| {
        let of = &guarded[position];
        proxy.guardrails().signals().iter().filter(|signal| of.is_judged_by(signal.rule())).count()
    };
    assert_eq!([judged(0), judged(1)], [5, 1]);
    // Requests of stable leave it nothing to merge.
    let mut worker = Worker::new(proxy.guardrails(), proxy.rollout.stable().ordinal());
    let split = SplitMark::of(&proxy.rollout, Health::HEALTHY, Time::from_seconds(START.as_secs()));
    let ticket = worker.begin(&proxy.decisions[0], proxy.now(), split).unwrap();
    worker.record(proxy.guardrails(), ticket, FINE, proxy.now());
    assert_eq!(worker.dirty(), [0]);
}

#[test]
fn without_the_signal_a_version_that_only_gets_copies_has_no_record() {
    let mut proxy = Proxy::with(&json!({"signals": [{"consecutive_failures": 20}]}));
    let names: Vec<_> = proxy.guardrails().guarded().iter().map(|of| of.version.name().to_owned()).collect();
    assert_eq!(names, ["v2"]);
    assert_eq!((proxy.begin("v2", 0), proxy.begin("v3", 0)), (None, None));
}
