//! The record of one guarded version: what all workers of a proxy know together, from the first request of its epoch.
//!
//! A record is a value. `merge` reads it, adds what a worker has recorded, and returns the new record; the caller writes it
//! back only if no other worker wrote meanwhile. The merge that closes a slot of evidence also judges it, so each slot is
//! judged exactly once.

use std::time::Duration;

use super::codec::{Reader, Writer};
use super::evidence::Evidence;
use super::judge::Judge;
use super::pending::Pending;
use super::sample_ratio::SampleRatio;
use super::setting::Setting;
use super::sketch::Sketch;
use super::streak::Report;
use super::tally::{Basis, Sides, Tally};
use super::verdict::{Finding, Verdict};
use super::window::{Ring, slot};
use crate::hash::bucket::Ppm;
use crate::plan::guardrails::{Guardrails, Limit, MAX_SIGNALS, Measure, Rule};

/// What a merge found.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Found {
    /// Signals that condemn the version, each for the first time in this epoch.
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) observed: Vec<Observed>,
}

/// What a signal got to judge in this merge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// Position of the signal.
    pub position: usize,
    /// The version's side.
    pub version: Tally,
    /// Stable's side, if the signal compares.
    pub stable: Option<Tally>,
}

/// Starts every record, so that records of another layout are not read. Greater than any count.
const LAYOUT: u64 = 0x726f_6c6c_6f75_7402;

/// The shared state of one version's guardrails.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedRecord {
    totals: [Tally; 2],
    /// Failures since the last merge that contained a success.
    consecutive: u64,
    /// Bits of the signals that have tripped.
    tripped: u16,
    judge: Judge,
    evidence: Option<Evidence>,
    baseline: Option<Baseline>,
    units: Option<SampleRatio>,
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
        let now = milliseconds(now);
        let bases = guardrails.bases();
        Self {
            totals: [Tally::default(); 2],
            consecutive: 0,
            tripped: 0,
            judge: Judge::new(guardrails),
            evidence: (!bases.is_empty()).then(|| Evidence::new(&bases, now)),
            baseline: guardrails.compares_latency().then(Baseline::new),
            units: guardrails.counts_units().then(|| SampleRatio::new(0)),
        }
    }

    /// All requests and failures of the version and of stable.
    #[must_use]
    pub fn totals(&self) -> [Tally; 2] {
        self.totals
    }

    /// Adds what a worker has recorded, and judges it.
    pub(crate) fn merge(&mut self, pending: &Pending, streak: Report, setting: &Setting<'_>) -> Found {
        let guardrails = setting.guardrails;
        let mut observed = Vec::new();
        for (total, counts) in self.totals.iter_mut().zip([&pending.version, &pending.stable]) {
            *total = total.plus(Tally { observed: counts.requests, bad: counts.failures });
        }
        self.consecutive = match streak {
            Report::Broken => 0,
            Report::Unknown => self.consecutive,
            Report::Failures(failures) => self.consecutive.saturating_add(failures),
        };
        for (position, (_, rule)) in guardrails.rules().enumerate() {
            let Rule::Rate(measure, Limit::Share(_)) = rule else { continue };
            let version = pending.version.tally(measure, position);
            observed.push(Observed { position, version, stable: None });
        }
        for slot in self.gather_evidence(pending, setting) {
            let compared = guardrails.comparisons().zip(slot);
            observed.extend(compared.map(|((position, _), sides)| Observed {
                position,
                version: sides.version,
                stable: Some(sides.stable),
            }));
        }
        if let Some(baseline) = &mut self.baseline {
            baseline.add(guardrails, slot(guardrails.window, setting.now), &pending.latencies);
        }
        self.gather_units(pending, setting);
        for of in &observed {
            let both = Sides { version: of.version, stable: of.stable.unwrap_or_default() };
            self.judge.observe(guardrails, of.position, both, setting.now);
        }
        observed.retain(|of| of.version != Tally::default() || of.stable.is_some());
        Found { verdicts: self.verdicts(setting), observed }
    }

    /// The slots that are over, each with the tallies of every comparison. On both sides, only requests that started under
    /// the current split count.
    fn gather_evidence(&mut self, pending: &Pending, setting: &Setting<'_>) -> Vec<Vec<Sides>> {
        let Some(evidence) = &mut self.evidence else { return Vec::new() };
        let now = milliseconds(setting.now);
        let before = evidence.close_overdue(now).or_else(|| evidence.change_split(setting.split, now));
        for seen in pending.observations.iter().filter(|seen| setting.split.continues(seen.split)) {
            evidence.offer(seen.side, seen.observation);
        }
        before.into_iter().chain(evidence.close(now)).collect()
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
                Rule::Rate(..) => self.judge.verdict(setting.guardrails, position),
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
        let finding = Finding::Consecutive { failures: self.consecutive, limit };
        (self.consecutive >= limit).then_some(Verdict { position, finding })
    }

    fn ratio_verdict(&self, position: usize, confidence: f64, share: Option<Ppm>) -> Option<Verdict> {
        let (units, share) = self.units.as_ref().zip(share)?;
        let share = f64::from(share.get()) / 1e6;
        let [own, rest] = units.draws().map(u64::from);
        let finding =
            Finding::SampleRatio { units: Tally { observed: own.saturating_add(rest), bad: own }, share };
        units.trips(share, confidence).then_some(Verdict { position, finding })
    }

    /// True if failures in a row have tripped.
    pub(crate) fn is_condemned(&self, guardrails: &Guardrails) -> bool {
        let is_tripped = |(bit, rule): (u16, &Rule)| {
            matches!(rule, Rule::ConsecutiveFailures(_)) && self.tripped & bit != 0
        };
        guardrails.rules().any(is_tripped)
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
        self.totals.iter().for_each(|total| total.encode(&mut out));
        out.number(self.consecutive);
        out.number(self.tripped.into());
        self.judge.encode(&mut out);
        self.evidence.iter().for_each(|evidence| evidence.encode(&mut out));
        self.baseline.iter().for_each(|baseline| baseline.encode(&mut out));
        self.units.iter().for_each(|units| units.encode(&mut out));
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
        for total in &mut record.totals {
            *total = Tally::decode(&mut bytes)?;
        }
        record.consecutive = bytes.number()?;
        record.tripped = u16::try_from(bytes.number()?).ok()?;
        record.judge = Judge::decode(guardrails, &mut bytes)?;
        if let Some(evidence) = &mut record.evidence {
            *evidence = Evidence::decode(&guardrails.bases(), &mut bytes)?;
        }
        if let Some(baseline) = &mut record.baseline {
            *baseline = Baseline::decode(&mut bytes)?;
        }
        if let Some(units) = &mut record.units {
            *units = SampleRatio::decode(&mut bytes)?;
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

fn milliseconds(now: Duration) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
