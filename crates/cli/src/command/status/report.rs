//! The answers of all Envoys put together: the JSON answer of `status`, from which the text is made.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::Serialize;

use super::differences::{Difference, differences};
use super::round::Round;
use crate::fleet::{self, Counts, Latency, Page, Seen, VersionName};
use crate::output::percent::Percent;

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) envoys: Vec<Envoy>,
    pub(super) rollouts: Vec<Rollout>,
    /// Requests that no rollout matched.
    pub(super) unmatched_requests: u64,
    pub(super) differences: Vec<Difference>,
}

#[derive(Serialize)]
pub(super) struct Envoy {
    pub(super) url: String,
    /// Why the Envoy could not be asked. `None` if it answered.
    pub(super) error: Option<String>,
    /// Empty if no filter serves a document.
    pub(super) plugins: Vec<Plugin>,
}

#[derive(Serialize)]
pub(super) struct Plugin {
    pub(super) name: String,
    pub(super) hash: Option<u64>,
    pub(super) revision: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Rollout {
    pub(super) name: String,
    pub(super) versions: Vec<Version>,
}

#[derive(Serialize)]
pub(super) struct Version {
    pub(super) name: String,
    /// Null for a stable version, and if the Envoys disagree.
    pub(super) exposure_percent: Option<Percent>,
    pub(super) requests: u64,
    /// Null in the first round.
    pub(super) requests_per_second: Option<f64>,
    pub(super) failures: u64,
    pub(super) failure_percent: Percent,
    pub(super) abandoned: u64,
    pub(super) retries: u64,
    pub(super) failovers: u64,
    pub(super) latency_ms: Option<Quantiles>,
    /// True if the version has guardrails.
    pub(super) guarded: bool,
    pub(super) rolled_back_on: Vec<String>,
    /// What became of the copies of a shadow. Left out for a version that gets none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) copies: BTreeMap<String, u64>,
    pub(super) signals: Vec<Signal>,
}

#[derive(Serialize, Clone, Copy)]
pub(super) struct Quantiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

#[derive(Serialize)]
pub(super) struct Signal {
    pub(super) name: String,
    pub(super) version: Seen,
    /// Null if nothing of stable was observed.
    pub(super) stable: Option<Seen>,
    pub(super) trips: u64,
    /// Episodes in which a verdict was withheld.
    pub(super) withheld: u64,
    /// The Envoys that withhold its verdict now, because stable is as bad.
    pub(super) withheld_on: Vec<String>,
    /// The Envoys where it waits for the version to warm up.
    pub(super) warming_up_on: Vec<String>,
}

impl Report {
    pub(super) fn new(round: &Round<'_>, before: Option<&Round<'_>>) -> Self {
        let names: BTreeSet<&VersionName> =
            round.pages().flat_map(|(_, page)| page.versions.keys()).collect();
        let mut rollouts: Vec<Rollout> = Vec::new();
        for name in names {
            let found = Version::new(round, before, name);
            match rollouts.last_mut().filter(|last| last.name == name.rollout) {
                Some(last) => last.versions.push(found),
                None => rollouts.push(Rollout { name: name.rollout.clone(), versions: vec![found] }),
            }
        }
        Self {
            envoys: round.answers.iter().map(|(name, answer)| Envoy::new(name, answer)).collect(),
            rollouts,
            unmatched_requests: round.pages().map(|(_, page)| page.unmatched).sum(),
            differences: differences(round),
        }
    }
}

impl Envoy {
    fn new(name: &str, answer: &Result<Page>) -> Self {
        let plugin = |(name, plugin): (&String, &fleet::Plugin)| Plugin {
            name: name.clone(),
            hash: plugin.hash,
            revision: plugin.revision,
        };
        let page = answer.as_ref().ok();
        Self {
            url: name.to_owned(),
            error: answer.as_ref().err().map(|error| format!("{error:#}")),
            plugins: page.map(|page| page.plugins.iter().map(plugin).collect()).unwrap_or_default(),
        }
    }
}

impl Version {
    fn new(round: &Round<'_>, before: Option<&Round<'_>>, name: &VersionName) -> Self {
        let known: Vec<_> =
            round.pages().filter_map(|(envoy, page)| Some((envoy, page.version(name)?))).collect();
        let counts = known.iter().fold(Counts::default(), |sum, (_, of)| sum.plus(&of.counts));
        let latency = known.iter().fold(Latency::default(), |sum, (_, of)| sum.plus(&of.latency));
        let exposure = known.first().and_then(|(_, first)| first.exposure);
        let is_same = known.iter().all(|(_, of)| of.exposure == exposure);
        let rolled_back = known.iter().filter(|(_, of)| of.is_rolled_back == Some(true));
        Self {
            name: name.version.clone(),
            exposure_percent: exposure.filter(|_| is_same).map(Percent::from),
            requests: counts.requests,
            requests_per_second: before.and_then(|before| round.rate(before, name)),
            failures: counts.failures,
            failure_percent: Percent::of(counts.failures, counts.requests),
            abandoned: counts.abandoned,
            retries: counts.retries,
            failovers: counts.failovers,
            latency_ms: Quantiles::of(&latency),
            guarded: known.iter().any(|(_, of)| of.is_rolled_back.is_some()),
            rolled_back_on: rolled_back.map(|(envoy, _)| (*envoy).to_owned()).collect(),
            copies: counts.copies.clone(),
            signals: counts.signals.iter().map(|(signal, of)| Signal::new(signal, of, &known)).collect(),
        }
    }
}

impl Quantiles {
    fn of(latency: &Latency) -> Option<Self> {
        let rounded = |share| Some((latency.quantile(share)? * 10.0).round() / 10.0);
        Some(Self { p50: rounded(0.5)?, p99: rounded(0.99)? })
    }
}

impl Signal {
    fn new(name: &str, signal: &fleet::Signal, known: &[(&str, &fleet::Version)]) -> Self {
        let stable = Some(signal.seen.stable).filter(|stable| stable.observed > 0);
        let on = |signals: fn(&fleet::Version) -> &BTreeSet<String>| {
            let listed = known.iter().filter(|(_, of)| signals(of).contains(name));
            listed.map(|(envoy, _)| (*envoy).to_owned()).collect()
        };
        Self {
            name: name.to_owned(),
            version: signal.seen.version.into(),
            stable: stable.map(Seen::from),
            trips: signal.trips,
            withheld: signal.withheld,
            withheld_on: on(|of| &of.withheld),
            warming_up_on: on(|of| &of.warming_up),
        }
    }
}
