//! A worker's memory of the outcomes of its requests, until they are merged into the record that all workers share.
//!
//! It belongs to one rollout of one plan. Recording takes a few additions; nothing here is shared or looked up by name.

use std::time::Duration;

use super::evidence::Observation;
use super::outcome::Outcome;
use super::pending::{Pending, Seen, Unit};
use super::record::SharedRecord;
use super::sample_ratio::SampleRatio;
use super::setting::SplitMark;
use super::spacing::{Bits, HASH_BUCKETS};
use super::streak::{Report, Streak};
use super::tally::Side;
use crate::decision::{Decision, Reason};
use crate::plan::guardrails::{Guardrails, MAX_SIGNALS, Measure, Rule, bit};

/// What a worker remembers for the guardrails of a rollout.
#[derive(Debug)]
pub struct Worker {
    stable: usize,
    treatments: Box<[Treatment]>,
    /// The hash buckets that already count in the current second, by version.
    claims: Vec<(usize, Claims)>,
}

/// One guarded version: what is not merged yet, and what the last merge reported.
#[derive(Debug)]
struct Treatment {
    ordinal: usize,
    pending: Pending,
    streak: Streak,
    /// From which latency an answer is too slow, by signal.
    thresholds: [Option<Duration>; MAX_SIGNALS],
    /// Units that the record knows, or will know after the next merge.
    known: Option<SampleRatio>,
    /// True if failures in a row have tripped, so no merge is urgent.
    is_condemned: bool,
}

/// The hash buckets that already have a counted request in a second.
#[derive(Debug, Default)]
struct Claims {
    second: u64,
    taken: Bits,
}

impl Claims {
    /// True for the first request of a bucket in a second.
    fn claim(&mut self, bucket: u16, second: u64) -> bool {
        if self.second != second {
            *self = Self { second, taken: Bits::default() };
        }
        let is_free = !self.taken.has(bucket);
        self.taken.set(bucket);
        is_free
    }
}

/// A request whose outcome will be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    ordinal: usize,
    /// The unit's hash bucket. `None` if this request does not count in comparisons.
    bucket: Option<u16>,
    /// Tells this request apart from others of its unit.
    tag: u8,
    /// The tick in which it was recorded as a success.
    tick: u32,
    /// The split under which it started.
    split: SplitMark,
}

/// The hash bucket of a unit's 32-bit hash.
fn hash_bucket(hash: u32) -> u16 {
    hash as u16 & (HASH_BUCKETS - 1) // a power of two
}

impl Worker {
    /// A worker that has seen nothing. `stable` is the ordinal of the stable version.
    #[must_use]
    pub fn new(guardrails: &Guardrails, stable: usize) -> Self {
        let treatment = |ordinal| Treatment {
            ordinal,
            pending: Pending::default(),
            streak: Streak::default(),
            thresholds: [None; MAX_SIGNALS],
            known: None,
            is_condemned: false,
        };
        let ordinals: Vec<usize> =
            guardrails.guarded.iter().map(|guarded| guarded.version.ordinal()).collect();
        let claims = |ordinal: usize| (ordinal, Claims::default());
        Self {
            stable,
            claims: ordinals.iter().copied().chain([stable]).map(claims).collect(),
            treatments: ordinals.into_iter().map(treatment).collect(),
        }
    }

    /// Starts tracking a request that starts under this split. `None` if its outcome is not counted.
    pub fn begin(&mut self, decision: &Decision, now: Duration, split: SplitMark) -> Option<Ticket> {
        let ordinal = decision.version.ordinal();
        if decision.reason == Reason::Forced {
            return None;
        }
        let (_, claims) = self.claims.iter_mut().find(|(known, _)| *known == ordinal)?; // at most sixteen
        let claimed =
            decision.unit_hash.map(hash_bucket).filter(|bucket| claims.claim(*bucket, now.as_secs()));
        if let Some(hash) = decision.unit_hash.filter(|_| decision.reason != Reason::Session) {
            for treatment in &mut self.treatments {
                treatment.meet(Unit { hash, is_own: treatment.ordinal == ordinal }, split);
            }
        }
        let tag = (now.subsec_micros() & 0xff) as u8;
        Some(Ticket { ordinal, bucket: claimed, tag, tick: 0, split })
    }

    /// Records the outcome of a request at its response headers. The returned ticket is for a failure that may follow them.
    pub fn record(&mut self, guardrails: &Guardrails, ticket: Ticket, outcome: Outcome) -> Ticket {
        let mut recorded = ticket;
        self.each(ticket, |side, treatment| {
            let bad = treatment.bad(guardrails, outcome);
            if side == Side::Version {
                match outcome.failed {
                    true => treatment.streak.fail(),
                    false => recorded.tick = treatment.streak.succeed(),
                }
            }
            let answered = outcome.latency.is_some();
            let pending = &mut treatment.pending;
            let counts = pending.of(side);
            counts.requests = counts.requests.saturating_add(1);
            counts.answers = counts.answers.saturating_add(answered.into());
            counts.add(bad, outcome.failed);
            let baseline = outcome.latency.filter(|_| side == Side::Stable && guardrails.compares_latency());
            if let Some(latency) = baseline {
                pending.latencies.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
            }
            if let Some(bucket) = ticket.bucket {
                let bad = guardrails.compared(bad);
                let observation = Observation { bucket, tag: ticket.tag, answered, bad, late: false };
                pending.offer(Seen { side, split: ticket.split, observation });
            }
        });
        recorded
    }

    /// Records that a request failed after its response headers, although it was recorded as a success.
    pub fn record_late_failure(&mut self, guardrails: &Guardrails, ticket: Ticket) {
        let outcome = Outcome { failed: true, ..Outcome::default() };
        self.each(ticket, |side, treatment| {
            let bad = treatment.bad(guardrails, outcome);
            if side == Side::Version {
                treatment.streak.fail_late(ticket.tick);
            }
            treatment.pending.of(side).add(bad, true);
            if let Some(bucket) = ticket.bucket {
                let bad = guardrails.compared(bad);
                let observation = Observation { bucket, tag: ticket.tag, answered: false, bad, late: true };
                treatment.pending.offer(Seen { side, split: ticket.split, observation });
            }
        });
    }

    /// Calls `record` for each guarded version that a request counts for, with its side in the comparison.
    fn each(&mut self, ticket: Ticket, mut record: impl FnMut(Side, &mut Treatment)) {
        let is_stable = ticket.ordinal == self.stable;
        let concerned = |treatment: &&mut Treatment| is_stable || treatment.ordinal == ticket.ordinal;
        for treatment in self.treatments.iter_mut().filter(concerned) {
            record(if is_stable { Side::Stable } else { Side::Version }, treatment);
        }
    }

    /// Positions of the guarded versions that have something to merge.
    #[must_use]
    pub fn dirty(&self) -> Vec<usize> {
        let is_dirty = |treatment: &Treatment| {
            !treatment.pending.is_empty() || treatment.streak.report() != Report::Unknown
        };
        let dirty = self.treatments.iter().enumerate().filter(|(_, treatment)| is_dirty(treatment));
        dirty.map(|(position, _)| position).collect()
    }

    /// What is not merged yet for the guarded version at this position, and its failures in a row.
    pub(crate) fn pending(&self, position: usize) -> Option<(&Pending, Report)> {
        self.treatments.get(position).map(|treatment| (&treatment.pending, treatment.streak.report()))
    }

    /// Drops what has been merged, and learns from the record what is slow and which units are known.
    pub fn merged(&mut self, guardrails: &Guardrails, position: usize, record: &SharedRecord) {
        if let Some(treatment) = self.treatments.get_mut(position) {
            treatment.pending = Pending::default();
            treatment.streak.merged(treatment.streak.report());
            treatment.thresholds = record.thresholds();
            treatment.known = record.units().cloned();
            treatment.is_condemned = record.is_condemned(guardrails);
        }
    }

    /// Starts a new tick.
    pub fn age(&mut self) {
        self.treatments.iter_mut().for_each(|treatment| treatment.streak.age());
    }

    /// The position of a request's version if it must be merged at once, so that the signal of failures in a row is fast.
    /// That is the case if a quarter of the failures that condemn the version are pending here, because other workers may
    /// have as many.
    #[must_use]
    pub fn is_urgent(&self, guardrails: &Guardrails, ticket: Ticket) -> Option<usize> {
        let limit = guardrails.consecutive_failures()?;
        let mut treatments = self.treatments.iter().enumerate();
        let (position, treatment) = treatments.find(|(_, treatment)| treatment.ordinal == ticket.ordinal)?;
        match treatment.streak.report() {
            Report::Failures(failures) if !treatment.is_condemned => {
                (failures.saturating_mul(4) >= limit).then_some(position)
            }
            Report::Failures(_) | Report::Broken | Report::Unknown => None,
        }
    }
}

impl Treatment {
    /// Bits of the signals for which an outcome is bad.
    fn bad(&self, guardrails: &Guardrails, outcome: Outcome) -> u16 {
        let is_bad = |measure: &Measure, position: usize| match measure {
            Measure::Failure => outcome.failed,
            Measure::LongerThan(limit) => outcome.latency.is_some_and(|latency| latency > *limit),
            Measure::LongerThanStable { .. } => {
                let limit = self.thresholds.get(position).copied().flatten();
                limit.zip(outcome.latency).is_some_and(|(limit, latency)| latency > limit)
            }
            Measure::Header(_) => outcome.headers & bit(position) != 0,
        };
        let rules = guardrails.rules().enumerate();
        rules.fold(0, |bits, (position, (bit, rule))| match rule {
            Rule::Rate(measure, _) if is_bad(measure, position) => bits | bit,
            Rule::Rate(..) | Rule::ConsecutiveFailures(_) | Rule::SampleRatio { .. } => bits,
        })
    }

    /// Records a unit that the split drew.
    fn meet(&mut self, unit: Unit, split: SplitMark) {
        let Some(known) = self.known.as_mut().filter(|known| known.wants(unit.hash)) else { return };
        known.add(unit.hash, unit.is_own);
        self.pending.meet(unit, split);
    }
}

impl Guardrails {
    /// The bits of the signals that compare, without gaps.
    fn compared(&self, bad: u16) -> u16 {
        let is_bad = |(_, (position, _)): &(usize, (usize, &Measure))| bad & bit(*position) != 0;
        let compared = self.comparisons().enumerate().filter(is_bad);
        compared.fold(0, |bits, (place, _)| bits | bit(place))
    }
}
