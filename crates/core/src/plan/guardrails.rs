//! The rules of guardrails: which versions are judged, by which signals, and what follows when one trips.
//!
//! Rules only. Who counts and who judges is in the room `guardrail`.

use std::rc::Rc;
use std::time::Duration;

use super::condition::TextMatch;
use super::version::Version;
use crate::hash::bucket::Salt;
use crate::hash::secret::digest;

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
        null: NullHypothesis,
        /// The chance that it never trips where the version is no worse.
        confidence: f64,
    },
}

/// A condition on a response header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderRule {
    pub(crate) name: Box<str>,
    pub(crate) test: TextMatch,
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

/// What the version is allowed: a rate of `margin + slope * stable's rate`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NullHypothesis {
    pub(crate) margin: f64,
    pub(crate) slope: f64,
}

impl NullHypothesis {
    /// The version's rate may exceed stable's by `margin`, 0 to 1.
    #[must_use]
    pub fn increase(margin: f64) -> Self {
        Self { margin: margin.clamp(0.0, 1.0), slope: 1.0 }
    }

    /// For the rate of answers slower than a multiple of stable's quantile: `1 - q` of those that are not slow at stable may be
    /// slow. It is the convex hull of "at most 1 - q" and "no more than stable", so it never blames a version for what stable
    /// shares.
    #[must_use]
    pub fn quantile(quantile: f64) -> Self {
        let quantile = quantile.clamp(0.0, 1.0);
        Self { margin: 1.0 - quantile, slope: quantile }
    }

    /// The highest rate that is allowed where stable has this one.
    #[must_use]
    pub fn allowed(self, stable: f64) -> f64 {
        self.margin + self.slope * stable
    }
}
