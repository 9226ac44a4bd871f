//! The rules of guardrails: which versions are judged, by which signals, and the action if a signal trips.
//!
//! This file only has the rules. Counting and judging is in `guardrail`.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use super::condition::TextMatch;
use super::version::Version;
use crate::hash::bucket::Salt;
use crate::hash::secret::digest;

/// Most signals of a rollout, so that a request needs one bit for each in one word.
pub const MAX_SIGNALS: usize = 16;

/// The guardrails of one rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Guardrails {
    pub(crate) window: Duration,
    pub(crate) min_requests: u64,
    /// How long a version warms up, from its first request. Rates do not judge what started in that time.
    pub(crate) warm_up: Duration,
    pub(crate) action: Action,
    pub(crate) dry_run: bool,
    pub(crate) rearm: u64,
    pub(crate) signals: Box<[Signal]>,
    /// The salt that hashes units into buckets, independently of the split.
    pub(crate) unit_salt: Salt,
    pub(crate) guarded: Box<[Guarded]>,
}

impl Guardrails {
    /// The signals, in document order.
    #[must_use]
    pub fn signals(&self) -> &[Signal] {
        &self.signals
    }

    /// The versions that are judged: every version that serves, except stable, and those whose copies a signal judges.
    #[must_use]
    pub fn guarded(&self) -> &[Guarded] {
        &self.guarded
    }

    /// The fewest outcomes that a rate is judged on, on each side that is compared.
    #[must_use]
    pub fn min_requests(&self) -> u64 {
        self.min_requests
    }

    /// The action of a tripped signal.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// The action of the signal at this position. A sample ratio always only warns.
    #[must_use]
    pub fn action_of(&self, position: usize) -> Action {
        match self.signals.get(position).map(|signal| &signal.rule) {
            Some(Rule::SampleRatio { .. }) => Action::Warn,
            Some(Rule::Rate(..) | Rule::ConsecutiveFailures(_) | Rule::ShadowMismatch { .. }) | None => {
                self.action
            }
        }
    }

    /// What the signal at this position does to a guarded version. A mismatch only warns if the strategy does not name the version,
    /// because there is no traffic to withdraw.
    #[must_use]
    pub fn action_on(&self, guarded: &Guarded, position: usize) -> Action {
        let rule = self.signals.get(position).map(|signal| &signal.rule);
        let is_mismatch = matches!(rule, Some(Rule::ShadowMismatch { .. }));
        if is_mismatch && !guarded.is_named { Action::Warn } else { self.action_of(position) }
    }

    /// The `rearm` of the document. A greater number than before releases latches.
    #[must_use]
    pub fn rearm(&self) -> u64 {
        self.rearm
    }

    /// True if verdicts are logged and counted, but not acted on.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Bits of the signals that find an answer of a version bad by its status or its headers. `value` reads a response header.
    pub fn marks(&self, status: u16, mut value: impl FnMut(&str) -> Option<Vec<u8>>) -> u16 {
        let mut is_bad = |rule: &Rule| match rule {
            Rule::Rate(Measure::Header(header), _) => header.holds(value(header.name()).as_deref()),
            Rule::Rate(Measure::Status(statuses), _) => statuses.has(status),
            Rule::Rate(
                Measure::Failure
                | Measure::LongerThan(_)
                | Measure::LongerThanStable { .. }
                | Measure::Abandoned,
                _,
            )
            | Rule::ConsecutiveFailures(_)
            | Rule::SampleRatio { .. }
            | Rule::ShadowMismatch { .. } => false,
        };
        self.rules().fold(0, |bits, (bit, rule)| if is_bad(rule) { bits | bit } else { bits })
    }

    /// Each rule with the bit of its signal.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (u16, &Rule)> {
        self.signals.iter().enumerate().map(|(position, signal)| (bit(position), &signal.rule))
    }

    pub(crate) fn unit_hash(&self, unit: &[u8]) -> u32 {
        self.unit_salt.hash(unit)
    }

    /// The signals that compare with stable: their positions, and what they compare.
    pub(crate) fn comparisons(&self) -> impl Iterator<Item = (usize, &Measure)> {
        self.signals.iter().enumerate().filter_map(|(position, signal)| match &signal.rule {
            Rule::Rate(measure, Limit::Increase { .. }) => Some((position, measure)),
            Rule::Rate(_, Limit::Share(_))
            | Rule::ConsecutiveFailures(_)
            | Rule::SampleRatio { .. }
            | Rule::ShadowMismatch { .. } => None,
        })
    }

    /// True if a signal compares with stable's latency.
    pub(crate) fn compares_latency(&self) -> bool {
        self.comparisons().any(|(_, measure)| matches!(measure, Measure::LongerThanStable { .. }))
    }

    /// True if a signal counts the units of each version.
    pub(crate) fn counts_units(&self) -> bool {
        self.rules().any(|(_, rule)| matches!(rule, Rule::SampleRatio { .. }))
    }

    /// True if a signal counts failures in a row.
    pub(crate) fn counts_runs(&self) -> bool {
        self.rules().any(|(_, rule)| matches!(rule, Rule::ConsecutiveFailures(_)))
    }

    /// True if a signal tests the rate of mismatches at a confidence.
    pub(crate) fn tests_pairs(&self) -> bool {
        self.rules().any(|(_, rule)| matches!(rule, Rule::ShadowMismatch { confidence: Some(_), .. }))
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
    /// Fingerprint of rollout, version and cluster. A latch stays on this identity.
    pub identity: u64,
    /// Fingerprint of the rest that makes counts comparable: strategy kind, stable version, `rearm`, the
    /// guardrails themselves, and how copies are compared if a signal judges that.
    pub epoch: u64,
    /// True if a signal judges how copies to the version compare with what stable answers.
    pub(crate) is_compared: bool,
    /// True if the strategy names the version, so that withdrawing traffic from it has an effect.
    pub(crate) is_named: bool,
}

impl Guarded {
    /// True if this rule judges the version: rates of requests need requests, and mismatches need copies that are compared.
    #[must_use]
    pub fn is_judged_by(&self, rule: &Rule) -> bool {
        match rule {
            Rule::ShadowMismatch { .. } => self.is_compared,
            Rule::Rate(..) | Rule::ConsecutiveFailures(_) | Rule::SampleRatio { .. } => {
                !self.version.is_shadow_only()
            }
        }
    }
}

/// A hash of these words in this order.
pub(crate) fn fingerprint(words: &[&str]) -> u64 {
    let hash = digest(words.join("\0").as_bytes());
    hash.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// The action of a tripped signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// All new requests of the version go to stable.
    Rollback,
    /// The version keeps its exposure.
    Freeze,
    /// Only a log line and a metric.
    Warn,
}

/// One rule and its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    pub(crate) name: Box<str>,
    pub(crate) rule: Rule,
}

impl Signal {
    /// The name in metrics and logs: the kind, then `_increase` or `_ratio` if it compares with stable, then a number if
    /// the document has several of the same name.
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
    /// This many failures in a row.
    ConsecutiveFailures(u64),
    /// Units do not arrive in the proportions of the split.
    SampleRatio {
        /// The chance that the signal does not trip if they do.
        confidence: f64,
    },
    /// Too large a share of a shadow's answers differ from what stable answered.
    ShadowMismatch {
        /// The greatest share that is allowed.
        most: f64,
        /// The chance that the signal never trips if no more differ. `None` limits the share of the window instead.
        confidence: Option<f64>,
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
        /// The quantile of stable's latency.
        quantile: f64,
        /// The multiple of that quantile.
        ratio: f64,
    },
    /// An answer with a header that meets a condition.
    Header(HeaderRule),
    /// An answer with one of these statuses.
    Status(Statuses),
    /// A request whose client did not wait for the response headers.
    Abandoned,
}

/// Statuses of HTTP, as ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(pub(crate) Box<[RangeInclusive<u16>]>);

impl Statuses {
    /// True if one of them is in this range.
    pub(crate) fn has_any(&self, wanted: RangeInclusive<u16>) -> bool {
        self.0.iter().any(|range| range.start() <= wanted.end() && wanted.start() <= range.end())
    }

    fn has(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

/// How much may be bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// A share over the sliding window.
    Share(f64),
    /// Stable's own share and a margin, exceeded at a confidence.
    Increase {
        /// The rates that are allowed, as a null hypothesis.
        null: NullHypothesis,
        /// The chance that the signal never trips if the version is not worse.
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

    /// True if an answer with this value is bad.
    #[must_use]
    pub fn holds(&self, value: Option<&[u8]>) -> bool {
        self.test.holds(value)
    }
}

/// The rate that the version is allowed: `margin + slope * stable's rate`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NullHypothesis {
    pub(crate) margin: f64,
    pub(crate) slope: f64,
}

impl NullHypothesis {
    /// Allows the version's rate to exceed stable's by `margin`, from 0 to 1.
    #[must_use]
    pub fn increase(margin: f64) -> Self {
        Self { margin: margin.clamp(0.0, 1.0), slope: 1.0 }
    }

    /// For the rate of answers that are slower than a multiple of stable's quantile: `1 - q` of those that are not slow on
    /// stable may be slow. This is the convex hull of "at most 1 - q" and "no more than stable", so a version is never
    /// blamed for slowness that stable shares.
    #[must_use]
    pub fn quantile(quantile: f64) -> Self {
        let quantile = quantile.clamp(0.0, 1.0);
        Self { margin: 1.0 - quantile, slope: quantile }
    }

    /// The highest rate that is allowed if stable has this rate.
    #[must_use]
    pub fn allowed(self, stable: f64) -> f64 {
        self.margin + self.slope * stable
    }
}
