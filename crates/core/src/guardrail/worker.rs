//! A worker's memory of the outcomes of its requests, until they are merged into the record that all workers share.
//!
//! It belongs to one rollout of one plan. Recording takes a few additions; nothing here is shared or looked up by name.

use std::time::Duration;

use super::claim::{Claim, Fate, Published};
use super::evidence::Observation;
use super::mismatch::{PairTicket, SeenPair, claim};
use super::outcome::Outcome;
use super::pending::{Pending, Seen, Unit};
use super::record::{Feedback, SharedRecord};
use super::sample_ratio::SampleRatio;
use super::setting::SplitMark;
use super::share::Counted;
use super::spacing::{Bits, NO_UNIT, hash_bucket};
use super::streak::tick;
use super::tally::{Bases, Basis, Side, Tally};
use crate::decision::{Decision, Reason};
use crate::plan::guardrails::{Guarded, Guardrails, Limit, MAX_SIGNALS, Measure, Rule, bit};
use crate::plan::shadow::Shadow;
use crate::time::milliseconds;

/// What a worker remembers for the guardrails of a rollout.
#[derive(Debug)]
pub struct Worker {
    stable: usize,
    treatments: Box<[Treatment]>,
    /// The hash buckets that this worker has claimed in the current second, by version.
    claims: Vec<(usize, Claims)>,
}

/// One guarded version: what is not merged yet, and what the last merge reported.
#[derive(Debug)]
struct Treatment {
    ordinal: usize,
    position: usize,
    pending: Pending,
    /// From which latency an answer is too slow, by signal.
    thresholds: [Option<Duration>; MAX_SIGNALS],
    /// Rates judge requests that began at this time or later. `None` if it is not known yet.
    judged_from_ms: Option<u64>,
    /// Units that the record knows, or will know after the next merge.
    known: Option<SampleRatio>,
    /// True if a signal counts failures in a row.
    counts_runs: bool,
    /// True if the version serves requests. Otherwise it only gets copies.
    is_serving: bool,
    /// True if a signal judges the version's pairs.
    is_compared: bool,
    /// The hash buckets of pairs that this worker has claimed in the current second, if a signal tests their mismatches.
    paired: Option<Claims>,
    /// True if a later merge may find more, even if nothing else is recorded.
    is_unsettled: bool,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    ordinal: usize,
    /// The unit's hash bucket.
    unit: u16,
    /// True if the split chose the version.
    is_drawn: bool,
    /// `None` if this request does not count in comparisons.
    claim: Option<Published>,
    /// Tells this request apart from others of its unit.
    tag: u8,
    /// When it began, in milliseconds.
    began_ms: u64,
    /// The tick in which it was recorded as a success.
    tick: u64,
    /// The split under which it started.
    split: SplitMark,
}

impl Worker {
    /// A worker that has seen nothing. `stable` is the ordinal of the stable version.
    #[must_use]
    pub fn new(guardrails: &Guardrails, stable: usize) -> Self {
        let treatment = |(position, guarded): (usize, &Guarded)| Treatment {
            ordinal: guarded.version.ordinal(),
            position,
            pending: Pending::default(),
            thresholds: [None; MAX_SIGNALS],
            judged_from_ms: guardrails.warm_up.is_zero().then_some(0),
            known: None,
            counts_runs: guardrails.counts_runs(),
            is_serving: !guarded.version.is_shadow_only(),
            is_compared: guarded.is_compared,
            paired: (guarded.is_compared && guardrails.tests_pairs()).then(Claims::default),
            is_unsettled: false,
        };
        let ordinals = guardrails.guarded.iter().map(|guarded| guarded.version.ordinal());
        let claims = |ordinal: usize| (ordinal, Claims::default());
        Self {
            stable,
            claims: ordinals.chain([stable]).map(claims).collect(),
            treatments: guardrails.guarded.iter().enumerate().map(treatment).collect(),
        }
    }

    /// Starts tracking a request that starts under this split. `None` if its outcome is not counted.
    pub fn begin(&mut self, decision: &Decision, now: Duration, split: SplitMark) -> Option<Ticket> {
        let ordinal = decision.version.ordinal();
        if decision.reason == Reason::Forced {
            return None;
        }
        let (_, claims) = self.claims.iter_mut().find(|(known, _)| *known == ordinal)?; // at most sixteen
        let is_drawn = decision.reason.is_drawn() && decision.unit_hash.is_some();
        let unit = decision.unit_hash.map_or(NO_UNIT, hash_bucket);
        let second = now.as_secs();
        let side = if ordinal == self.stable { Side::Stable } else { Side::Version };
        let claim = (is_drawn && claims.claim(unit, second))
            .then(|| Published { claim: Claim { side, bucket: unit, second }, fate: Fate::default() });
        if let Some(hash) = decision.unit_hash.filter(|_| is_drawn && decision.reason != Reason::Session) {
            for treatment in self.treatments.iter_mut().filter(|treatment| treatment.is_serving) {
                treatment.meet(Unit { hash, is_own: treatment.ordinal == ordinal }, split);
            }
        }
        let tag = (now.subsec_micros() & 0xff) as u8;
        let ticket =
            Ticket { ordinal, unit, is_drawn, claim, tag, began_ms: milliseconds(now), tick: 0, split };
        self.each(&ticket, |side, treatment| treatment.begin(side, &ticket));
        Some(ticket)
    }

    /// Records the outcome of a request at its response headers. The returned ticket is for a failure that may follow them.
    pub fn record(
        &mut self,
        guardrails: &Guardrails,
        mut ticket: Ticket,
        outcome: Outcome,
        now: Duration,
    ) -> Ticket {
        ticket.tick = tick(now);
        self.each(&ticket, |side, treatment| {
            treatment.count(side, &ticket, outcome);
            let is_baseline = side == Side::Stable && outcome.is_answer() && guardrails.compares_latency();
            if let Some(latency) = outcome.waited.filter(|_| is_baseline) {
                let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                treatment.pending.latencies.record(micros);
            }
            if treatment.judges(&ticket) {
                let bad = treatment.count_rates(guardrails, side, &ticket, |measure, position, slow| {
                    let is_bad = measure.judge(outcome, position, slow)?;
                    Some(Tally { observed: 1, bad: is_bad.into() })
                });
                let (bucket, tag) = (ticket.unit, ticket.tag);
                let observation = Observation { bucket, tag, bases: Bases::of(outcome), bad, late: false };
                treatment.offer(&ticket, observation);
            }
        });
        ticket
    }

    /// Records that a request failed after its response headers, although it was recorded as a success.
    pub fn record_late_failure(&mut self, guardrails: &Guardrails, ticket: &Ticket, now: Duration) {
        self.each(ticket, |side, treatment| {
            treatment.take_back(side, ticket, now);
            if treatment.judges(ticket) {
                let bad = treatment.count_rates(guardrails, side, ticket, |measure, _, _| {
                    (*measure == Measure::Failure).then_some(Tally { observed: 0, bad: 1 })
                });
                let (bucket, tag) = (ticket.unit, ticket.tag);
                let observation = Observation { bucket, tag, bases: Basis::Requests.into(), bad, late: true };
                treatment.offer(ticket, observation);
            }
        });
    }

    /// Stops tracking a request whose end says nothing about its version.
    pub fn forget(&mut self, ticket: &Ticket) {
        self.each(ticket, |side, treatment| treatment.end(side, ticket));
    }

    /// Starts tracking a pair: a request that starts now, and its copy to a shadow. `None` if no signal judges its comparison.
    ///
    /// A request that another version than stable serves claims nothing: it is only compared if failover takes it to stable.
    pub fn begin_pair(&mut self, decision: &Decision, shadow: &Shadow, now: Duration) -> Option<PairTicket> {
        let ordinal = shadow.version.ordinal();
        let is_of_stable = decision.version.ordinal() == self.stable;
        let treatment = self.treatments.iter_mut().find(|treatment| treatment.ordinal == ordinal)?;
        if !treatment.is_compared {
            return None;
        }
        let unit = decision.unit_hash.map_or(NO_UNIT, hash_bucket);
        let second = now.as_secs();
        let may_claim = is_of_stable && unit != NO_UNIT;
        let is_claimed =
            may_claim && treatment.paired.as_mut().is_some_and(|claims| claims.claim(unit, second));
        let claim = is_claimed.then(|| Published { claim: claim(unit, second), fate: Fate::default() });
        if let Some(claim) = &claim {
            treatment.pending.claim_pair(claim.clone(), treatment.position);
        }
        Some(PairTicket { ordinal, unit, claim, began_ms: milliseconds(now) })
    }

    /// Records a pair whose answers were compared. A pair that ends in another way is not recorded.
    pub fn record_pair(&mut self, guardrails: &Guardrails, ticket: &PairTicket, is_mismatch: bool) {
        let mut treatments = self.treatments.iter_mut();
        let Some(treatment) = treatments.find(|treatment| treatment.ordinal == ticket.ordinal) else {
            return;
        };
        treatment.compare(guardrails, ticket, is_mismatch);
    }

    /// Calls `record` for each guarded version that a request counts for, with its side in the comparison.
    fn each(&mut self, ticket: &Ticket, mut record: impl FnMut(Side, &mut Treatment)) {
        let is_stable = ticket.ordinal == self.stable;
        let concerned = |treatment: &&mut Treatment| {
            treatment.is_serving && (is_stable || treatment.ordinal == ticket.ordinal)
        };
        for treatment in self.treatments.iter_mut().filter(concerned) {
            record(if is_stable { Side::Stable } else { Side::Version }, treatment);
        }
    }

    /// Positions of the guarded versions that have something to merge.
    #[must_use]
    pub fn dirty(&self) -> Vec<usize> {
        let is_dirty = |treatment: &&Treatment| !treatment.pending.is_empty() || treatment.is_unsettled;
        self.treatments.iter().filter(is_dirty).map(|treatment| treatment.position).collect()
    }

    /// What is not merged yet for the guarded version at this position.
    pub(crate) fn pending(&self, position: usize) -> Option<&Pending> {
        self.treatments.get(position).map(|treatment| &treatment.pending)
    }

    /// Drops what has been merged, and learns from the record which claims were lost, what is slow and which units are known.
    pub fn merged(
        &mut self,
        guardrails: &Guardrails,
        position: usize,
        record: &SharedRecord,
        feedback: &Feedback,
    ) {
        let Some(treatment) = self.treatments.get_mut(position) else { return };
        let claims = treatment.pending.claims.iter().zip(&feedback.lost);
        claims.filter(|(_, is_lost)| **is_lost).for_each(|(published, _)| published.fate.lose(position));
        let claims = treatment.pending.pair_claims.iter().zip(&feedback.lost_pairs);
        claims.filter(|(_, is_lost)| **is_lost).for_each(|(published, _)| published.fate.lose(position));
        treatment.pending = Pending { split: treatment.pending.split, ..Pending::default() };
        treatment.thresholds = record.thresholds();
        treatment.judged_from_ms = record.judged_from_ms(guardrails);
        treatment.known = record.units().cloned();
        treatment.is_unsettled = feedback.is_unsettled;
    }
}

impl Treatment {
    fn begin(&mut self, side: Side, ticket: &Ticket) {
        if ticket.split != self.pending.split {
            if !ticket.split.continues(self.pending.split) {
                self.pending.counted.iter_mut().for_each(Counted::outlive);
            }
            self.pending.split = ticket.split;
        }
        match side {
            Side::Version => {
                self.pending.first_ms.get_or_insert(ticket.began_ms);
                if self.counts_runs {
                    self.pending.recent.units.add(ticket.unit);
                }
            }
            Side::Stable if self.is_of_run(side, ticket) => {
                let recent = &mut self.pending.recent;
                recent.begun = recent.begun.saturating_add(1);
                recent.begun_ms = ticket.began_ms;
            }
            Side::Stable => {}
        }
        if let Some(claim) = &ticket.claim {
            self.pending.claim(claim.clone(), self.position);
        }
    }

    fn end(&mut self, side: Side, ticket: &Ticket) {
        if side == Side::Stable && self.is_of_run(side, ticket) {
            self.pending.recent.ended = self.pending.recent.ended.saturating_add(1);
        }
    }

    /// True if the outcome of a request matters for failures in a row. Of stable, only what the split gave it does.
    fn is_of_run(&self, side: Side, ticket: &Ticket) -> bool {
        self.counts_runs && (side == Side::Version || ticket.is_drawn)
    }

    /// Counts an outcome for the totals and for failures in a row.
    fn count(&mut self, side: Side, ticket: &Ticket, outcome: Outcome) {
        self.end(side, ticket);
        if outcome.is_abandoned() {
            return;
        }
        let total = self.pending.of(side);
        *total = total.plus(Tally { observed: 1, bad: outcome.failed().into() });
        if !self.is_of_run(side, ticket) {
            return;
        }
        let Some(tick) = self.pending.recent.ticks.at(ticket.tick) else { return };
        match (side, outcome.failed()) {
            (Side::Version, true) => tick.fail(ticket.unit),
            (Side::Version, false) => tick.version.given = tick.version.given.saturating_add(1),
            (Side::Stable, true) => tick.stable_failures = tick.stable_failures.saturating_add(1),
            (Side::Stable, false) => tick.stable.given = tick.stable.given.saturating_add(1),
        }
    }

    /// Turns a success into a failure of now.
    fn take_back(&mut self, side: Side, ticket: &Ticket, now: Duration) {
        let total = self.pending.of(side);
        *total = total.plus(Tally { observed: 0, bad: 1 });
        if !self.is_of_run(side, ticket) {
            return;
        }
        let ticks = &mut self.pending.recent.ticks;
        if let Some(tick) = ticks.at(ticket.tick) {
            let successes = match side {
                Side::Version => &mut tick.version,
                Side::Stable => &mut tick.stable,
            };
            successes.taken_back = successes.taken_back.saturating_add(1);
        }
        if let Some(tick) = ticks.at(tick(now)) {
            match side {
                Side::Version => tick.fail(ticket.unit),
                Side::Stable => tick.stable_failures = tick.stable_failures.saturating_add(1),
            }
        }
    }

    /// True if rates judge this request: it began after the version had warmed up.
    fn judges(&self, ticket: &Ticket) -> bool {
        self.is_warm(ticket.began_ms)
    }

    fn is_warm(&self, began_ms: u64) -> bool {
        self.judged_from_ms.is_some_and(|from| began_ms >= from)
    }

    /// Counts a pair for each signal that judges mismatches.
    fn compare(&mut self, guardrails: &Guardrails, ticket: &PairTicket, is_mismatch: bool) {
        let first = self.pending.first_ms.map_or(ticket.began_ms, |first| first.min(ticket.began_ms));
        self.pending.first_ms = Some(first);
        if !self.is_warm(ticket.began_ms) {
            return;
        }
        let tally = Tally { observed: 1, bad: is_mismatch.into() };
        for ((_, rule), counted) in guardrails.rules().zip(&mut self.pending.counted) {
            if let Rule::ShadowMismatch { confidence: None, .. } = rule {
                counted.sides_of(true).version = counted.sides_of(true).version.plus(tally);
                counted.units.add(ticket.unit, is_mismatch);
            }
        }
        let claim = ticket.claim.as_ref().filter(|published| !published.fate.is_lost(self.position));
        if let Some(Published { claim, .. }) = claim {
            self.pending.offer_pair(SeenPair { claim: *claim, is_mismatch });
        }
    }

    /// Counts an outcome for each absolute signal. Returns the bits of the comparisons, without gaps, for which it is bad. `found`
    /// says what the outcome is for a measure at a position, with the latency above which an answer is slower than stable's. `None`
    /// if it does not count.
    fn count_rates(
        &mut self,
        guardrails: &Guardrails,
        side: Side,
        ticket: &Ticket,
        found: impl Fn(&Measure, usize, Option<Duration>) -> Option<Tally>,
    ) -> u16 {
        let (mut bits, mut place) = (0, 0);
        for (position, (_, rule)) in guardrails.rules().enumerate() {
            let Rule::Rate(measure, limit) = rule else { continue };
            let slow = self.thresholds.get(position).copied().flatten();
            let tally = found(measure, position, slow).unwrap_or_default();
            match limit {
                Limit::Share(_) if tally == Tally::default() => {}
                Limit::Share(_) => self.observe(position, tally, side, ticket),
                Limit::Increase { .. } => {
                    bits |= if tally.bad > 0 { bit(place) } else { 0 };
                    place = place.saturating_add(1);
                }
            }
        }
        bits
    }

    fn observe(&mut self, position: usize, tally: Tally, side: Side, ticket: &Ticket) {
        let is_current = self.pending.split.continues(ticket.split);
        let Some(counted) = self.pending.counted.get_mut(position) else { return };
        let sides = counted.sides_of(is_current);
        match side {
            Side::Version => {
                sides.version = sides.version.plus(tally);
                counted.units.add(ticket.unit, tally.bad > 0);
            }
            Side::Stable if ticket.is_drawn => sides.stable = sides.stable.plus(tally),
            Side::Stable => {}
        }
    }

    /// Offers a request as evidence, unless another worker claimed its bucket.
    fn offer(&mut self, ticket: &Ticket, observation: Observation) {
        let claim = ticket.claim.as_ref().filter(|published| !published.fate.is_lost(self.position));
        if let Some(Published { claim, .. }) = claim {
            self.pending.offer(Seen { claim: *claim, split: ticket.split, observation });
        }
    }

    /// Records a unit that the split drew.
    fn meet(&mut self, unit: Unit, split: SplitMark) {
        let Some(known) = self.known.as_mut().filter(|known| known.wants(unit.hash)) else { return };
        known.add(unit.hash, unit.is_own);
        self.pending.meet(unit, split);
    }
}
