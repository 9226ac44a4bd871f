//! What one Envoy reports of the filter at one moment, read from its `/stats`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use rollout_core::guardrail::Tally;
use rollout_core::{Ppm, Reason, metric};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::counts::{Counts, Difference, Signal};
use super::latency::Latency;
use super::series::Series;
use crate::envoy::admin::Admin;

/// All metrics of wasm modules, and how long the proxy has counted. Histograms come as buckets, the only form that can be added up over proxies.
const PATH: &str =
    "/stats?format=json&histogram_buckets=detailed&filter=%5Ewasmcustom%7C%5Eserver%5C.uptime%24";

/// Seconds since the proxy started, which Envoy updates every few seconds.
const UPTIME: &str = "server.uptime";

/// The metrics of one Envoy.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// When it answered.
    pub(crate) at: Instant,
    /// By the name of the plugin.
    pub(crate) plugins: BTreeMap<String, Plugin>,
    pub(crate) versions: BTreeMap<VersionName, Version>,
    /// Requests that no rollout matched.
    pub(crate) unmatched: u64,
    /// Workers in which copies pass without a pair of the same VM.
    pub(crate) unpaired: u64,
    /// The time in which all this was counted: since the proxy started. `None` if it does not say.
    pub(crate) counted: Option<Duration>,
}

/// Which version of which rollout.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VersionName {
    pub(crate) rollout: String,
    pub(crate) version: String,
}

impl VersionName {
    pub(crate) fn new(rollout: &str, version: &str) -> Self {
        Self { rollout: rollout.to_owned(), version: version.to_owned() }
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.rollout, self.version)
    }
}

/// The document that a filter serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Plugin {
    pub(crate) hash: Option<u64>,
    pub(crate) revision: Option<u64>,
}

/// What an Envoy reports of a version.
#[derive(Debug, Clone, Default)]
pub(crate) struct Version {
    pub(crate) counts: Counts,
    pub(crate) latency: Latency,
    /// Of its answers to copies.
    pub(crate) copy_latency: Latency,
    /// `None` for a stable version.
    pub(crate) exposure: Option<Ppm>,
    /// `None` for a version without guardrails.
    pub(crate) is_rolled_back: Option<bool>,
    /// Signals whose verdict is withheld because stable is as bad.
    pub(crate) withheld: BTreeSet<String>,
    /// Signals that wait for the version to warm up.
    pub(crate) warming_up: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Stats {
    stats: Vec<Stat>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stat {
    Value { name: String, value: u64 },
    Histograms { histograms: Histograms },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Histograms {
    #[serde(default)]
    details: Vec<Histogram>,
}

#[derive(Deserialize)]
struct Histogram {
    name: String,
    totals: Latency,
}

impl Page {
    pub(crate) fn ask(admin: &Admin) -> Result<Self> {
        let stats: Stats = admin.get(PATH)?;
        let mut page = Self {
            at: Instant::now(),
            plugins: BTreeMap::new(),
            versions: BTreeMap::new(),
            unmatched: 0,
            unpaired: 0,
            counted: None,
        };
        for stat in &stats.stats {
            match stat {
                Stat::Value { name, value } if name == UPTIME => {
                    page.counted = Some(Duration::from_secs(*value))
                }
                Stat::Value { name, value } => page.add(name, *value),
                Stat::Histograms { histograms } => histograms.details.iter().for_each(|of| page.time(of)),
                Stat::Other(IgnoredAny) => {}
            }
        }
        Ok(page)
    }

    /// What is known of a version. `None` if this Envoy has never had it.
    pub(crate) fn version(&self, name: &VersionName) -> Option<&Version> {
        self.versions.get(name)
    }

    /// True if a counter or the uptime is less than before: the proxy has restarted.
    pub(crate) fn went_back(&self, before: &Self) -> bool {
        let none = Counts::default();
        let is_younger = self.counted.zip(before.counted).is_some_and(|(now, before)| now < before);
        is_younger
            || before.versions.iter().any(|(name, before)| {
                self.versions.get(name).map_or(&none, |now| &now.counts).went_back(&before.counts)
            })
    }

    /// What was counted since `before`, and everything if the proxy has restarted. Gauges stay.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        if self.went_back(before) {
            return self;
        }
        for (name, version) in &mut self.versions {
            let Some(before) = before.versions.get(name) else { continue };
            version.counts = version.counts.since(&before.counts);
            version.latency = version.latency.since(&before.latency);
            version.copy_latency = version.copy_latency.since(&before.copy_latency);
        }
        self.unmatched = self.unmatched.saturating_sub(before.unmatched);
        self.counted = Some(self.at.saturating_duration_since(before.at));
        self
    }

    fn add(&mut self, name: &str, value: u64) {
        let Some(series) = Series::parse(name) else { return };
        if let Some([plugin]) = series.of(&metric::HASH) {
            self.plugins.entry(plugin.to_owned()).or_default().hash = Some(value);
        } else if let Some([plugin]) = series.of(&metric::REVISION) {
            self.plugins.entry(plugin.to_owned()).or_default().revision = Some(value);
        } else if let Some([metric::NONE, metric::NONE, _]) = series.of(&metric::REQUESTS) {
            self.unmatched = self.unmatched.saturating_add(value);
        } else if let Some([rollout, version, reason]) = series.of(&metric::REQUESTS) {
            let counts = self.counts(rollout, version);
            counts.requests = counts.requests.saturating_add(value);
            if reason == Reason::Forced.name() {
                counts.forced = counts.forced.saturating_add(value);
            }
        } else if let Some([rollout, version]) = series.of(&metric::FAILURES) {
            self.counts(rollout, version).failures = value;
        } else if let Some([rollout, version]) = series.of(&metric::ABANDONED) {
            self.counts(rollout, version).abandoned = value;
        } else if let Some([rollout, version]) = series.of(&metric::RETRIES) {
            self.counts(rollout, version).retries = value;
        } else if let Some([rollout, version, _]) = series.of(&metric::FAILOVERS) {
            let counts = self.counts(rollout, version);
            counts.failovers = counts.failovers.saturating_add(value);
        } else if let Some([rollout, version, result]) = series.of(&metric::SHADOWS) {
            self.counts(rollout, version).copies.insert(result.to_owned(), value);
        } else if let Some([rollout, version, pointer, kind]) = series.of(&metric::SHADOW_DIFFERENCES) {
            let difference = Difference { pointer: pointer.to_owned(), kind: kind.to_owned() };
            self.counts(rollout, version).differences.insert(difference, value);
        } else if let Some([]) = series.of(&metric::SHADOW_UNPAIRED) {
            self.unpaired = value;
        } else if let Some([rollout, version]) = series.of(&metric::EXPOSURE) {
            self.entry(rollout, version).exposure = u32::try_from(value).ok().and_then(Ppm::new);
        } else if let Some([rollout, version]) = series.of(&metric::ROLLED_BACK) {
            self.entry(rollout, version).is_rolled_back = Some(value > 0);
        } else if let Some([rollout, version, signal]) = series.of(&metric::TRIPS) {
            self.signal(rollout, version, signal).trips = value;
        } else if let Some([rollout, version, signal]) = series.of(&metric::WITHHELD) {
            self.signal(rollout, version, signal).withheld = value;
        } else if let Some([rollout, version, signal]) = series.of(&metric::IS_WITHHELD) {
            self.signal(rollout, version, signal); // known, even if it has nothing to show yet
            self.entry(rollout, version).withheld.extend((value > 0).then(|| signal.to_owned()));
        } else if let Some([rollout, version, signal]) = series.of(&metric::IS_WARMING_UP) {
            self.signal(rollout, version, signal);
            self.entry(rollout, version).warming_up.extend((value > 0).then(|| signal.to_owned()));
        } else if let Some([rollout, version, signal, side, result]) = series.of(&metric::OBSERVATIONS) {
            let seen = &mut self.signal(rollout, version, signal).seen;
            observe(if side == "stable" { &mut seen.stable } else { &mut seen.version }, result, value);
        }
    }

    fn time(&mut self, histogram: &Histogram) {
        let Some(series) = Series::parse(&histogram.name) else { return };
        if let Some([rollout, version]) = series.of(&metric::DURATION) {
            let version = self.entry(rollout, version);
            version.counts.answers = histogram.totals.count();
            version.latency = histogram.totals.clone();
        } else if let Some([rollout, version]) = series.of(&metric::SHADOW_DURATION) {
            self.entry(rollout, version).copy_latency = histogram.totals.clone();
        }
    }

    fn entry(&mut self, rollout: &str, version: &str) -> &mut Version {
        self.versions.entry(VersionName::new(rollout, version)).or_default()
    }

    fn counts(&mut self, rollout: &str, version: &str) -> &mut Counts {
        &mut self.entry(rollout, version).counts
    }

    fn signal(&mut self, rollout: &str, version: &str, signal: &str) -> &mut Signal {
        self.counts(rollout, version).signals.entry(signal.to_owned()).or_default()
    }
}

fn observe(tally: &mut Tally, result: &str, count: u64) {
    let counted = if result == "bad" { &mut tally.bad } else { &mut tally.observed };
    *counted = counted.saturating_add(count);
}
