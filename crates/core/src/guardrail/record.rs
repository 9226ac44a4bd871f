//! The record of one guarded version: what all workers of a proxy know together, from the first request of its epoch.
//!
//! A record is a value. `merge` reads it, adds what a worker has recorded, and returns the new record; the caller writes it
//! back only if no other worker wrote meanwhile. The merge that closes a slot of evidence also judges it, so each slot is
//! judged exactly once.

use std::time::Duration;

use super::claim::{Claim, Claimed};
use super::codec::{Reader, Writer};
use super::evidence::Evidence;
use super::judge::Judge;
use super::mismatch::{Admission, SeenPair};
use super::pending::{Pending, Seen};
use super::sample_ratio::SampleRatio;
use super::setting::{Setting, SplitMark};
use super::sketch::Sketch;
use super::streak::{Circumstances, Streak};
use super::tally::{Basis, Sides, Tally};
use super::verdict::{Finding, Verdict};
use super::window::{Ring, slot};
use crate::hash::bucket::Ppm;
use crate::plan::guardrails::{Guardrails, Limit, MAX_SIGNALS, Measure, Rule, bit};
use crate::time::milliseconds;

/// What a merge found.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Found {
    /// Signals that condemn the version, each for the first time in this epoch.
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) observed: Vec<Observed>,
    pub(crate) withheld: Vec<Withheld>,
    pub(crate) feedback: Feedback,
}

/// What a worker learns from a merge, besides the record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Feedback {
    /// For each claim of the worker, true if another worker came first.
    pub(crate) lost: Vec<bool>,
    /// The same for claims of pairs.
    pub(crate) lost_pairs: Vec<bool>,
    /// True if a later merge may find more, even if nothing else is recorded.
    pub(crate) is_unsettled: bool,
}

/// What a signal got to judge in this merge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// Position of the signal.
    pub position: usize,
    /// Both sides. If the signal does not compare, stable's side has only what the split gave it.
    pub sides: Sides,
}

/// A verdict that is withheld: a rollback would not help, because stable is as bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Withheld {
    /// The verdict.
    pub verdict: Verdict,
    /// True if the last merge did not withhold it.
    pub is_new: bool,
    /// True if it is time for a line in the log: at most one per minute and version.
    pub is_due: bool,
}

/// Starts every record, so that records of another layout are not read. Greater than any count.
const LAYOUT: u64 = 0x726f_6c6c_6f75_7405;

/// Interval of log lines about withheld verdicts.
const SAID_EVERY_MS: u64 = 60_000;

/// The shared state of one version's guardrails.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedRecord {
    /// When the version's first request began, in any epoch. Zero if there was none.
    first_ms: u64,
    totals: [Tally; 2],
    /// Bits of the signals that have tripped.
    tripped: u16,
    /// Bits of the signals whose verdict is withheld.
    withheld: u16,
    /// When the log last said so.
    said_ms: u64,
    /// The split at the last merge.
    split: SplitMark,
    judge: Judge,
    streak: Option<Streak>,
    claimed: Option<Claimed>,
    evidence: Option<Evidence>,
    baseline: Option<Baseline>,
    units: Option<SampleRatio>,
    /// Which pairs count, if a signal tests their mismatches.
    admission: Option<Admission>,
}

/// Stable's latency in the last slots, and the thresholds that follow from it.
#[derive(Debug, Clone, PartialEq)]
struct Baseline {
    slots: Ring<Sketch>,
    /// Thresholds in microseconds, by signal. Zero means not known yet.
    thresholds: [u64; MAX_SIGNALS],
}

impl SharedRecord {
    /// The record of a version that has served no request yet.
    #[must_use]
    pub fn new(guardrails: &Guardrails, now: Duration) -> Self {
        let bases = guardrails.bases();
        let compares = !bases.is_empty();
        Self {
            first_ms: 0,
            totals: [Tally::default(); 2],
            tripped: 0,
            withheld: 0,
            said_ms: 0,
            split: SplitMark::default(),
            judge: Judge::new(guardrails),
            streak: guardrails.counts_runs().then(|| Streak::new(now)),
            claimed: compares.then(Claimed::default),
            evidence: compares.then(|| Evidence::new(&bases, milliseconds(now))),
            baseline: guardrails.compares_latency().then(Baseline::new),
            units: guardrails.counts_units().then(|| SampleRatio::new(0)),
            admission: guardrails.tests_pairs().then(Admission::default),
        }
    }

    /// All answers and failures of the version and of stable.
    #[must_use]
    pub fn totals(&self) -> [Tally; 2] {
        self.totals
    }

    /// When the version's first request began, in milliseconds since 1970. `None` if there was none.
    fn first_ms(&self) -> Option<u64> {
        Some(self.first_ms).filter(|first| *first > 0)
    }

    /// The same of a record in these bytes, whatever its guardrails are.
    pub(crate) fn first_ms_in(bytes: &[u8]) -> Option<u64> {
        let mut bytes = Reader::new(bytes);
        let is_known = bytes.number()? == LAYOUT;
        bytes.number().filter(|first| is_known && *first > 0)
    }

    /// Notes when a request of the version began.
    pub(crate) fn began(&mut self, at_ms: u64) {
        self.first_ms = self.first_ms().map_or(at_ms, |first| first.min(at_ms));
    }

    /// Rates judge requests that began at this time or later. `None` if the version has had no request.
    pub(crate) fn judged_from_ms(&self, guardrails: &Guardrails) -> Option<u64> {
        if guardrails.warm_up.is_zero() {
            return Some(0);
        }
        self.first_ms().map(|first| first.saturating_add(milliseconds(guardrails.warm_up)))
    }

    /// Bits of the signals that wait for the version to warm up.
    #[must_use]
    pub fn warming_up(&self, guardrails: &Guardrails, now: Duration) -> u16 {
        let is_warm = self.judged_from_ms(guardrails).is_none_or(|from| from <= milliseconds(now));
        let rates = guardrails
            .rules()
            .filter(|(_, rule)| matches!(rule, Rule::Rate(..) | Rule::ShadowMismatch { .. }));
        if is_warm { 0 } else { rates.fold(0, |bits, (bit, _)| bits | bit) }
    }

    /// Bits of the signals whose verdict is withheld.
    #[must_use]
    pub fn withheld(&self) -> u16 {
        self.withheld
    }

    fn is_unsettled(&self, setting: &Setting<'_>) -> bool {
        self.streak.as_ref().is_some_and(Streak::is_unsettled)
            || self.withheld != 0
            || self.warming_up(setting.guardrails, setting.now) != 0
    }

    /// Adds what a worker has recorded, and judges it.
    pub(crate) fn merge(&mut self, pending: &Pending, setting: &Setting<'_>) -> Found {
        let guardrails = setting.guardrails;
        if let Some(first) = pending.first_ms {
            self.began(first);
        }
        for (total, counts) in self.totals.iter_mut().zip([pending.version, pending.stable]) {
            *total = total.plus(counts);
        }
        if let Some(streak) = &mut self.streak {
            let (now, window) = (setting.now, guardrails.window);
            streak.merge(&pending.recent, Circumstances { now, window, gives_stable: setting.gives_stable });
        }
        if !setting.split.continues(std::mem::replace(&mut self.split, setting.split)) {
            self.judge.change_split();
        }
        let mut observed = Vec::new();
        for ((position, (_, rule)), counted) in guardrails.rules().enumerate().zip(&pending.counted) {
            if let Rule::Rate(_, Limit::Share(_)) | Rule::ShadowMismatch { confidence: None, .. } = rule {
                let mut counted = counted.clone();
                if !setting.split.continues(pending.split) {
                    counted.outlive();
                }
                self.judge.observe_units(guardrails, position, &counted, setting.now);
                observed.push(Observed { position, sides: counted.total() });
            }
        }
        let lost = self.take_claims(pending);
        for slot in self.gather_evidence(pending, &lost, setting) {
            for ((position, _), sides) in guardrails.comparisons().zip(slot) {
                self.judge.observe(guardrails, position, sides, setting.now);
                observed.push(Observed { position, sides });
            }
        }
        let lost_pairs = self.gather_pairs(pending, setting, &mut observed);
        if let Some(baseline) = &mut self.baseline {
            baseline.add(guardrails, slot(guardrails.window, setting.now), &pending.latencies);
        }
        self.gather_units(pending, setting);
        observed.retain(|of| of.sides != Sides::default());
        let (verdicts, withheld) = (self.verdicts(setting), self.withhold(setting));
        Found {
            verdicts,
            observed,
            withheld,
            feedback: Feedback { lost, lost_pairs, is_unsettled: self.is_unsettled(setting) },
        }
    }

    /// For each claim of a worker, true if another worker came first.
    fn take_claims(&mut self, pending: &Pending) -> Vec<bool> {
        let Some(claimed) = &mut self.claimed else { return Vec::new() };
        pending.claims.iter().map(|published| !claimed.take(published.claim)).collect()
    }

    /// The slots that are over, each with the tallies of every comparison. On both sides, only requests that started under
    /// the current split count.
    fn gather_evidence(
        &mut self,
        pending: &Pending,
        lost: &[bool],
        setting: &Setting<'_>,
    ) -> Vec<Vec<Sides>> {
        let Some(evidence) = &mut self.evidence else { return Vec::new() };
        let now = milliseconds(setting.now);
        let before = evidence.close_overdue(now).or_else(|| evidence.change_split(setting.split, now));
        let claims = pending.claims.iter().map(|published| published.claim);
        let lost: Vec<Claim> = claims.zip(lost).filter_map(|(claim, lost)| lost.then_some(claim)).collect();
        let counts = |seen: &&Seen| setting.split.continues(seen.split) && !lost.contains(&seen.claim);
        for seen in pending.observations.iter().filter(counts) {
            evidence.offer(seen.claim.side, seen.observation);
        }
        before.into_iter().chain(evidence.close(now)).collect()
    }

    /// Judges the pairs that count. For each claim of a pair, true if another worker came first.
    fn gather_pairs(
        &mut self,
        pending: &Pending,
        setting: &Setting<'_>,
        observed: &mut Vec<Observed>,
    ) -> Vec<bool> {
        let Some(admission) = &mut self.admission else { return Vec::new() };
        let claims = pending.pair_claims.iter().map(|published| published.claim);
        let lost: Vec<bool> = claims.clone().map(|claim| !admission.take(claim)).collect();
        let out: Vec<Claim> = claims.zip(&lost).filter_map(|(claim, lost)| lost.then_some(claim)).collect();
        let counts = |seen: &SeenPair| !out.contains(&seen.claim);
        let version = admission.admit(pending.pairs.iter().copied().filter(counts));
        let sides = Sides { version, ..Sides::default() };
        for (position, (_, rule)) in setting.guardrails.rules().enumerate() {
            if let Rule::ShadowMismatch { confidence: Some(_), .. } = rule {
                self.judge.observe(setting.guardrails, position, sides, setting.now);
                observed.push(Observed { position, sides });
            }
        }
        lost
    }

    fn gather_units(&mut self, pending: &Pending, setting: &Setting<'_>) {
        let Some(units) = &mut self.units else { return };
        units.restart_if(setting.split.fingerprint());
        for unit in pending.units.iter().filter(|_| pending.drawn_by == setting.split) {
            units.add(unit.hash, unit.is_own);
        }
    }

    /// The signals that condemn the version for the first time.
    fn verdicts(&mut self, setting: &Setting<'_>) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (position, (bit, rule)) in setting.guardrails.rules().enumerate() {
            if self.tripped & bit != 0 {
                continue;
            }
            let verdict = match rule {
                Rule::Rate(..) | Rule::ShadowMismatch { .. } => {
                    self.judge.verdict(setting.guardrails, position)
                }
                Rule::ConsecutiveFailures(limit) => self.consecutive_verdict(position, *limit),
                Rule::SampleRatio { confidence } => self.ratio_verdict(position, *confidence, setting.share),
            };
            if verdict.is_some() {
                self.tripped |= bit;
            }
            verdicts.extend(verdict);
        }
        verdicts
    }

    fn consecutive_verdict(&self, position: usize, limit: u64) -> Option<Verdict> {
        let failures = self.streak.as_ref()?.run(limit);
        let finding = Finding::Consecutive { failures, limit };
        (failures >= limit).then_some(Verdict { position, finding })
    }

    /// The verdicts that are withheld now.
    fn withhold(&mut self, setting: &Setting<'_>) -> Vec<Withheld> {
        let guardrails = setting.guardrails;
        let untripped = guardrails.rules().enumerate().filter(|(_, (bit, _))| self.tripped & bit == 0);
        let verdicts: Vec<Verdict> =
            untripped.filter_map(|(position, _)| self.judge.withheld(guardrails, position)).collect();
        let before = std::mem::take(&mut self.withheld);
        let now = milliseconds(setting.now);
        let is_due = !verdicts.is_empty() && now.abs_diff(self.said_ms) >= SAID_EVERY_MS;
        if is_due {
            self.said_ms = now;
        }
        let withheld = verdicts.into_iter().map(|verdict| {
            let own = bit(verdict.position);
            self.withheld |= own;
            Withheld { verdict, is_new: before & own == 0, is_due }
        });
        withheld.collect()
    }

    fn ratio_verdict(&self, position: usize, confidence: f64, share: Option<Ppm>) -> Option<Verdict> {
        let (units, share) = self.units.as_ref().zip(share)?;
        let share = f64::from(share.get()) / 1e6;
        let [own, rest] = units.draws().map(u64::from);
        let finding =
            Finding::SampleRatio { units: Tally { observed: own.saturating_add(rest), bad: own }, share };
        units.trips(share, confidence).then_some(Verdict { position, finding })
    }

    /// From which latency an answer is slow, by signal. `None` if stable has too few answers.
    pub(crate) fn thresholds(&self) -> [Option<Duration>; MAX_SIGNALS] {
        let known = |micros: u64| Some(Duration::from_micros(micros)).filter(|_| micros > 0);
        self.baseline.as_ref().map_or([None; MAX_SIGNALS], |baseline| baseline.thresholds.map(known))
    }

    /// The units seen so far. `None` if no signal counts them.
    pub(crate) fn units(&self) -> Option<&SampleRatio> {
        self.units.as_ref()
    }

    /// The record as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(LAYOUT);
        out.number(self.first_ms);
        self.totals.iter().for_each(|total| total.encode(&mut out));
        for number in [self.tripped.into(), self.withheld.into(), self.said_ms] {
            out.number(number);
        }
        self.split.encode(&mut out);
        self.judge.encode(&mut out);
        self.streak.iter().for_each(|streak| streak.encode(&mut out));
        self.claimed.iter().for_each(|claimed| claimed.encode(&mut out));
        self.evidence.iter().for_each(|evidence| evidence.encode(&mut out));
        self.baseline.iter().for_each(|baseline| baseline.encode(&mut out));
        self.units.iter().for_each(|units| units.encode(&mut out));
        self.admission.iter().for_each(|admission| admission.encode(&mut out));
        out.finish()
    }

    /// The record in these bytes. `None` if they are not a record of these guardrails.
    #[must_use]
    pub fn decode(guardrails: &Guardrails, bytes: &[u8]) -> Option<Self> {
        let mut record = Self::new(guardrails, Duration::ZERO);
        let mut bytes = Reader::new(bytes);
        if bytes.number()? != LAYOUT {
            return None;
        }
        record.first_ms = bytes.number()?;
        for total in &mut record.totals {
            *total = Tally::decode(&mut bytes)?;
        }
        record.tripped = bytes.narrow()?;
        record.withheld = bytes.narrow()?;
        record.said_ms = bytes.number()?;
        record.split = SplitMark::decode(&mut bytes)?;
        record.judge = Judge::decode(guardrails, &mut bytes)?;
        if let Some(streak) = &mut record.streak {
            *streak = Streak::decode(&mut bytes)?;
        }
        if let Some(claimed) = &mut record.claimed {
            *claimed = Claimed::decode(&mut bytes)?;
        }
        if let Some(evidence) = &mut record.evidence {
            *evidence = Evidence::decode(&guardrails.bases(), &mut bytes)?;
        }
        if let Some(baseline) = &mut record.baseline {
            *baseline = Baseline::decode(&mut bytes)?;
        }
        if let Some(units) = &mut record.units {
            *units = SampleRatio::decode(&mut bytes)?;
        }
        if let Some(admission) = &mut record.admission {
            *admission = Admission::decode(&mut bytes)?;
        }
        Some(record)
    }
}

impl Guardrails {
    /// What each signal that compares counts, in document order.
    fn bases(&self) -> Vec<Basis> {
        self.comparisons().map(|(_, measure)| measure.basis()).collect()
    }
}

impl Baseline {
    fn new() -> Self {
        Self { slots: Ring::default(), thresholds: [0; MAX_SIGNALS] }
    }

    /// Adds stable's answers. When a slot starts, earlier slots set the threshold, so an answer never affects its own threshold.
    fn add(&mut self, guardrails: &Guardrails, slot: u64, answers: &Sketch) {
        if self.slots.begins(slot) {
            self.set_thresholds(guardrails);
        }
        if let Some(sketch) = self.slots.at(slot) {
            sketch.merge(answers);
        }
    }

    fn set_thresholds(&mut self, guardrails: &Guardrails) {
        let mut all = Sketch::default();
        self.slots.slots().iter().for_each(|sketch| all.merge(sketch));
        if all.count() < guardrails.min_requests {
            return; // the old threshold is a better guess than one from a few answers
        }
        for ((_, rule), threshold) in guardrails.rules().zip(&mut self.thresholds) {
            if let Rule::Rate(Measure::LongerThanStable { quantile, ratio }, _) = rule {
                *threshold = all.quantile(*quantile).map_or(0, |micros| (micros * ratio) as u64);
            }
        }
    }

    fn encode(&self, out: &mut Writer) {
        self.thresholds.iter().for_each(|threshold| out.number(*threshold));
        self.slots.encode(out, Sketch::encode);
    }

    fn decode(bytes: &mut Reader<'_>) -> Option<Self> {
        let mut baseline = Self::new();
        for threshold in &mut baseline.thresholds {
            *threshold = bytes.number()?;
        }
        baseline.slots = Ring::decode(bytes, Sketch::decode)?;
        Some(baseline)
    }
}
