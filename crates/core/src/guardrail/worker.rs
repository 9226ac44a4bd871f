//! One worker's memory of what came of its requests, until it is merged into the record that all workers share.
//!
//! A worker's memory belongs to one rollout of one plan. Recording is a handful of additions; nothing here is shared or looked up by name.

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

/// What the guardrails of a rollout remember of a worker's requests.
#[derive(Debug)]
pub struct Worker {
    stable: usize,
    treatments: Box<[Treatment]>,
    /// Units that count in the current second, by version.
    claims: Vec<(usize, Claims)>,
}

/// One guarded version: what is not merged yet, and what the last merge told.
#[derive(Debug)]
struct Treatment {
    ordinal: usize,
    pending: Pending,
    streak: Streak,
    /// What of stable's latency is too slow, by signal.
    thresholds: [Option<Duration>; MAX_SIGNALS],
    /// Units known to the record already, or soon.
    known: Option<SampleRatio>,
    /// Failures in a row have tripped already, so there is no hurry.
    is_condemned: bool,
}

/// Hash buckets of units whose request of this second counts already.
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

/// A request whose outcome is recorded when it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    ordinal: usize,
    /// The unit's hash bucket, if this request speaks for it.
    bucket: Option<u16>,
    /// Tells this request from others of its unit.
    tag: u8,
    /// The tick in which it was recorded as fine.
    tick: u32,
    /// The split under which it began.
    split: SplitMark,
}

/// Of a unit's 32-bit hash.
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

    /// Starts tracking a request that begins under this split. `None` if its outcome is not counted.
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

    /// Records what came of a request, as far as its response headers say. The returned ticket goes with what may follow them.
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

    /// Records that a request failed after its response headers, although it was recorded as fine.
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

    /// The side of each comparison that a version's requests are on.
    fn each(&mut self, ticket: Ticket, mut record: impl FnMut(Side, &mut Treatment)) {
        let is_stable = ticket.ordinal == self.stable;
        let concerned = |treatment: &&mut Treatment| is_stable || treatment.ordinal == ticket.ordinal;
        for treatment in self.treatments.iter_mut().filter(concerned) {
            record(if is_stable { Side::Stable } else { Side::Version }, treatment);
        }
    }

    /// Positions of the guarded versions about which something is not merged yet.
    #[must_use]
    pub fn dirty(&self) -> Vec<usize> {
        let is_dirty = |treatment: &Treatment| {
            !treatment.pending.is_empty() || treatment.streak.report() != Report::Unknown
        };
        let dirty = self.treatments.iter().enumerate().filter(|(_, treatment)| is_dirty(treatment));
        dirty.map(|(position, _)| position).collect()
    }

    /// What is not merged yet about the guarded version at this position, and its failures in a row.
    pub(crate) fn pending(&self, position: usize) -> Option<(&Pending, Report)> {
        self.treatments.get(position).map(|treatment| (&treatment.pending, treatment.streak.report()))
    }

    /// Forgets what has been merged into the record, and learns from the record what is slow and which units are known.
    pub fn merged(&mut self, guardrails: &Guardrails, position: usize, record: &SharedRecord) {
        if let Some(treatment) = self.treatments.get_mut(position) {
            treatment.pending = Pending::default();
            treatment.streak.merged(treatment.streak.report());
            treatment.thresholds = record.thresholds();
            treatment.known = record.units().cloned();
            treatment.is_condemned = record.is_condemned(guardrails);
        }
    }

    /// A tick has passed.
    pub fn age(&mut self) {
        self.treatments.iter_mut().for_each(|treatment| treatment.streak.age());
    }

    /// The position of a request's version if it has to be merged at once, so that the fast signal is fast: a quarter of the
    /// failures in a row that condemn it are pending here, and other workers may have as many.
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

    /// Notes a unit that the split has drawn.
    fn meet(&mut self, unit: Unit, split: SplitMark) {
        let Some(known) = self.known.as_mut().filter(|known| known.wants(unit.hash)) else { return };
        known.add(unit.hash, unit.is_own);
        self.pending.meet(unit, split);
    }
}

impl Guardrails {
    /// The bits of the signals that compare, closed up.
    fn compared(&self, bad: u16) -> u16 {
        let is_bad = |(_, (position, _)): &(usize, (usize, &Measure))| bad & bit(*position) != 0;
        let compared = self.comparisons().enumerate().filter(is_bad);
        compared.fold(0, |bits, (place, _)| bits | bit(place))
    }
}
