//! The rollouts that a frozen one requires: what they decide for a unit decides whether the frozen rollout may give it a treatment.
//!
//! They are not frozen themselves, so most of their changes are judged by trying units. Units alone can't show where the unit of a
//! request comes from and what the request may ask for, so these fields have to stay as they are written.

use std::collections::BTreeMap;

use rollout_core::Time;
use serde_json::Value;

use super::transition::{Change, Transition, moments, rollout_node};
use super::value::{elements, same, text};
use crate::args::Population;
use crate::output::percent::Percent;
use crate::output::stamp::Stamp;

/// True if the rollout requires decisions of others.
pub(super) fn exists(transition: &Transition<'_>) -> bool {
    !asked(transition).is_empty()
}

/// The names of all rollouts that it requires in either document, directly or through others.
fn asked<'d>(transition: &Transition<'d>) -> Vec<&'d str> {
    let own = transition.old.rollout.name();
    let mut found = vec![own];
    let mut position = 0_usize;
    while let Some(name) = found.get(position).copied() {
        position = position.saturating_add(1);
        for document in [transition.old.document, transition.new.document] {
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

/// The changes that a required rollout may not make.
pub(super) fn changes(transition: &Transition<'_>) -> Vec<Change> {
    let changed = asked(transition).into_iter().filter(|name| {
        let [old, new] = [transition.old, transition.new].map(|edition| rollout_node(edition.document, name));
        old.zip(new).is_some_and(|(old, new)| !reads_alike(old, new))
    });
    let message =
        |name| format!("it requires a decision of rollout `{name}`, which would read requests differently");
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

/// The units that would be moved to a treatment, at the first moment at which any would.
pub(super) fn moves(transition: &Transition<'_>, population: &Population) -> Option<Change> {
    moments_to_try(transition).into_iter().find_map(|moment| {
        let moves = moves_at(transition, population, moment);
        let words = moves.into_iter().map(|((from, to), units)| {
            let share = Percent::of(units, population.units);
            format!("{share} of the units would move from `{from}` to `{to}`")
        });
        let words: Vec<_> = words.collect();
        let when = if moment > transition.at { format!("at {} ", Stamp(moment)) } else { String::new() };
        let message = format!("{when}{}", words.join(", "));
        (!words.is_empty()).then(|| Change::new("rollouts", message))
    })
}

/// Later moments matter only if a required rollout changes: the frozen rollout's own future is judged by its strategy.
fn moments_to_try(transition: &Transition<'_>) -> Vec<Time> {
    let asked = asked(transition);
    let is_changed = |name: &&str| {
        let [old, new] = [transition.old, transition.new].map(|edition| rollout_node(edition.document, name));
        !same(old, new)
    };
    if !asked.iter().any(is_changed) {
        return vec![transition.at];
    }
    let concerned = |name: &str| asked.contains(&name) || name == transition.old.rollout.name();
    let rollouts = [transition.old, transition.new].into_iter().flat_map(|edition| edition.plan.rollouts());
    let rollouts: Vec<_> = rollouts.filter(|rollout| concerned(rollout.name())).collect();
    moments(&rollouts, transition.at)
}

fn moves_at(
    transition: &Transition<'_>,
    population: &Population,
    moment: Time,
) -> BTreeMap<(String, String), u64> {
    let mut moves = BTreeMap::new();
    population.each(|unit| {
        if transition.keeps(unit, moment) {
            return;
        }
        let [from, to] = [transition.old, transition.new]
            .map(|edition| edition.decide(unit, moment).version.name().to_owned());
        let count: &mut u64 = moves.entry((from, to)).or_default();
        *count = count.saturating_add(1);
    });
    moves
}
