//! The record of one guarded version: what all workers together know, from the first request of its epoch on.
//!
//! A record is a value. A worker reads it, merges what it has recorded itself, and writes it back if nobody else has meanwhile; whoever
//! closes a block of evidence judges it, so every block is judged exactly once.

use std::time::Duration;

use super::codec::{Reader, Writer};
use super::evidence::{Basis, Evidence};
use super::judge::Judge;
use super::sample_ratio::Ratio;
use super::sketch::Sketch;
use super::streak::Report;
use super::tally::{Closed, Tally};
use super::verdict::{Finding, Verdict};
use super::window::{Ring, slot};
use super::worker::{Counts, Pending};
use super::{Guardrails, Limit, MAX_SIGNALS, Measure, Rule};
use crate::hash::bucket::Ppm;

/// What a merge depends on beside the counts.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'s> {
    /// The rollout's guardrails.
    pub guardrails: &'s Guardrails,
    /// Time since 1970.
    pub now: Duration,
    /// The share of all units that the document gives the version now; none while a ramp runs.
    pub share: Option<Ppm>,
    /// What the split is like: a number that changes with it.
    pub split: u64,
}

/// What a merge has found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Merged {
    /// Signals that condemn the version, each for the first time in this epoch.
    pub verdicts: Vec<Verdict>,
    /// What each signal has been given to judge: its position, the version's side, and stable's where it compares.
    pub observed: Vec<(usize, Tally, Option<Tally>)>,
}

/// The shared state of one version's guardrails.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    totals: [Tally; 2],
    /// Failures since the last merge that contained a success.
    consecutive: u64,
    /// Bits of the signals that have tripped.
    tripped: u16,
    judge: Judge,
    evidence: Option<Evidence>,
    baseline: Option<Baseline>,
    units: Option<Ratio>,
}

/// Stable's latency of the last slots, and what of it is too slow.
#[derive(Debug, Clone, PartialEq)]
struct Baseline {
    slots: Ring<Sketch>,
    /// Microseconds by signal; zero: not known yet.
    thresholds: [u64; MAX_SIGNALS],
}

impl Record {
    /// The record of a version that has served nobody yet.
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
            units: guardrails.counts_units().then(|| Ratio::new(0)),
        }
    }

    /// All requests and failures of the version and of stable.
    #[must_use]
    pub fn totals(&self) -> [Tally; 2] {
        self.totals
    }

    pub(crate) fn merge(&mut self, pending: &Pending, streak: Report, setting: &Setting<'_>) -> Merged {
        let guardrails = setting.guardrails;
        let mut observed = Vec::new();
        for (total, counts) in self.totals.iter_mut().zip(&pending.counts) {
            *total = total.plus(Tally { observed: counts.requests, bad: counts.failures });
        }
        self.consecutive = match streak {
            Report::Broken => 0,
            Report::Unknown => self.consecutive,
            Report::Failures(failures) => self.consecutive.saturating_add(failures),
        };
        let [version, _] = &pending.counts;
        for (position, (_, rule)) in guardrails.rules().enumerate() {
            let Rule::Rate(measure, Limit::Share(_)) = rule else { continue };
            observed.push((position, version.tally(measure, position), None));
        }
        self.gather_evidence(pending, setting, &mut observed);
        if let Some(baseline) = &mut self.baseline {
            baseline.add(guardrails, slot(guardrails.window, setting.now), &pending.latencies);
        }
        self.gather_units(pending, setting);
        for (position, version, stable) in &observed {
            let both = Closed { version: *version, stable: stable.unwrap_or_default() };
            self.judge.observe(guardrails, (*position, both), setting.now);
        }
        observed.retain(|(_, version, stable)| *version != Tally::default() || stable.is_some());
        Merged { verdicts: self.verdicts(setting), observed }
    }

    fn gather_evidence(
        &mut self,
        pending: &Pending,
        setting: &Setting<'_>,
        observed: &mut Vec<(usize, Tally, Option<Tally>)>,
    ) {
        let Some(evidence) = &mut self.evidence else { return };
        let now = milliseconds(setting.now);
        let overdue = evidence.close_overdue(now);
        for (side, observation) in &pending.observations {
            evidence.offer(*side, *observation);
        }
        let Some(closed) = overdue.or_else(|| evidence.close(now)) else { return };
        for ((position, _), tallies) in setting.guardrails.comparisons().zip(closed) {
            observed.push((position, tallies.version, Some(tallies.stable)));
        }
    }

    fn gather_units(&mut self, pending: &Pending, setting: &Setting<'_>) {
        let Some(units) = &mut self.units else { return };
        units.restart_if(setting.split);
        for (hash, is_own) in &pending.units {
            units.add(*hash, *is_own);
        }
    }

    /// Signals that condemn the version and have not done so before.
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

    /// True where failures in a row have tripped.
    pub(crate) fn is_condemned(&self, guardrails: &Guardrails) -> bool {
        let is_tripped = |(bit, rule): (u16, &Rule)| {
            matches!(rule, Rule::ConsecutiveFailures(_)) && self.tripped & bit != 0
        };
        guardrails.rules().any(is_tripped)
    }

    /// What is slow, by signal; none where stable has not been seen enough.
    pub(crate) fn thresholds(&self) -> [Option<Duration>; MAX_SIGNALS] {
        let known = |micros: u64| Some(Duration::from_micros(micros)).filter(|_| micros > 0);
        self.baseline.as_ref().map_or([None; MAX_SIGNALS], |baseline| baseline.thresholds.map(known))
    }

    /// The units met so far, where a signal counts them.
    pub(crate) fn units(&self) -> Option<&Ratio> {
        self.units.as_ref()
    }

    /// The record as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.totals.iter().for_each(|total| total.encode(&mut out));
        out.number(self.consecutive);
        out.number(self.tripped.into());
        self.judge.encode(&mut out);
        self.evidence.iter().for_each(|evidence| evidence.encode(&mut out));
        self.baseline.iter().for_each(|baseline| baseline.encode(&mut out));
        self.units.iter().for_each(|units| units.encode(&mut out));
        out.finish()
    }

    /// The record that these guardrails have written; none if the bytes are nothing of the kind.
    #[must_use]
    pub fn decode(guardrails: &Guardrails, bytes: &[u8]) -> Option<Self> {
        let mut record = Self::new(guardrails, Duration::ZERO);
        let mut bytes = Reader::new(bytes);
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
            *units = Ratio::decode(&mut bytes)?;
        }
        Some(record)
    }
}

impl Counts {
    /// What a signal that is no comparison looks at.
    fn tally(&self, measure: &Measure, position: usize) -> Tally {
        let observed = match measure.basis() {
            Basis::Requests => self.requests,
            Basis::Answers => self.answers,
        };
        Tally { observed, bad: self.bad.get(position).copied().unwrap_or(0) }
    }
}

impl Guardrails {
    /// What each signal that compares counts, in document order.
    fn bases(&self) -> Vec<Basis> {
        self.comparisons().map(|(_, measure)| measure.basis()).collect()
    }
}

impl Measure {
    /// What it is a share of.
    fn basis(&self) -> Basis {
        match self {
            Self::Failure => Basis::Requests,
            Self::LongerThan(_) | Self::LongerThanStable { .. } | Self::Header(_) => Basis::Answers,
        }
    }
}

impl Baseline {
    fn new() -> Self {
        Self { slots: Ring::default(), thresholds: [0; MAX_SIGNALS] }
    }

    /// Adds stable's answers. When a slot begins, those before it say what is slow: never an answer about itself.
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
            return; // what was slow before is a better guess than a few answers
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
