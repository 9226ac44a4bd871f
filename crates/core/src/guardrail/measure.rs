//! What a signal counts of an outcome, and when that is bad.

use std::time::Duration;

use super::outcome::Outcome;
use super::tally::{Bases, Basis};
use crate::plan::guardrails::{Measure, bit};

impl Measure {
    /// The outcomes that it takes a share of.
    pub(crate) fn basis(&self) -> Basis {
        match self {
            Self::Failure => Basis::Requests,
            Self::LongerThan(_) | Self::LongerThanStable { .. } => Basis::Waits,
            Self::Header(_) | Self::Status(_) => Basis::Answers,
            Self::Abandoned => Basis::All,
        }
    }

    /// True if the outcome is bad for the signal at this position. `slow` is the latency above which an answer is slower than
    /// stable's. `None` if the outcome does not count.
    pub(crate) fn judge(&self, outcome: Outcome, position: usize, slow: Option<Duration>) -> Option<bool> {
        let is_longer = |limit: Duration| outcome.waited.is_some_and(|waited| waited > limit);
        if !Bases::of(outcome).has(self.basis()) {
            return None;
        }
        match self {
            Self::Failure => Some(outcome.failed()),
            // Nobody knows how long an answer would have taken for which the client did not wait so long.
            Self::LongerThan(limit) if outcome.is_abandoned() => is_longer(*limit).then_some(true),
            Self::LongerThan(limit) => Some(is_longer(*limit)),
            Self::LongerThanStable { .. } => Some(slow.is_some_and(is_longer)),
            Self::Header(_) | Self::Status(_) => Some(outcome.marks & bit(position) != 0),
            Self::Abandoned => Some(outcome.is_abandoned()),
        }
    }
}
