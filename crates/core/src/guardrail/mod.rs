//! Guardrails: what a version is judged by, and what happens when it fails.
//!
//! Each worker records outcomes (`recorder`) and merges them into a record that all workers share (`record`). There they become
//! evidence (`evidence`), which signals judge (`judge`): rates over a sliding window, or an always-valid test against the stable
//! version (`sequential`). A verdict is latched in the record. Time is an argument everywhere, and nothing here does I/O.

mod codec;
#[cfg(test)]
mod dice;
pub mod evidence;
pub mod judge;
pub mod outcome;
pub mod record;
pub mod sample_ratio;
pub mod sequential;
pub mod shelf;
pub mod sketch;
mod spacing;
mod streak;
pub mod tally;
pub mod verdict;
mod window;
pub mod worker;

use std::rc::Rc;
use std::time::Duration;

use self::sequential::Null;
use self::tally::Tally;
use self::verdict::Finding;
use crate::hash::bucket::Salt;
use crate::hash::secret::digest;
use crate::plan::Version;
use crate::plan::condition::Test;

/// At most this many signals on a rollout: a request's answers to all of them fit into one word.
pub const MAX_SIGNALS: usize = 16;

/// The guardrails of one rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Guardrails {
    pub(crate) window: Duration,
    pub(crate) min_requests: u64,
    pub(crate) action: Action,
    pub(crate) dry_run: bool,
    pub(crate) rearm: u64,
    pub(crate) signals: Box<[Signal]>,
    /// What units are hashed with; none where no signal looks at units.
    pub(crate) unit_salt: Option<Salt>,
    pub(crate) guarded: Box<[Guarded]>,
}

impl Guardrails {
    /// What is judged, in document order.
    #[must_use]
    pub fn signals(&self) -> &[Signal] {
        &self.signals
    }

    /// Who is judged: every version that serves and is not the stable one.
    #[must_use]
    pub fn guarded(&self) -> &[Guarded] {
        &self.guarded
    }

    /// What a tripped signal does.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// What the signal at this position does: a sample ratio only ever warns.
    #[must_use]
    pub fn action_of(&self, position: usize) -> Action {
        match self.signals.get(position).map(|signal| &signal.rule) {
            Some(Rule::SampleRatio { .. }) => Action::Warn,
            Some(Rule::Rate(..) | Rule::ConsecutiveFailures(_)) | None => self.action,
        }
    }

    /// True where a rate rests on enough requests for a verdict, on each side that it compares.
    #[must_use]
    pub fn is_enough(&self, finding: &Finding) -> bool {
        let is_enough = |tally: Tally| tally.observed >= self.min_requests;
        match finding {
            Finding::Share { observed, .. } => is_enough(*observed),
            Finding::Increase { observed, .. } => is_enough(observed.version) && is_enough(observed.stable),
            Finding::Consecutive { .. } | Finding::SampleRatio { .. } => true,
        }
    }

    /// A greater number than before releases what is latched.
    #[must_use]
    pub fn rearm(&self) -> u64 {
        self.rearm
    }

    /// True where it only says what it would have done.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// The response headers that signals look at, each with its signal's bit.
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderRule, u16)> {
        self.rules().filter_map(|(bit, rule)| match rule {
            Rule::Rate(Measure::Header(header), _) => Some((header, bit)),
            Rule::Rate(Measure::Failure | Measure::LongerThan(_) | Measure::LongerThanStable { .. }, _)
            | Rule::ConsecutiveFailures(_)
            | Rule::SampleRatio { .. } => None,
        })
    }

    /// Each rule with the bit of its signal.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (u16, &Rule)> {
        self.signals.iter().enumerate().map(|(position, signal)| (bit(position), &signal.rule))
    }

    pub(crate) fn unit_hash(&self, unit: &[u8]) -> Option<u32> {
        Some(self.unit_salt.as_ref()?.hash(unit))
    }

    /// The signals that compare with stable: their positions, and what they compare.
    pub(crate) fn comparisons(&self) -> impl Iterator<Item = (usize, &Measure)> {
        self.signals.iter().enumerate().filter_map(|(position, signal)| match &signal.rule {
            Rule::Rate(measure, Limit::Increase { .. }) => Some((position, measure)),
            Rule::Rate(_, Limit::Share(_)) | Rule::ConsecutiveFailures(_) | Rule::SampleRatio { .. } => None,
        })
    }

    /// True where a signal asks what stable's latency was.
    pub(crate) fn compares_latency(&self) -> bool {
        self.comparisons().any(|(_, measure)| matches!(measure, Measure::LongerThanStable { .. }))
    }

    /// True where a signal looks at who is drawn for whom.
    pub(crate) fn counts_units(&self) -> bool {
        self.rules().any(|(_, rule)| matches!(rule, Rule::SampleRatio { .. }))
    }

    /// Failures in a row that condemn a version, the least of all such signals.
    #[must_use]
    pub fn consecutive_failures(&self) -> Option<u64> {
        let limits = self.signals.iter().filter_map(|signal| match signal.rule {
            Rule::ConsecutiveFailures(limit) => Some(limit),
            Rule::Rate(..) | Rule::SampleRatio { .. } => None,
        });
        limits.min()
    }
}

/// The bit of the signal at this position.
pub(crate) fn bit(position: usize) -> u16 {
    u32::try_from(position).ok().and_then(|position| 1_u16.checked_shl(position)).unwrap_or(0)
}

/// A version under guardrails, and what identifies its record.
#[derive(Debug, Clone, PartialEq)]
pub struct Guarded {
    /// The version.
    pub version: Rc<Version>,
    /// Rollout, version and cluster: what a latch holds on to.
    pub identity: u64,
    /// What else makes counts comparable: strategy kind, stable version, `rearm` and the guardrails themselves.
    pub epoch: u64,
}

/// A number that stands for these words in this order.
pub(crate) fn fingerprint(words: &[&str]) -> u64 {
    let hash = digest(words.join("\0").as_bytes());
    hash.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// What a tripped signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// All new requests of the version go to stable.
    Rollback,
    /// The version's exposure stays what it is.
    Freeze,
    /// Nothing but a log line and a metric.
    Warn,
}

/// One rule and its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    pub(crate) name: Box<str>,
    pub(crate) rule: Rule,
}

impl Signal {
    /// The name in metrics and logs: the kind, `_increase` or `_ratio` behind it where it compares with stable, and a number where the
    /// document has more of the same.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }
}

/// What trips a signal.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Too large a share of requests or answers is bad.
    Rate(Measure, Limit),
    /// So many failures since the last merge that contained a success.
    ConsecutiveFailures(u64),
    /// Units do not arrive in the proportions of the split.
    SampleRatio {
        /// The chance that it stays silent where they do.
        confidence: f64,
    },
}

/// What makes a request or an answer bad.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// A request that failed.
    Failure,
    /// An answer that took longer.
    LongerThan(Duration),
    /// An answer that took longer than a multiple of stable's quantile of earlier slots.
    LongerThanStable {
        /// Of stable's latency.
        quantile: f64,
        /// How many times that.
        ratio: f64,
    },
    /// An answer whose header fulfils a condition.
    Header(HeaderRule),
}

/// How much of what is bad is too much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// A share over the sliding window.
    Share(f64),
    /// Stable's own share and so much more, beyond doubt.
    Increase {
        /// What is no worse than stable.
        null: Null,
        /// The chance that it never trips where the version is no worse.
        confidence: f64,
    },
}

/// A condition on a response header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderRule {
    pub(crate) name: Box<str>,
    pub(crate) test: Test,
}

impl HeaderRule {
    /// Name of the header.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True where an answer with this value is bad.
    #[must_use]
    pub fn holds(&self, value: Option<&[u8]>) -> bool {
        self.test.holds(value)
    }
}
