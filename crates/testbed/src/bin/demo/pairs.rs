//! Pairs of answers: what the filter counted, and what it must have counted according to Python, which asks both models itself.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use testbed::Envoy;

use crate::interrupt::{Interrupt, Stop};
use crate::model::Model;
use crate::python::{OutputOf, sources};

/// The filter's counters of copies to v3.
const COUNTERS: &str =
    r"rollout=\.=breast-cancer;.*version=\.=v3;.*;rollout_shadow_(total|differences_total)$";

/// What the filter has counted of the copies to v3.
#[derive(Default)]
pub(crate) struct Counted {
    /// By result.
    results: BTreeMap<String, u64>,
    /// Mismatches by "pointer kind".
    pub(crate) places: BTreeMap<String, u64>,
}

impl Counted {
    pub(crate) fn read(envoy: &Envoy) -> Self {
        let mut counted = Self::default();
        for (name, count) in envoy.stats(COUNTERS) {
            let tag =
                |tag: &str| name.split(";.;").find_map(|part| part.strip_prefix(tag)?.strip_prefix("=.="));
            match (tag("result"), tag("pointer").zip(tag("kind"))) {
                (Some(result), _) => counted.results.insert(result.to_owned(), count),
                (None, Some((pointer, kind))) => counted.places.insert(format!("{pointer} {kind}"), count),
                (None, None) => None,
            };
        }
        counted
    }

    /// What was counted since then, once so many copies are sent and each has a result. `None` until then: the workers write their
    /// counts once a second.
    pub(crate) fn read_whole(envoy: &Envoy, before: &Self, copies: u64) -> Option<Self> {
        let counted = Self::read(envoy).since(before);
        ([counted.sent(), counted.ended()] == [copies; 2]).then_some(counted)
    }

    fn since(mut self, before: &Self) -> Self {
        for (now, before) in [(&mut self.results, &before.results), (&mut self.places, &before.places)] {
            for (name, count) in now.iter_mut() {
                *count -= before.get(name).copied().unwrap_or(0);
            }
            now.retain(|_, count| *count > 0);
        }
        self
    }

    fn of(&self, result: &str) -> u64 {
        self.results.get(result).copied().unwrap_or(0)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.of("sent")
    }

    /// Copies that have a result. The names that are left out count what was not sent.
    fn ended(&self) -> u64 {
        let ended = self.results.iter().filter(|(result, _)| {
            !matches!(result.as_str(), "sent" | "skipped_body" | "skipped_upgrade" | "skipped_rate")
        });
        ended.map(|(_, count)| count).sum()
    }

    /// Why copies were not compared, with their number.
    pub(crate) fn missed(&self) -> Vec<(&str, u64)> {
        let known = ["sent", "match", "mismatch"];
        let missed = self.results.iter().filter(|(result, _)| !known.contains(&result.as_str()));
        missed.map(|(result, count)| (result.as_str(), *count)).collect()
    }

    pub(crate) fn compared(&self) -> u64 {
        self.matched() + self.mismatched()
    }

    pub(crate) fn matched(&self) -> u64 {
        self.of("match")
    }

    pub(crate) fn mismatched(&self) -> u64 {
        self.of("mismatch")
    }
}

/// Where the answers of v1 and v3 to each row of the data set differ, computed in Python from the answers themselves.
pub(crate) struct Differences {
    /// "pointer kind" of each difference, by row.
    rows: Vec<Vec<String>>,
    /// The largest distance of two numbers, by row.
    distances: Vec<f64>,
}

impl Differences {
    /// Asks both servers for each row, past Envoy.
    pub(crate) fn ask(models: [&Model; 2], compare: &Value, interrupt: &Interrupt) -> Result<Self, Stop> {
        let [live, shadow] = models;
        let output = Command::new(live.python())
            .arg(sources().join("differences.py"))
            .arg(compare.to_string())
            .arg(live.requests())
            .args([live.address().to_string(), shadow.address().to_string()])
            .output_of("Python asks both models each row of the data set, without a proxy", interrupt)?;
        let found: Value = serde_json::from_str(output.lines().next_back().unwrap_or_default())
            .map_err(|error| format!("differences.py: {error}"))?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let words = |row: &Value| list(row).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let rows: Vec<Vec<String>> = list(&found["rows"]).iter().map(words).collect();
        let mut distances: Vec<f64> = list(&found["distance"]).iter().filter_map(Value::as_f64).collect();
        distances.sort_by(f64::total_cmp);
        if rows.is_empty() || rows.len() != distances.len() {
            return Err(Stop::Failed(format!("differences.py printed {output}")));
        }
        Ok(Self { rows, distances })
    }

    /// Number of rows, and of those that differ.
    pub(crate) fn rows(&self) -> [usize; 2] {
        [self.rows.len(), self.rows.iter().filter(|places| !places.is_empty()).count()]
    }

    /// The distance that this share of the rows does not exceed.
    pub(crate) fn distance(&self, share: f64) -> f64 {
        let last = self.distances.len().saturating_sub(1);
        self.distances.get((share * last as f64).round() as usize).copied().unwrap_or_default()
    }

    /// What must differ in copies of requests that are made of these rows: how many, and how many by place.
    pub(crate) fn of(&self, rows: impl Iterator<Item = usize>) -> (u64, BTreeMap<String, u64>) {
        let (mut mismatches, mut by_place) = (0, BTreeMap::new());
        for places in rows.filter_map(|row| self.rows.get(row)) {
            mismatches += u64::from(!places.is_empty());
            for place in places {
                *by_place.entry(place.clone()).or_default() += 1;
            }
        }
        (mismatches, by_place)
    }
}
