//! The parts of a document that decide about the traffic of a frozen rollout from outside: holdouts, the trusted hop, and the
//! rollouts before it, which match first.

use serde_json::Value;

use super::transition::{Change, Edition, Transition, rollout_nodes};
use super::value::{elements, same, text};

pub(super) fn changes(transition: &Transition<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    let [old, new] = [transition.old, transition.new]
        .map(|edition| edition.document.get("trust_hop").and_then(Value::as_bool));
    if old.unwrap_or(false) != new.unwrap_or(false) {
        changes.push(Change::new("trust_hop", "may not change"));
    }
    changes.extend(holdouts(transition));
    if !precede_alike(transition.old, transition.new) {
        changes.push(Change::new(
            "rollouts",
            "the rollouts before it, or what they match, would change: they could take its requests or leave it their own",
        ));
    }
    changes
}

/// A holdout may be added and may grow.
fn holdouts(transition: &Transition<'_>) -> Vec<Change> {
    let [old, new] =
        [transition.old, transition.new].map(|edition| elements(edition.document.get("holdouts")));
    let percent = |holdout: &Value| holdout.get("percent").and_then(Value::as_f64);
    let held = old.iter().enumerate().filter_map(|(position, old)| {
        let name = text(old, "name")?;
        let message = match new.iter().find(|new| text(new, "name") == Some(name)) {
            None => "the units of a removed holdout would get treatments",
            Some(new) if percent(new) < percent(old) => {
                "the units that a smaller holdout releases would get treatments"
            }
            Some(_) => return None,
        };
        Some(Change::new(format!("holdouts[{position}]"), message))
    });
    held.collect()
}

/// True if the same rollouts come first and match the same requests.
fn precede_alike(old: Edition<'_>, new: Edition<'_>) -> bool {
    let (old, new) = (preceding(old), preceding(new));
    let alike =
        |(old, new): (&Value, &Value)| ["name", "match"].iter().all(|key| same(old.get(key), new.get(key)));
    old.len() == new.len() && old.iter().zip(new).all(alike)
}

fn preceding<'d>(edition: Edition<'d>) -> &'d [Value] {
    let all = rollout_nodes(edition.document);
    let own = all.iter().position(|rollout| text(rollout, "name") == Some(edition.rollout.name()));
    own.and_then(|own| all.get(..own)).unwrap_or_default()
}
