//! A frozen rollout before and after a change of document, and what the rules ask of the pair.

use std::rc::Rc;

use rollout_core::{Decision, Plan, Rollout, Time, decide_unit};
use serde::Serialize;
use serde_json::Value;

use super::value;

/// A change that a freeze does not allow.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    /// Inside the rollout; `holdouts`, `trust_hop` and `rollouts` are outside.
    pub(crate) path: String,
    pub(crate) message: String,
}

impl Change {
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// A rollout in one of the two documents, compiled and as it is written.
#[derive(Clone, Copy)]
pub(super) struct Edition<'d> {
    pub(super) plan: &'d Plan,
    pub(super) document: &'d Value,
    pub(super) rollout: &'d Rc<Rollout>,
    pub(super) node: &'d Value,
}

impl Edition<'_> {
    pub(super) fn decide(&self, unit: &str, moment: Time) -> Decision {
        decide_unit(self.plan, self.rollout, unit.as_bytes(), moment)
    }
}

/// A frozen rollout in both documents.
pub(super) struct Transition<'d> {
    pub(super) old: Edition<'d>,
    pub(super) new: Edition<'d>,
    pub(super) at: Time,
}

impl Transition<'_> {
    /// A field in both documents.
    pub(super) fn field(&self, name: &str) -> [Option<&Value>; 2] {
        [self.old.node.get(name), self.new.node.get(name)]
    }

    /// The change of a field that may not change.
    pub(super) fn kept(&self, name: &str, message: &str) -> Change {
        let [old, new] = self.field(name);
        Change::new(value::place(name, old, new), message)
    }

    /// True if the unit gets what it got, or the stable version.
    pub(super) fn keeps(&self, unit: &str, moment: Time) -> bool {
        let [old, new] = [self.old, self.new].map(|edition| edition.decide(unit, moment).version);
        new.name() == old.name() || new.name() == self.new.rollout.stable().name()
    }

    /// The moments that show what the rollout exposes from now on.
    pub(super) fn moments(&self) -> Vec<Time> {
        moments(&[self.old.rollout, self.new.rollout], self.at)
    }
}

/// This moment, every later turn of a ramp and the second before it. Between two turns an exposure stays or rises in a straight line,
/// so what holds at both ends holds in between, except for one part per million that rounding may leave.
pub(super) fn moments(rollouts: &[&Rc<Rollout>], at: Time) -> Vec<Time> {
    let turns = rollouts.iter().filter_map(|rollout| rollout.ramp()).flat_map(|(_, ramp)| ramp.turns());
    let before = |turn: Time| Time::from_seconds(turn.seconds().saturating_sub(1));
    let later = turns.flat_map(|turn| [before(turn), turn]).filter(|moment| *moment > at);
    let mut moments: Vec<Time> = later.chain([at]).collect();
    moments.sort_unstable();
    moments.dedup();
    moments
}

/// All rollouts of a document as they are written.
pub(super) fn rollout_nodes(document: &Value) -> &[Value] {
    value::elements(document.get("rollouts"))
}

pub(super) fn rollout_node<'d>(document: &'d Value, name: &str) -> Option<&'d Value> {
    rollout_nodes(document).iter().find(|rollout| value::text(rollout, "name") == Some(name))
}
