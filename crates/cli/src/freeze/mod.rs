//! Freeze windows: what the next document does to a rollout that the current one has frozen, and which of it is not allowed.
//!
//! One change is allowed, withdrawing traffic from a treatment: a unit whose version changes gets the stable version. Numbers and
//! shares are judged by what they do. Everything else is judged by what is written, and may not change. A message names versions,
//! shares and places, never a unit or a secret.

mod dependency;
mod list;
mod surroundings;
mod traffic;
mod transition;
mod value;

use anyhow::{Context, Result};
use rollout_core::{Plan, Time};
use serde::Serialize;
use serde_json::Value;

use self::transition::{Change, Edition, Transition, rollout_node};
use crate::args::Population;
use crate::document::Loaded;
use crate::output::stamp::Stamp;

/// A rollout inside its freeze window, with the changes to it that are not allowed.
#[derive(Serialize)]
pub(crate) struct Frozen {
    pub(crate) rollout: String,
    pub(crate) until: Stamp,
    pub(crate) reason: Option<String>,
    pub(crate) changes: Vec<Change>,
    pub(crate) refused: bool,
}

/// A document, compiled and as it is written.
struct Text<'d> {
    plan: &'d Plan,
    value: Value,
}

/// Every rollout that the old document freezes at this moment, in document order.
pub(crate) fn judge(old: &Loaded, new: &Loaded, population: &Population, at: Time) -> Result<Vec<Frozen>> {
    let (old, new) = (Text::of(old)?, Text::of(new)?);
    let frozen = old.plan.rollouts().iter().filter_map(|rollout| {
        let freeze = rollout.frozen(at)?;
        let old = old.edition(rollout.name())?;
        let changes = match new.edition(rollout.name()) {
            Some(new) => changes(&Transition { old, new, at }, population),
            None => vec![Change::new("rollouts", "the rollout is removed or renamed")],
        };
        Some(Frozen {
            rollout: rollout.name().to_owned(),
            until: Stamp(freeze.until),
            reason: freeze.reason.map(str::to_owned),
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

    fn edition(&self, name: &str) -> Option<Edition<'_>> {
        let rollout = self.plan.rollouts().iter().find(|rollout| rollout.name() == name)?;
        let node = rollout_node(&self.value, name)?;
        Some(Edition { plan: self.plan, document: &self.value, rollout, node })
    }
}

fn changes(transition: &Transition<'_>, population: &Population) -> Vec<Change> {
    let mut changes = own(transition);
    changes.extend(surroundings::changes(transition));
    changes.extend(dependency::changes(transition));
    // The units show what the text does not: above all that another rollout decides differently what this one requires.
    if changes.is_empty() || dependency::exists(transition) {
        changes.extend(dependency::moves(transition, population));
    }
    changes
}

/// The changes of the rollout's own fields: those of the new document in its order, then those that it no longer has.
fn own(transition: &Transition<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut splits = false;
    for name in value::keys(transition.old.node, transition.new.node) {
        let [old, new] = transition.field(name);
        if value::same(old, new) {
            continue;
        }
        match name {
            "strategy" | "bucketing" => splits = true,
            "versions" => changes.extend(list::versions(transition)),
            "sessions" => changes.extend(list::sessions(transition)),
            "shadow" => changes.extend(list::shadows(transition)),
            "overrides" => changes.extend(traffic::overrides(transition)),
            "layer" => changes.extend(list::layer(old, new)),
            "freeze" => changes.push(transition.kept(name, "an active freeze may not change")),
            _ => changes.push(transition.kept(name, "may not change")),
        }
    }
    if splits {
        changes.extend(traffic::strategy(transition));
    }
    changes.extend(list::promoted(transition));
    changes
}
