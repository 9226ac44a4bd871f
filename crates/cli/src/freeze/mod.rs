//! Freeze windows: what the next document does to a rollout that the serving one has frozen, and what of it may not be.
//!
//! One change is allowed, withdrawing traffic from a treatment: whoever gets another version than before gets the stable one.
//! Numbers and shares are judged by what they do, everything else by what is written, and what is written may not change. A message
//! names versions, shares and places, never a unit or a secret.

mod dependency;
mod list;
mod surroundings;
mod traffic;
mod value;

use std::rc::Rc;

use anyhow::{Context, Result};
use rollout_core::decide::decide_unit;
use rollout_core::decision::Decision;
use rollout_core::plan::{Plan, Rollout};
use rollout_core::time::Time;
use serde::Serialize;
use serde_json::Value;

use crate::args::Population;
use crate::document::Loaded;
use crate::output::stamp::Stamp;

/// A rollout that is inside its freeze window, with what the next document may not do to it.
#[derive(Serialize)]
pub(crate) struct Frozen {
    pub(crate) rollout: String,
    pub(crate) until: Stamp,
    pub(crate) reason: Option<String>,
    pub(crate) changes: Vec<Change>,
    pub(crate) refused: bool,
}

/// A change that a freeze does not allow.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    /// Inside the rollout; `holdouts`, `trust_hop` and `rollouts` are outside.
    pub(crate) path: String,
    pub(crate) message: String,
}

impl Change {
    fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// A document, compiled and as it is written.
struct Text<'d> {
    plan: &'d Plan,
    value: Value,
}

/// A rollout of a document, compiled and as it is written.
#[derive(Clone, Copy)]
struct Side<'d> {
    plan: &'d Plan,
    document: &'d Value,
    rollout: &'d Rc<Rollout>,
    node: &'d Value,
}

/// A frozen rollout in both documents.
struct Case<'d> {
    old: Side<'d>,
    new: Side<'d>,
    at: Time,
}

/// Every rollout that the old document has frozen at this moment, in its order.
pub(crate) fn judge([old, new]: [&Loaded; 2], population: &Population, at: Time) -> Result<Vec<Frozen>> {
    let (old, new) = (Text::of(old)?, Text::of(new)?);
    let frozen = old.plan.rollouts().iter().filter_map(|rollout| {
        let freeze = rollout.freeze(at)?;
        let old = old.side(rollout.name())?;
        let changes = match new.side(rollout.name()) {
            Some(new) => Case { old, new, at }.changes(population),
            None => vec![Change::new("rollouts", "the rollout is removed or renamed")],
        };
        Some(Frozen {
            rollout: rollout.name().to_owned(),
            until: Stamp(freeze.until),
            reason: freeze.reason.as_deref().map(str::to_owned),
            refused: !changes.is_empty(),
            changes,
        })
    });
    Ok(frozen.collect())
}

impl<'d> Text<'d> {
    fn of(loaded: &'d Loaded) -> Result<Self> {
        let value =
            serde_json::from_str(&loaded.text).context("`--enforce` needs both documents as JSON text")?;
        Ok(Self { plan: &loaded.compiled.plan, value })
    }

    fn side(&self, name: &str) -> Option<Side<'_>> {
        let rollout = self.plan.rollouts().iter().find(|rollout| rollout.name() == name)?;
        Some(Side { plan: self.plan, document: &self.value, rollout, node: rollout_node(&self.value, name)? })
    }
}

/// All rollouts of a document as they are written.
fn rollout_nodes(document: &Value) -> &[Value] {
    value::elements(document.get("rollouts"))
}

fn rollout_node<'d>(document: &'d Value, name: &str) -> Option<&'d Value> {
    rollout_nodes(document).iter().find(|rollout| value::text(rollout, "name") == Some(name))
}

impl Side<'_> {
    fn decide(&self, unit: &str, moment: Time) -> Decision {
        decide_unit(self.plan, self.rollout, unit.as_bytes(), moment)
    }
}

impl Case<'_> {
    fn changes(&self, population: &Population) -> Vec<Change> {
        let mut changes = self.own();
        changes.extend(surroundings::changes(self));
        changes.extend(dependency::changes(self));
        // What the text does not show, the units do: above all that another rollout decides anew what this one requires.
        if changes.is_empty() || dependency::exists(self) {
            changes.extend(dependency::moves(self, population));
        }
        changes
    }

    /// The rollout's own fields, in the order of the new document, then those that it no longer has.
    fn own(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut splits = false;
        for name in value::keys(self.old.node, self.new.node) {
            let [old, new] = self.field(name);
            if value::same(old, new) {
                continue;
            }
            match name {
                "strategy" | "bucketing" => splits = true,
                "versions" => changes.extend(list::versions(self)),
                "sessions" => changes.extend(list::sessions(self)),
                "shadow" => changes.extend(list::shadows(self)),
                "overrides" => changes.extend(traffic::overrides(self)),
                "layer" => changes.extend(list::layer(old, new)),
                "freeze" => changes.push(self.kept(name, "an active freeze stays as it is")),
                _ => changes.push(self.kept(name, "may not change")),
            }
        }
        if splits {
            changes.extend(traffic::strategy(self));
        }
        changes.extend(list::promoted(self));
        changes
    }

    /// A field in both documents.
    fn field(&self, name: &str) -> [Option<&Value>; 2] {
        [self.old.node.get(name), self.new.node.get(name)]
    }

    /// The change of a field that may not change.
    fn kept(&self, name: &str, message: &str) -> Change {
        let [old, new] = self.field(name);
        Change::new(value::place(name, old, new), message)
    }

    /// True where the unit gets what it got, or the stable version.
    fn keeps(&self, unit: &str, moment: Time) -> bool {
        let [old, new] = [self.old, self.new].map(|side| side.decide(unit, moment).version);
        new.name() == old.name() || new.name() == self.new.rollout.stable().name()
    }

    /// The moments that tell what the rollout exposes from now on.
    fn moments(&self) -> Vec<Time> {
        moments(&[self.old.rollout, self.new.rollout], self.at)
    }
}

/// This moment, every later turn of a ramp and the second before it. Between two turns an exposure stays or rises in a straight line,
/// so what holds at both ends holds in between, but for the one part per million that rounding may leave.
fn moments(rollouts: &[&Rc<Rollout>], at: Time) -> Vec<Time> {
    let turns = rollouts.iter().filter_map(|rollout| rollout.ramp()).flat_map(|(_, ramp)| ramp.turns());
    let before = |turn: Time| Time::from_seconds(turn.seconds().saturating_sub(1));
    let later = turns.flat_map(|turn| [before(turn), turn]).filter(|moment| *moment > at);
    let mut moments: Vec<Time> = later.chain([at]).collect();
    moments.sort_unstable();
    moments.dedup();
    moments
}
