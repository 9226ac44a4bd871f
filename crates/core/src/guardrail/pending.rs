//! What a worker has recorded about a version and about stable since its last merge.
//!
//! It is bounded, so a worker that can't merge does not use more and more memory.

use super::claim::{Claim, Published};
use super::evidence::Observation;
use super::mismatch::SeenPair;
use super::setting::SplitMark;
use super::share::Counted;
use super::sketch::Sketch;
use super::streak::Recent;
use super::tally::{Side, Tally};
use crate::plan::guardrails::MAX_SIGNALS;

/// Protects the VM's memory if nothing can be merged. Requests beyond the limit are counted, but are not evidence.
const MAX_OBSERVATIONS: usize = 8_192;

/// What is not merged yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Pending {
    /// Answers and failures of the version, and of stable.
    pub(crate) version: Tally,
    pub(crate) stable: Tally,
    /// When the version's first request began, in milliseconds.
    pub(crate) first_ms: Option<u64>,
    /// For each absolute signal.
    pub(crate) counted: [Counted; MAX_SIGNALS],
    /// The split of the last request that began.
    pub(crate) split: SplitMark,
    pub(crate) claims: Vec<Published>,
    pub(crate) observations: Vec<Seen>,
    /// The claims of pairs whose requests have started, and the pairs that were compared.
    pub(crate) pair_claims: Vec<Published>,
    pub(crate) pairs: Vec<SeenPair>,
    /// For failures in a row.
    pub(crate) recent: Recent,
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
    pub(crate) claim: Claim,
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

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self { drawn_by: self.drawn_by, split: self.split, ..Self::default() }
    }

    pub(crate) fn of(&mut self, side: Side) -> &mut Tally {
        match side {
            Side::Version => &mut self.version,
            Side::Stable => &mut self.stable,
        }
    }

    /// Adds a claim, which is lost for the version at this position if there are too many.
    pub(crate) fn claim(&mut self, published: Published, position: usize) {
        if self.claims.len() < MAX_OBSERVATIONS {
            self.claims.push(published);
        } else {
            published.fate.lose(position);
        }
    }

    /// Adds a claim of a pair.
    pub(crate) fn claim_pair(&mut self, published: Published, position: usize) {
        if self.pair_claims.len() < MAX_OBSERVATIONS {
            self.pair_claims.push(published);
        } else {
            published.fate.lose(position);
        }
    }

    pub(crate) fn offer_pair(&mut self, pair: SeenPair) {
        if self.pairs.len() < MAX_OBSERVATIONS {
            self.pairs.push(pair);
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
