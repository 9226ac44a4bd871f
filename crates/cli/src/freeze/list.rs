//! What may be removed from a frozen rollout but not added: versions, sessions, shadows and its slice of a layer.

use rollout_core::Version;
use serde_json::Value;

use super::traffic;
use super::transition::{Change, Transition};
use super::value::{self, elements, same, same_but_for, text};
use crate::args::time;

/// A list whose elements have names. Elements may be removed; those that stay keep their order.
struct Named<'d> {
    field: &'static str,
    /// The key of the name.
    key: &'static str,
    old: &'d [Value],
    new: &'d [Value],
}

impl<'d> Named<'d> {
    fn of(transition: &'d Transition<'_>, field: &'static str, key: &'static str) -> Self {
        let [old, new] = transition.field(field).map(elements);
        Self { field, key, old, new }
    }

    fn find(&self, list: &'d [Value], name: Option<&str>) -> Option<&'d Value> {
        list.iter().find(|element| text(element, self.key) == name)
    }

    /// The names that are in both lists, in the order of the first.
    fn common(&self, one: &'d [Value], other: &'d [Value]) -> Vec<Option<&'d str>> {
        let names = one.iter().map(|element| text(element, self.key));
        names.filter(|name| self.find(other, *name).is_some()).collect()
    }

    /// The elements that were added, moved, or changed in a way that is not allowed.
    fn changes(&self, may: impl Fn(&Value, &Value) -> bool, rule: &str) -> Vec<Change> {
        let mut changes = Vec::new();
        for (position, new) in self.new.iter().enumerate() {
            let place = format!("{}[{position}]", self.field);
            let name = text(new, self.key);
            match self.find(self.old, name) {
                None => changes.push(Change::new(place, format!("`{}` is new", name.unwrap_or_default()))),
                Some(old) if !may(old, new) => {
                    changes.push(Change::new(value::place(&place, Some(old), Some(new)), rule));
                }
                Some(_) => {}
            }
        }
        if self.common(self.old, self.new) != self.common(self.new, self.old) {
            changes.push(Change::new(self.field, "the order may not change"));
        }
        changes
    }
}

/// A version may be removed, unless that would move clients to another treatment.
pub(super) fn versions(transition: &Transition<'_>) -> Vec<Change> {
    let list = Named::of(transition, "versions", "name");
    let mut changes = list.changes(|old, new| same(Some(old), Some(new)), "may not change");
    let gone = list.old.iter().any(|old| list.find(list.new, text(old, "name")).is_none());
    if gone && transition.new.node.get("sessions").is_some() && traffic::treats(transition) {
        changes.push(Change::new(
            "versions",
            "clients with a session on a removed version would get the treatment that the hash gives them",
        ));
    }
    changes
}

/// Sessions may end, or end sooner, if nobody can get a treatment instead.
pub(super) fn sessions(transition: &Transition<'_>) -> Option<Change> {
    let ends = match transition.field("sessions") {
        [Some(old), Some(new)] => drains_sooner(old, new),
        [Some(_), None] => true,
        [None, _] => false,
    };
    let message = "may only end, and only while the hash gives no unit to a treatment";
    (!ends || traffic::treats(transition)).then(|| transition.kept("sessions", message))
}

fn drains_sooner(old: &Value, new: &Value) -> bool {
    let drained = |sessions: &Value| text(sessions, "drain_until").and_then(|text| time(text).ok());
    let sooner = match (drained(old), drained(new)) {
        (Some(old), Some(new)) => new <= old,
        (old, new) => old.is_none() && new.is_some(),
    };
    sooner && same_but_for(&["drain_until"], old, new)
}

/// A shadow may be removed or copy fewer requests.
pub(super) fn shadows(transition: &Transition<'_>) -> Vec<Change> {
    Named::of(transition, "shadow", "version")
        .changes(copies_fewer, "may only be removed or copy fewer requests")
}

/// True if nothing but limits differs, and no limit is higher. A rate that is missing is no limit, and a size that is missing is 1 MiB.
fn copies_fewer(old: &Value, new: &Value) -> bool {
    let limits = [("percent", 0.0), ("max_per_second", f64::INFINITY), ("max_body_bytes", 1_048_576.0)];
    let lowers = limits.iter().all(|(limit, default)| {
        let value = |shadow: &Value| shadow.get(limit).map_or(Some(*default), Value::as_f64);
        value(old).zip(value(new)).is_some_and(|(old, new)| new <= old)
    });
    lowers && same_but_for(&limits.map(|(limit, _)| limit), old, new)
}

/// A version that is no longer only a shadow takes requests that the stable version can't serve.
pub(super) fn promoted(transition: &Transition<'_>) -> Vec<Change> {
    let [old, new] = [transition.old, transition.new].map(|edition| edition.rollout.versions());
    let judges = transition.new.node.get("api").is_some()
        || elements(transition.new.node.get("versions"))
            .iter()
            .any(|version| version.get("features").is_some());
    let was_shadow = |new: &Version| old.iter().any(|old| old.name() == new.name() && old.is_shadow_only());
    let promoted = new.iter().filter(|new| judges && !new.is_shadow_only() && was_shadow(new));
    let message = |name: &str| {
        format!(
            "`{name}` would no longer be only a shadow: it would serve requests that the other versions can't"
        )
    };
    promoted.map(|version| Change::new("shadow", message(version.name()))).collect()
}

/// A layer may be added, and its slice may shrink.
pub(super) fn layer(old: Option<&Value>, new: Option<&Value>) -> Option<Change> {
    let place = value::place("layer", old, new);
    let old = old?;
    let Some(new) = new else {
        return Some(Change::new(place, "without its layer the rollout would reach every unit"));
    };
    let bounds = |layer: &Value| layer.get("from").and_then(Value::as_f64).zip(layer.get("to")?.as_f64());
    let shrinks = bounds(old).zip(bounds(new)).is_some_and(|(old, new)| old.0 <= new.0 && new.1 <= old.1);
    if !same(old.get("name"), new.get("name")) {
        return Some(Change::new(place, "in another layer the rollout would reach other units"));
    }
    (!shrinks).then(|| Change::new(place, "the slice may only shrink"))
}
