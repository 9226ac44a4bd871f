//! What a worker has recorded about a version and about stable since its last merge.
//!
//! It is bounded, so a worker that can't merge does not use more and more memory.

use super::evidence::Observation;
use super::setting::SplitMark;
use super::sketch::Sketch;
use super::tally::{Basis, Side, Tally};
use crate::plan::guardrails::{MAX_SIGNALS, Measure, bit};

/// Protects the VM's memory if nothing can be merged. Requests beyond the limit are counted, but are not evidence.
const MAX_OBSERVATIONS: usize = 8_192;

/// What is not merged yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Pending {
    /// Whole requests of the version.
    pub(crate) version: Counts,
    /// Whole requests of stable.
    pub(crate) stable: Counts,
    pub(crate) observations: Vec<Seen>,
    /// New units.
    pub(crate) units: Vec<Unit>,
    /// The split that drew those units.
    pub(crate) drawn_by: SplitMark,
    /// Stable's answers, if a signal asks for them.
    pub(crate) latencies: Sketch,
}

/// A request that may count in comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) side: Side,
    /// The split under which it started.
    pub(crate) split: SplitMark,
    pub(crate) observation: Observation,
}

/// A unit that was met for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) hash: u32,
    /// True if it belongs to the version.
    pub(crate) is_own: bool,
}

/// Whole requests of one side.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    pub(crate) answers: u64,
    /// By signal.
    pub(crate) bad: [u64; MAX_SIGNALS],
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self { drawn_by: self.drawn_by, ..Self::default() }
    }

    pub(crate) fn of(&mut self, side: Side) -> &mut Counts {
        match side {
            Side::Version => &mut self.version,
            Side::Stable => &mut self.stable,
        }
    }

    pub(crate) fn offer(&mut self, seen: Seen) {
        if self.observations.len() < MAX_OBSERVATIONS {
            self.observations.push(seen);
        }
    }

    /// Adds a unit. Units that another split drew are dropped.
    pub(crate) fn meet(&mut self, unit: Unit, split: SplitMark) {
        if self.drawn_by != split {
            self.units.clear();
            self.drawn_by = split;
        }
        self.units.push(unit);
    }
}

impl Counts {
    pub(crate) fn add(&mut self, bad: u16, failed: bool) {
        self.failures = self.failures.saturating_add(failed.into());
        if bad == 0 {
            return; // as nearly always
        }
        for (position, count) in self.bad.iter_mut().enumerate() {
            *count = count.saturating_add((bad & bit(position) != 0).into());
        }
    }

    /// The tally of a signal that does not compare.
    pub(crate) fn tally(&self, measure: &Measure, position: usize) -> Tally {
        let observed = match measure.basis() {
            Basis::Requests => self.requests,
            Basis::Answers => self.answers,
        };
        Tally { observed, bad: self.bad.get(position).copied().unwrap_or(0) }
    }
}

impl Measure {
    /// The requests that it takes a share of.
    pub(crate) fn basis(&self) -> Basis {
        match self {
            Self::Failure => Basis::Requests,
            Self::LongerThan(_) | Self::LongerThanStable { .. } | Self::Header(_) => Basis::Answers,
        }
    }
}
