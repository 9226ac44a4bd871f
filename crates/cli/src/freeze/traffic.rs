//! Which units the split and the overrides of a frozen rollout would give to a treatment, now and at every later moment.
//!
//! Judged by what the plans do, not by how they are written: a canary may replace a ramp that has exposed as much.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use rollout_core::{Ppm, Reason, Rollout, Time, Version};
use serde_json::Value;

use super::transition::{Change, Transition};
use super::value::{self, elements, only_lowers_percent, same};
use crate::output::percent::Percent;
use crate::output::stamp::Stamp;

type Lanes<'p> = Vec<(&'p Rc<Version>, Range<u32>)>;

/// The buckets of each treatment at a moment. `None` if the rollout uses the bucketing of another product.
fn treatments(rollout: &Rollout, moment: Time) -> Option<Lanes<'_>> {
    let mut lanes = rollout.exposed(moment)?;
    lanes.retain(|(version, buckets)| version.name() != rollout.stable().name() && !buckets.is_empty());
    Some(lanes)
}

/// True if the hash gives any unit to a treatment in the new document, now or later.
pub(super) fn treats(transition: &Transition<'_>) -> bool {
    let treats = |moment| treatments(transition.new.rollout, moment).is_none_or(|lanes| !lanes.is_empty());
    transition.moments().into_iter().any(treats)
}

/// What a freeze does not allow of a changed strategy or bucketing.
pub(super) fn strategy(transition: &Transition<'_>) -> Vec<Change> {
    let split = split(transition).map(|message| Change::new(split_place(transition), message));
    split.into_iter().chain(redrawn_copies(transition)).collect()
}

fn split_place(transition: &Transition<'_>) -> String {
    let [old, new] = transition.field("strategy");
    let [old_bucketing, new_bucketing] = transition.field("bucketing");
    if same(old, new) {
        return value::place("bucketing", old_bucketing, new_bucketing);
    }
    value::place("strategy", old, new)
}

fn split(transition: &Transition<'_>) -> Option<String> {
    let [old, new] = [transition.old.rollout, transition.new.rollout];
    if !treats(transition) {
        return None;
    }
    if !(old.has_native_buckets() && new.has_native_buckets()) {
        let message =
            "with `bucketing`, a strategy may only get a lower `percent` or be removed together with it";
        return (!lowers_scheme(transition)).then(|| message.to_owned());
    }
    if old.salt() != new.salt() {
        return Some("all units would be drawn again, because the salt would change".to_owned());
    }
    transition.moments().into_iter().find_map(|moment| {
        let (old, new) = (treatments(old, moment)?, treatments(new, moment)?);
        let gain = new.iter().find_map(|(version, buckets)| gain(&old, version, buckets))?;
        Some(if moment > transition.at { format!("at {} {gain}", Stamp(moment)) } else { gain })
    })
}

/// The units that a treatment would gain, in words. Each treatment has at most one lane.
fn gain(old: &Lanes<'_>, version: &Version, new: &Range<u32>) -> Option<String> {
    let name = version.name();
    let old = old.iter().find(|(old, _)| old.name() == name).map_or(0..0, |(_, buckets)| buckets.clone());
    if old.start <= new.start && new.end <= old.end {
        return None;
    }
    let [old_share, new_share] = [&old, new].map(|of| Ppm::new(of.end.saturating_sub(of.start)));
    let (old, new) = (old_share.unwrap_or(Ppm::WHOLE), new_share.unwrap_or(Ppm::WHOLE));
    if new <= old {
        return Some(format!("`{name}` would get other units"));
    }
    let [old, new] = [old, new].map(Percent::from);
    Some(format!("`{name}` would get {new} of the units instead of {old}"))
}

/// True if only the percentage falls. In every scheme that has one, a lower percentage keeps a part of the units and adds none.
fn lowers_scheme(transition: &Transition<'_>) -> bool {
    let [old_bucketing, new_bucketing] = transition.field("bucketing");
    let kind = |strategy: &'_ Value| Some(strategy.as_object()?.iter().next()?.0.clone());
    let [Some(old), Some(new)] = transition.field("strategy") else { return false };
    let (Some(old_kind), Some(new_kind)) = (kind(old), kind(new)) else { return false };
    let lowers =
        || old.get(&old_kind).zip(new.get(&new_kind)).is_some_and(|(old, new)| only_lowers_percent(old, new));
    same(old_bucketing, new_bucketing) && old_kind == new_kind && lowers()
}

/// The copies that would be drawn again. They hash with a salt made of the rollout's, whose default is made of the treatments' names.
fn redrawn_copies(transition: &Transition<'_>) -> Option<Change> {
    let is_part = |shadow: &Value| {
        shadow.get("percent").and_then(Value::as_f64).is_some_and(|of| 0.0 < of && of < 100.0)
    };
    let is_redrawn = transition.old.rollout.salt() != transition.new.rollout.salt();
    let partial = elements(transition.new.node.get("shadow")).iter().any(is_part);
    let message = "copies would be drawn from other units, because the default salt is made of the treatments' names; \
                   keep the strategy and lower its exposure";
    (is_redrawn && partial).then(|| Change::new("shadow", message))
}

/// The overrides by header stay as they are. A unit that is listed, before or after, keeps its version or gets the stable one.
pub(super) fn overrides(transition: &Transition<'_>) -> Vec<Change> {
    let [old, new] = transition.field("overrides");
    let place = value::place("overrides", old, new);
    let [old, new] = [old, new].map(elements);
    let by_header = |rule: &&Value| rule.get("header").is_some();
    let [old_headers, new_headers] =
        [old, new].map(|rules| rules.iter().filter(by_header).collect::<Vec<_>>());
    let is_kept = old_headers.len() == new_headers.len()
        && old_headers.into_iter().zip(new_headers).all(|(old, new)| same(Some(old), Some(new)));
    let units = old.iter().chain(new).flat_map(|rule| elements(rule.get("units")));
    let units: BTreeSet<&str> = units.filter_map(Value::as_str).collect();
    let moments = transition.moments();
    let moved = units.into_iter().filter(|unit| is_moved(transition, unit, &moments)).count();
    let header = (!is_kept).then(|| Change::new(place.as_str(), "the overrides by header may not change"));
    let message = || format!("{moved} of the listed units would get a treatment that they do not have");
    let units = (moved > 0).then(|| Change::new(place.as_str(), message()));
    header.into_iter().chain(units).collect()
}

/// True if the unit would at some moment get a treatment that it would not have got before.
fn is_moved(transition: &Transition<'_>, unit: &str, moments: &[Time]) -> bool {
    let [old, new] = [transition.old, transition.new].map(|edition| edition.decide(unit, transition.at));
    let is_forced = old.reason == Reason::Forced && new.reason == Reason::Forced;
    // Two overrides decide the same at any time.
    let moments = if is_forced { moments.get(..1).unwrap_or_default() } else { moments };
    moments.iter().any(|moment| !transition.keeps(unit, *moment))
}
