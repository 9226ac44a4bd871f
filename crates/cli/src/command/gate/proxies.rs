//! The proxies that a gate asks: what each has counted since the previous round, and whether its answer can be used.

use std::time::Duration;

use super::verdict::joined;
use crate::fleet::{Counts, Fleet, Page, Version, VersionName};
use crate::output;

/// All proxies, in the order in which they were named.
pub(super) struct Proxies<'f> {
    fleet: &'f Fleet,
    plugin: &'f str,
    hash: u64,
    proxies: Vec<Proxy<'f>>,
}

struct Proxy<'f> {
    name: &'f str,
    /// Its last answer.
    page: Option<Page>,
    /// The answer before it; the difference is what the proxy has counted since.
    before: Option<Page>,
    /// Why there is no answer in this round. `None` if there is one.
    silent: Option<String>,
    /// The hash of the document that it serves. `None` if that is our document.
    other: Option<u64>,
    /// Number of rounds without an answer.
    missed: u64,
}

/// What a proxy has counted for a version between two answers.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) counts: Counts,
    /// The time between the answers.
    pub(super) took: Duration,
}

/// A proxy's answer.
struct Serving {
    page: Page,
    /// The hash of its document. `None` if that is our document.
    other: Option<u64>,
}

impl<'f> Proxies<'f> {
    pub(super) fn new(fleet: &'f Fleet, plugin: &'f str, hash: u64) -> Self {
        let proxy = |name| Proxy { name, page: None, before: None, silent: None, other: None, missed: 0 };
        Self { fleet, plugin, hash, proxies: fleet.names().map(proxy).collect() }
    }

    /// Asks all of them once.
    pub(super) fn ask(&mut self) {
        let answers = self.fleet.ask();
        for (proxy, answer) in self.proxies.iter_mut().zip(answers) {
            let answer = answer.map_err(|error| format!("{error:#}")).and_then(|page| {
                let hash = page.plugins.get(self.plugin).and_then(|plugin| plugin.hash);
                let hash = hash.ok_or_else(|| {
                    format!("no filter `{}` serves a document in Envoy at {}", self.plugin, proxy.name)
                })?;
                Ok(Serving { page, other: Some(hash).filter(|hash| *hash != self.hash) })
            });
            proxy.take(answer);
        }
    }

    /// What each proxy has counted for a version since the previous round, in their order. The first answer of a proxy is only the
    /// start of its counts.
    pub(super) fn counted(&self, name: &VersionName) -> Vec<Counted> {
        self.proxies.iter().map(|proxy| proxy.counted(name).unwrap_or_default()).collect()
    }

    /// Each proxy that answered, with what it reports of a version now.
    pub(super) fn now(&self, name: &VersionName) -> impl Iterator<Item = (&'f str, &Version)> {
        let answered = self.proxies.iter().filter(|proxy| proxy.silent.is_none());
        answered.filter_map(move |proxy| Some((proxy.name, proxy.page.as_ref()?.version(name)?)))
    }

    /// The proxies that serve a document other than ours, in words.
    pub(super) fn other_documents(&self) -> Option<String> {
        let others = self.proxies.iter().filter_map(|proxy| Some((proxy.name, proxy.other?)));
        joined(others.map(|(name, hash)| {
            format!("Envoy at {name} serves hash {hash}, but the document has hash {}", self.hash)
        }))
    }

    /// The proxies that did not answer in the last round, in words.
    pub(super) fn silent(&self) -> Option<String> {
        joined(self.proxies.iter().filter_map(|proxy| proxy.silent.clone()))
    }

    /// The proxies that answered in the last round but missed earlier ones, in words.
    pub(super) fn gaps(&self) -> impl Iterator<Item = String> {
        let gaps = self.proxies.iter().filter(|proxy| proxy.silent.is_none() && proxy.missed > 0);
        gaps.map(|proxy| {
            let missed = usize::try_from(proxy.missed).unwrap_or(usize::MAX);
            format!("Envoy at {} did not answer {}", proxy.name, output::count(missed, "time"))
        })
    }
}

impl Proxy<'_> {
    fn counted(&self, name: &VersionName) -> Option<Counted> {
        let counts = |page: &Page| page.version(name).map(|of| of.counts.clone()).unwrap_or_default();
        let (now, before) = (self.page.as_ref().filter(|_| self.silent.is_none())?, self.before.as_ref()?);
        let took = now.at.saturating_duration_since(before.at);
        let counts = if now.went_back(before) { counts(now) } else { counts(now).since(&counts(before)) };
        Some(Counted { counts, took })
    }

    fn take(&mut self, answer: Result<Serving, String>) {
        match answer {
            Ok(Serving { page, other }) => {
                self.before = self.page.replace(page);
                self.other = other;
                self.silent = None;
            }
            Err(reason) => {
                if self.silent.is_none() {
                    output::warning(&reason); // a wrong URL is worth knowing before the end
                }
                self.missed = self.missed.saturating_add(1);
                self.silent = Some(reason);
            }
        }
    }
}
