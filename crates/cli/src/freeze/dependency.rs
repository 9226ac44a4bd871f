//! The rollouts that a frozen one asks: what they decide for a unit decides whether the frozen rollout may give it a treatment.
//!
//! They are not frozen themselves, so most of what they may do is judged by trying units. What units alone can't show, where a
//! request's unit comes from and what it may ask for, has to stay as it is written.

use std::collections::BTreeMap;

use rollout_core::time::Time;
use serde_json::Value;

use super::value::{elements, same, text};
use super::{Case, Change, moments, rollout_node};
use crate::args::Population;
use crate::output::percent::Percent;
use crate::output::stamp::Stamp;

/// True where the rollout asks others.
pub(super) fn exists(case: &Case<'_>) -> bool {
    !asked(case).is_empty()
}

/// The names of all rollouts that it asks in either document, itself or through others.
fn asked<'d>(case: &Case<'d>) -> Vec<&'d str> {
    let own = case.old.rollout.name();
    let mut found = vec![own];
    let mut position = 0_usize;
    while let Some(name) = found.get(position).copied() {
        position = position.saturating_add(1);
        for document in [case.old.document, case.new.document] {
            let names = rollout_node(document, name).into_iter().flat_map(required);
            names.for_each(|name| {
                if !found.contains(&name) {
                    found.push(name)
                }
            });
        }
    }
    found.retain(|name| *name != own);
    found
}

fn required(rollout: &Value) -> impl Iterator<Item = &str> {
    let versions = elements(rollout.get("versions")).iter();
    versions.flat_map(|version| elements(version.get("requires"))).filter_map(|of| text(of, "rollout"))
}

/// What a rollout that is asked may not change.
pub(super) fn changes(case: &Case<'_>) -> Vec<Change> {
    let changed = asked(case).into_iter().filter(|name| {
        let [old, new] = [case.old, case.new].map(|side| rollout_node(side.document, name));
        old.zip(new).is_some_and(|(old, new)| !reads_alike(old, new))
    });
    let message = |name| {
        format!("it requires a decision of rollout `{name}`, which would read requests in another way")
    };
    changed.map(|name| Change::new("rollouts", message(name))).collect()
}

fn reads_alike(old: &Value, new: &Value) -> bool {
    let alike =
        |old: &Value, new: &Value, keys: &[&str]| keys.iter().all(|key| same(old.get(key), new.get(key)));
    let [old_versions, new_versions] = [old, new].map(|rollout| elements(rollout.get("versions")));
    let versions = new_versions.iter().all(|new| {
        let old = old_versions.iter().find(|old| text(old, "name") == text(new, "name"));
        old.is_none_or(|old| alike(old, new, &["accepts", "features"]))
    });
    alike(old, new, &["unit", "api"]) && versions
}

/// Who would be moved to a treatment, at the first moment at which anybody would.
pub(super) fn moves(case: &Case<'_>, population: &Population) -> Option<Change> {
    moments_to_try(case).into_iter().find_map(|moment| {
        let moves = moves_at(case, population, moment);
        let told = moves.into_iter().map(|((from, to), units)| {
            let share = Percent::of(units, population.units);
            format!("{share} of the units would move from `{from}` to `{to}`")
        });
        let told: Vec<_> = told.collect();
        let when = if moment > case.at { format!("at {} ", Stamp(moment)) } else { String::new() };
        let message = format!("{when}{}", told.join(", "));
        (!told.is_empty()).then(|| Change::new("rollouts", message))
    })
}

/// Later moments matter only where what is asked changes: the rollout's own future is judged by what it says.
fn moments_to_try(case: &Case<'_>) -> Vec<Time> {
    let asked = asked(case);
    let is_changed = |name: &&str| {
        let [old, new] = [case.old, case.new].map(|side| rollout_node(side.document, name));
        !same(old, new)
    };
    if !asked.iter().any(is_changed) {
        return vec![case.at];
    }
    let concerned = |name: &str| asked.contains(&name) || name == case.old.rollout.name();
    let rollouts = [case.old, case.new].into_iter().flat_map(|side| side.plan.rollouts());
    let rollouts: Vec<_> = rollouts.filter(|rollout| concerned(rollout.name())).collect();
    moments(&rollouts, case.at)
}

fn moves_at(case: &Case<'_>, population: &Population, moment: Time) -> BTreeMap<(String, String), u64> {
    let mut moves = BTreeMap::new();
    population.each(|unit| {
        if case.keeps(unit, moment) {
            return;
        }
        let [from, to] = [case.old, case.new].map(|side| side.decide(unit, moment).version.name().to_owned());
        let count: &mut u64 = moves.entry((from, to)).or_default();
        *count = count.saturating_add(1);
    });
    moves
}
