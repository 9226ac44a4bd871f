//! One version under judgement: what all proxies have observed of it so far, and the objections.

use std::time::Duration;

use rollout_core::guardrail::{Action, Finding, Guardrails, Judge, Verdict};
use rollout_core::{Ppm, Rollout, Time, Version};

use super::proxies::Proxies;
use crate::args;
use crate::fleet::{self, Counts, VersionName};
use crate::output;

/// Seconds by which a proxy may be late in raising an exposure.
const SLACK: u64 = 5;

/// A version, its judge, and the sums.
pub(super) struct Candidate<'p> {
    pub(super) rollout: &'p Rollout,
    pub(super) guardrails: &'p Guardrails,
    pub(super) version: &'p Version,
    name: VersionName,
    judge: Judge,
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
}

impl<'p> Candidate<'p> {
    pub(super) fn new(rollout: &'p Rollout, guardrails: &'p Guardrails, version: &'p Version) -> Self {
        Self {
            rollout,
            guardrails,
            version,
            name: VersionName::new(rollout.name(), version.name()),
            judge: Judge::new(guardrails),
            counts: Counts::default(),
            condemned: Vec::new(),
            rolled_back_on: Vec::new(),
            frozen_on: Vec::new(),
            low_on: Vec::new(),
        }
    }

    /// Adds what the proxies have counted since the previous round. `now` only has to grow.
    pub(super) fn take(&mut self, proxies: &Proxies<'_>, now: Duration) {
        let counted = proxies.counted(&self.name);
        for (position, signal) in self.guardrails.signals().iter().enumerate() {
            let observed = counted.signals.get(signal.name()).map(|of| of.seen).unwrap_or_default();
            self.judge.observe(self.guardrails, position, observed, now);
            if self.condemned(position).is_none() {
                self.condemned.extend(self.judge.verdict(self.guardrails, position));
            }
        }
        self.counts = self.counts.plus(&counted);
        self.take_latches(proxies);
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

    /// What a signal has observed since the start.
    pub(super) fn signal(&self, name: &str) -> fleet::Signal {
        self.counts.signals.get(name).copied().unwrap_or_default()
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

    /// The findings that only warn.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.findings(false)
    }

    pub(super) fn too_few(&self, wanted: u64) -> Option<String> {
        let requests = self.requests();
        (requests < wanted)
            .then(|| format!("too few requests: {} got {requests}, but needs {wanted}", self.name))
    }

    /// The signals that condemn the version here or have tripped in a proxy: either those that act or those that only warn.
    fn findings(&self, that_act: bool) -> Vec<String> {
        let mut findings = Vec::new();
        for (position, signal) in self.guardrails.signals().iter().enumerate() {
            let acts = self.guardrails.action_of(position) != Action::Warn && !self.guardrails.is_dry_run();
            if acts != that_act {
                continue;
            }
            if let Some(finding) = self.condemned(position) {
                findings.push(format!("signal {} condemns {}: {finding}", signal.name(), self.name));
            }
            let trips = self.signal(signal.name()).trips;
            if trips > 0 {
                let times = output::times(trips);
                findings.push(format!(
                    "signal {} of {} tripped {times} in the proxies",
                    signal.name(),
                    self.name
                ));
            }
        }
        findings
    }
}
