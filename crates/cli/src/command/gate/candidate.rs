//! One version under judgement: what all proxies have observed of it so far, and the objections.

use std::collections::BTreeSet;
use std::time::Duration;

use rollout_core::guardrail::{
    Action, Finding, FleetJudge, Guarded, Guardrails, Limit, Rule, Sides, Verdict,
};
use rollout_core::{Ppm, Rollout, Time, Version};

use super::proxies::{Counted, Proxies};
use crate::args;
use crate::fleet::{self, Counts, VersionName};
use crate::output;

/// Seconds by which a proxy may be late in raising an exposure.
const SLACK: u64 = 5;

/// The longest time that comparisons take for one slot, as in the proxies: what is compared must have happened at about the
/// same time. If a proxy was silent for longer, comparisons leave out what it counted meanwhile.
const LONGEST_SLOT: Duration = Duration::from_secs(10);

/// A version, its judge, and the sums.
pub(super) struct Candidate<'p> {
    pub(super) rollout: &'p Rollout,
    pub(super) guardrails: &'p Guardrails,
    guarded: &'p Guarded,
    pub(super) version: &'p Version,
    pub(super) name: VersionName,
    judge: FleetJudge,
    /// Counted since the start.
    pub(super) counts: Counts,
    /// The first verdict of each signal that has condemned the version; its window may have moved on since.
    condemned: Vec<Verdict>,
    /// Proxies that have rolled the version back.
    rolled_back_on: Vec<String>,
    /// Proxies that expose less of it than the document, in this round and the one before. A proxy that has just taken the document
    /// may report the document before the exposure.
    frozen_on: Vec<String>,
    low_on: Vec<String>,
    /// For each signal, the proxies that withhold its verdict now, and those where it waits for the version to warm up.
    withheld_on: Vec<Vec<String>>,
    warming_up_on: Vec<Vec<String>>,
}

impl<'p> Candidate<'p> {
    pub(super) fn new(rollout: &'p Rollout, guardrails: &'p Guardrails, guarded: &'p Guarded) -> Self {
        let version: &Version = &guarded.version;
        Self {
            rollout,
            guardrails,
            guarded,
            version,
            name: VersionName::new(rollout.name(), version.name()),
            judge: FleetJudge::new(guardrails),
            counts: Counts::default(),
            condemned: Vec::new(),
            rolled_back_on: Vec::new(),
            frozen_on: Vec::new(),
            low_on: Vec::new(),
            withheld_on: Vec::new(),
            warming_up_on: Vec::new(),
        }
    }

    /// Adds what the proxies have counted since the previous round. `now` only has to grow.
    pub(super) fn take(&mut self, proxies: &Proxies<'_>, now: Duration) {
        let counted = proxies.counted(&self.name);
        for (position, signal) in self.guardrails.signals().iter().enumerate() {
            let is_compared = self.compares(position);
            let observed = |of: &Counted| match of.counts.signals.get(signal.name()) {
                Some(signal) if !is_compared || of.took <= LONGEST_SLOT => signal.seen,
                Some(_) | None => Sides::default(),
            };
            let observed: Vec<Sides> = counted.iter().map(observed).collect();
            self.judge.observe(self.guardrails, position, &observed, now);
            if self.condemned(position).is_none() {
                self.condemned.extend(self.judge.verdict(self.guardrails, position));
            }
        }
        self.counts = counted.iter().fold(self.counts.clone(), |sum, of| sum.plus(&of.counts));
        self.take_latches(proxies);
        self.withheld_on = self.listed(proxies, |of| &of.withheld);
        self.warming_up_on = self.listed(proxies, |of| &of.warming_up);
    }

    /// For each signal, the proxies that list it.
    fn listed(
        &self,
        proxies: &Proxies<'_>,
        list: fn(&fleet::Version) -> &BTreeSet<String>,
    ) -> Vec<Vec<String>> {
        let on = |position: usize| {
            let listed =
                proxies.now(&self.name).filter(|(_, of)| list(of).contains(self.signal_name(position)));
            listed.map(|(proxy, _)| proxy.to_owned()).collect()
        };
        (0..self.guardrails.signals().len()).map(on).collect()
    }

    fn take_latches(&mut self, proxies: &Proxies<'_>) {
        let least = self.exposure();
        let (mut rolled_back, mut low) = (Vec::new(), Vec::new());
        for (name, known) in proxies.now(&self.name) {
            if known.is_rolled_back == Some(true) {
                rolled_back.push(name.to_owned());
            } else if known.exposure.is_some_and(|exposure| exposure < least) {
                low.push(name.to_owned());
            }
        }
        self.frozen_on = low.iter().filter(|name| self.low_on.contains(name)).cloned().collect();
        self.rolled_back_on = rolled_back;
        self.low_on = low;
    }

    /// The least that a proxy exposes, even if it is a few seconds late or its clock is slow.
    fn exposure(&self) -> Ppm {
        let now = args::now();
        let earlier = Time::from_seconds(now.seconds().saturating_sub(SLACK));
        [now, earlier]
            .map(|time| self.rollout.exposure(self.version, time))
            .into_iter()
            .min()
            .unwrap_or(Ppm::ZERO)
    }

    /// The proxies that have rolled the version back or keep it below the document's exposure.
    pub(super) fn latched_on(&self) -> Vec<String> {
        [self.rolled_back_on.as_slice(), self.frozen_on.as_slice()].concat()
    }

    /// The requests that count: forced ones are not the version's own traffic.
    pub(super) fn requests(&self) -> u64 {
        self.counts.requests.saturating_sub(self.counts.forced)
    }

    /// The positions of the signals that judge the version.
    pub(super) fn positions(&self) -> impl Iterator<Item = usize> {
        let signals = self.guardrails.signals().iter().enumerate();
        let judging = signals.filter(|(_, signal)| self.guarded.is_judged_by(signal.rule()));
        judging.map(|(position, _)| position)
    }

    pub(super) fn signal_name(&self, position: usize) -> &'p str {
        self.guardrails.signals().get(position).map_or("", |signal| signal.name())
    }

    pub(super) fn rule(&self, position: usize) -> Option<&'p Rule> {
        self.guardrails.signals().get(position).map(|signal| signal.rule())
    }

    pub(super) fn compares(&self, position: usize) -> bool {
        matches!(self.rule(position), Some(Rule::Rate(_, Limit::Increase { .. })))
    }

    /// True if a signal judges copies of requests, not requests.
    pub(super) fn is_of_copies(&self, position: usize) -> bool {
        matches!(self.rule(position), Some(Rule::ShadowMismatch { .. }))
    }

    /// True if the version serves requests. Otherwise it only gets copies.
    pub(super) fn is_serving(&self) -> bool {
        !self.version.is_shadow_only()
    }

    /// True if the author wants a signal to act. What a pipeline does next is an action too, so this holds for a version that only
    /// gets copies as well.
    pub(super) fn acts(&self, position: usize) -> bool {
        self.guardrails.action_of(position) != Action::Warn && !self.guardrails.is_dry_run()
    }

    /// What the proxies have counted for a signal since the start.
    pub(super) fn signal_at(&self, position: usize) -> fleet::Signal {
        self.counts.signals.get(self.signal_name(position)).copied().unwrap_or_default()
    }

    /// The outcomes of the version that a signal has observed since the start.
    pub(super) fn observed(&self, position: usize) -> u64 {
        self.signal_at(position).seen.version.observed
    }

    pub(super) fn is_withheld(&self, position: usize) -> bool {
        self.judge.is_withheld(self.guardrails, position)
    }

    /// The proxies that withhold the verdict of a signal now.
    pub(super) fn withheld_on(&self, position: usize) -> &[String] {
        self.withheld_on.get(position).map_or(&[], Vec::as_slice)
    }

    /// The proxies where a signal waits for the version to warm up.
    pub(super) fn warming_up_on(&self, position: usize) -> &[String] {
        self.warming_up_on.get(position).map_or(&[], Vec::as_slice)
    }

    /// What a signal found when it condemned the version. `None` if it has not.
    pub(super) fn condemned(&self, position: usize) -> Option<Finding> {
        self.condemned.iter().find(|verdict| verdict.position == position).map(|verdict| verdict.finding)
    }

    /// What a signal found when it condemned the version, otherwise what it finds now. `None` if only the proxies judge it.
    pub(super) fn finding(&self, position: usize) -> Option<Finding> {
        self.condemned(position).or_else(|| self.judge.finding(self.guardrails, position))
    }

    pub(super) fn is_exposed(&self, now: Time) -> bool {
        self.rollout.exposure(self.version, now) > Ppm::ZERO
    }

    /// The findings that make the answer a no.
    pub(super) fn objections(&self) -> Vec<String> {
        let mut objections = self.findings(true);
        for (state, on) in
            [("rolled back", &self.rolled_back_on), ("kept below the document's exposure", &self.frozen_on)]
        {
            if !on.is_empty() {
                objections.push(format!("{} is {state} on {}", self.name, on.join(", ")));
            }
        }
        objections
    }

    /// The signals that condemn the version here or have tripped in a proxy: either those that act or those that only warn.
    pub(super) fn findings(&self, that_act: bool) -> Vec<String> {
        let mut findings = Vec::new();
        for position in self.positions().filter(|position| self.acts(*position) == that_act) {
            let signal = self.signal_name(position);
            if let Some(finding) = self.condemned(position) {
                findings.push(format!("signal {signal} condemns {}: {finding}", self.name));
            }
            let trips = self.signal_at(position).trips;
            if trips > 0 {
                let times = output::times(trips);
                findings.push(format!("signal {signal} of {} tripped {times} in the proxies", self.name));
            }
        }
        findings
    }
}
