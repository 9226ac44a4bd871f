//! A rollout under guardrails with its units, workers and shared bytes, for tests of the rules.

use std::rc::Rc;
use std::time::Duration;

use rollout_core::guardrail::{
    End, Guardrails, Label, Merge, Outcome, Setting, SharedRecord, Shelf, SplitMark, Ticket, Worker, merge,
};
use rollout_core::{Decision, Health, Plan, Rollout, Time, compile, decide_unit};
use serde_json::{Value, json};

pub(crate) const START: Duration = Duration::from_secs(1_795_599_000);
pub(crate) const FINE: Outcome =
    Outcome { end: End::Answered, waited: Some(Duration::from_millis(10)), marks: 0 };
pub(crate) const FAILED: Outcome = Outcome::FAILED_OVER;

pub(crate) fn after(seconds: f64) -> Duration {
    START + Duration::from_secs_f64(seconds)
}

pub(crate) fn took(milliseconds: u64) -> Outcome {
    Outcome { waited: Some(Duration::from_millis(milliseconds)), ..FINE }
}

pub(crate) fn abandoned(milliseconds: u64) -> Outcome {
    Outcome { end: End::Abandoned, ..took(milliseconds) }
}

/// A canary of one half under these guardrails, with units of both sides.
pub(crate) struct Site {
    pub(crate) rollout: Rc<Rollout>,
    pub(crate) split: SplitMark,
    /// Decisions of units that get v2, and of those that get v1.
    pub(crate) sides: [Vec<Decision>; 2],
}

pub(crate) const V2: usize = 0;
pub(crate) const V1: usize = 1;

impl Site {
    pub(crate) fn new(guardrails: &Value) -> Self {
        Self::with(guardrails, &json!({"canary": {"version": "v2", "percent": 50}}))
    }

    pub(crate) fn with(guardrails: &Value, strategy: &Value) -> Self {
        let document = json!({"revision": 1, "rollouts": [{"name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "g", "stable": "v1",
            "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}], "strategy": strategy, "guardrails": guardrails}]});
        let plan: Plan = compile(document.to_string().as_bytes()).unwrap_or_else(|no| panic!("{no}")).plan;
        let rollout = Rc::clone(&plan.rollouts()[0]);
        let decisions = (0..1_000).map(|number| {
            let unit = format!("user-{number}");
            decide_unit(&plan, &rollout, unit.as_bytes(), Time::from_seconds(START.as_secs()))
        });
        let (own, rest) = decisions.partition(|decision| decision.version.name() == "v2");
        let split = SplitMark::of(&rollout, Health::HEALTHY, Time::from_seconds(START.as_secs()));
        Self { rollout, split, sides: [own, rest] }
    }

    pub(crate) fn guardrails(&self) -> &Guardrails {
        self.rollout.guardrails().unwrap()
    }

    pub(crate) fn worker(&self) -> Worker {
        Worker::new(self.guardrails(), self.rollout.stable().ordinal())
    }

    /// A request of a unit on one side, and its outcome.
    pub(crate) fn call(
        &self,
        worker: &mut Worker,
        (side, unit): (usize, usize),
        (now, outcome): (Duration, Outcome),
    ) -> Ticket {
        let units = &self.sides[side];
        let ticket = worker.begin(&units[unit % units.len()], now, self.split).unwrap();
        worker.record(self.guardrails(), ticket, outcome, now)
    }

    /// This many requests of different units.
    pub(crate) fn calls(&self, worker: &mut Worker, (side, count): (usize, usize), of: (Duration, Outcome)) {
        for unit in 0..count {
            self.call(worker, (side, unit), of);
        }
    }

    pub(crate) fn setting(&self, now: Duration) -> Setting<'_> {
        Setting { share: None, ..Setting::of(&self.rollout, 0, Health::HEALTHY, now).unwrap() }
    }

    /// Merges through bytes, as in shared data.
    pub(crate) fn merge(&self, worker: &mut Worker, shared: &mut Vec<u8>, now: Duration) -> Merge {
        self.merge_as(worker, shared, &self.setting(now))
    }

    pub(crate) fn merge_as(&self, worker: &mut Worker, shared: &mut Vec<u8>, setting: &Setting<'_>) -> Merge {
        let merged = merge(shared, worker, 0, setting);
        shared.clone_from(&merged.bytes);
        worker.merged(self.guardrails(), 0, &merged.record, &merged.feedback);
        merged
    }

    pub(crate) fn label(&self) -> Label {
        let guarded = &self.guardrails().guarded()[0];
        Label { identity: guarded.identity, epoch: guarded.epoch }
    }

    /// The record on a shelf.
    pub(crate) fn record(&self, shared: &[u8]) -> Option<SharedRecord> {
        SharedRecord::decode(self.guardrails(), Shelf::decode(shared).record(self.label())?)
    }
}

/// Names of the signals that condemn.
pub(crate) fn verdicts<'s>(site: &'s Site, merged: &Merge) -> Vec<&'s str> {
    merged.verdicts.iter().map(|verdict| site.guardrails().signals()[verdict.position].name()).collect()
}
