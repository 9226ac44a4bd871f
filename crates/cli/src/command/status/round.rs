//! One round of questions: what every Envoy answered at about the same time.

use anyhow::Result;

use crate::fleet::{Fleet, Page, VersionName};

/// The answers of all Envoys, each with the name of its Envoy.
pub(super) struct Round<'f> {
    pub(super) answers: Vec<(&'f str, Result<Page>)>,
}

impl<'f> Round<'f> {
    pub(super) fn ask(fleet: &'f Fleet) -> Self {
        Self { answers: fleet.names().zip(fleet.ask()).collect() }
    }

    /// The Envoys that answered.
    pub(super) fn pages(&self) -> impl Iterator<Item = (&'f str, &Page)> {
        self.answers.iter().filter_map(|(name, answer)| Some((*name, answer.as_ref().ok()?)))
    }

    /// The requests per second of a version since the round before, summed over the Envoys that answered both times.
    pub(super) fn rate(&self, before: &Self, name: &VersionName) -> Option<f64> {
        let of = |page: &Page| page.version(name).map_or(0, |known| known.counts.requests);
        let rates = self.pages().filter_map(|(name, now)| {
            let (_, before) = before.pages().find(|(known, _)| *known == name)?;
            let requests = of(now).checked_sub(of(before)).unwrap_or_else(|| of(now));
            let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
            Some(requests as f64 / seconds.max(f64::MIN_POSITIVE))
        });
        let rate = rates.reduce(|sum, rate| sum + rate)?;
        Some((rate * 10.0).round() / 10.0)
    }
}
