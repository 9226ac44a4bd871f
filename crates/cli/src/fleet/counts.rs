//! What proxies count for a version. Counters restart with the proxy, so recent counts are differences; the counts of several proxies
//! are sums.

use std::collections::{BTreeMap, BTreeSet};

use rollout_core::guardrail::{Sides, Tally};
use serde::Serialize;

/// Counters of one version. Signals do not observe forced requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    /// The requests that an override sent here.
    pub(crate) forced: u64,
    /// Answers of the version itself, forced ones included. Envoy adds them up only every few seconds.
    pub(crate) answers: u64,
    /// Forced requests included, as in all that follows.
    pub(crate) failures: u64,
    pub(crate) abandoned: u64,
    pub(crate) retries: u64,
    pub(crate) failovers: u64,
    /// Requests that a shadow may copy, by what became of the copy.
    pub(crate) copies: BTreeMap<String, u64>,
    /// Where and how the answers of a shadow differed from those of stable.
    pub(crate) differences: BTreeMap<Difference, u64>,
    /// By name.
    pub(crate) signals: BTreeMap<String, Signal>,
}

/// A way in which answers differ. Both texts come from the filter, and `pointer` is chosen by models.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    pub(crate) pointer: String,
    pub(crate) kind: String,
}

/// What a signal has observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Signal {
    pub(crate) seen: Sides,
    pub(crate) trips: u64,
    /// Episodes in which a verdict was withheld.
    pub(crate) withheld: u64,
}

/// A tally as programs get it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Seen {
    pub(crate) observed: u64,
    pub(crate) bad: u64,
}

impl From<Tally> for Seen {
    fn from(tally: Tally) -> Self {
        Self { observed: tally.observed, bad: tally.bad }
    }
}

impl Counts {
    pub(crate) fn plus(&self, other: &Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// What was counted since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        self.zip(before, u64::saturating_sub)
    }

    /// True if a counter is less than before: the proxy has restarted.
    pub(crate) fn went_back(&self, before: &Self) -> bool {
        let lost = before.since(self);
        lost != lost.zip(&lost, |_, _| 0)
    }

    /// Combines each counter with the same counter of the other.
    fn zip(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self {
        let tally = |left: Tally, right: Tally| Tally {
            observed: with(left.observed, right.observed),
            bad: with(left.bad, right.bad),
        };
        let names = self.signals.keys().chain(other.signals.keys());
        let signals = names.map(|name| {
            let of = |counts: &Self| counts.signals.get(name).copied().unwrap_or_default();
            let (left, right) = (of(self), of(other));
            let seen = Sides {
                version: tally(left.seen.version, right.seen.version),
                stable: tally(left.seen.stable, right.seen.stable),
            };
            let (trips, withheld) = (with(left.trips, right.trips), with(left.withheld, right.withheld));
            (name.clone(), Signal { seen, trips, withheld })
        });
        Self {
            copies: zip(&self.copies, &other.copies, with),
            differences: zip(&self.differences, &other.differences, with),
            requests: with(self.requests, other.requests),
            forced: with(self.forced, other.forced),
            answers: with(self.answers, other.answers),
            failures: with(self.failures, other.failures),
            abandoned: with(self.abandoned, other.abandoned),
            retries: with(self.retries, other.retries),
            failovers: with(self.failovers, other.failovers),
            signals: signals.collect(),
        }
    }
}

/// Combines the counts of each key. A key that one side does not have counts zero there.
fn zip<K: Ord + Clone>(
    one: &BTreeMap<K, u64>,
    other: &BTreeMap<K, u64>,
    with: fn(u64, u64) -> u64,
) -> BTreeMap<K, u64> {
    let keys: BTreeSet<&K> = one.keys().chain(other.keys()).collect();
    let of = |counts: &BTreeMap<K, u64>, key: &K| counts.get(key).copied().unwrap_or_default();
    keys.into_iter().map(|key| (key.clone(), with(of(one, key), of(other, key)))).collect()
}
