//! What the document says around a frozen rollout and decides about its traffic: holdouts, the trusted hop, and the rollouts before
//! it, which take their requests first.

use serde_json::Value;

use super::value::{elements, same, text};
use super::{Case, Change, Side, rollout_nodes};

pub(super) fn changes(case: &Case<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    let [old, new] = [case.old, case.new].map(|side| side.document.get("trust_hop").and_then(Value::as_bool));
    if old.unwrap_or(false) != new.unwrap_or(false) {
        changes.push(Change::new("trust_hop", "may not change"));
    }
    changes.extend(holdouts(case));
    if !precede_alike(case.old, case.new) {
        changes.push(Change::new(
            "rollouts",
            "the rollouts before it, or what they match, would change: they may take its requests, or leave it theirs",
        ));
    }
    changes
}

/// A holdout may come and grow.
fn holdouts(case: &Case<'_>) -> Vec<Change> {
    let [old, new] = [case.old, case.new].map(|side| elements(side.document.get("holdouts")));
    let percent = |holdout: &Value| holdout.get("percent").and_then(Value::as_f64);
    let held = old.iter().enumerate().filter_map(|(position, old)| {
        let name = text(old, "name")?;
        let message = match new.iter().find(|new| text(new, "name") == Some(name)) {
            None => "the units of a holdout that goes would get treatments",
            Some(new) if percent(new) < percent(old) => {
                "the units that a holdout lets go would get treatments"
            }
            Some(_) => return None,
        };
        Some(Change::new(format!("holdouts[{position}]"), message))
    });
    held.collect()
}

/// True where the same rollouts come first and match the same.
fn precede_alike(old: Side<'_>, new: Side<'_>) -> bool {
    let (old, new) = (preceding(old), preceding(new));
    let alike =
        |(old, new): (&Value, &Value)| ["name", "match"].iter().all(|key| same(old.get(key), new.get(key)));
    old.len() == new.len() && old.iter().zip(new).all(alike)
}

fn preceding<'d>(side: Side<'d>) -> &'d [Value] {
    let all = rollout_nodes(side.document);
    let own = all.iter().position(|rollout| text(rollout, "name") == Some(side.rollout.name()));
    own.and_then(|own| all.get(..own)).unwrap_or_default()
}
