//! Judges rates: a share over the sliding window against its limit, or the version against stable with the always-valid test.
//!
//! A judge belongs to one version and gets its observations in the order of time, at each merge. Failures in a row and sample
//! ratios are judged in `record`, and several proxies together in `fleet`.

use std::time::Duration;

use super::codec::{Reader, Writer};
use super::sequential::SequentialTest;
use super::tally::{Sides, Tally};
use super::verdict::{Finding, Verdict};
use super::window::{Window, slot};
use crate::plan::guardrails::{Guardrails, Limit, Rule};

/// What one signal has seen.
#[derive(Debug, Clone, PartialEq)]
enum Memory {
    /// The signal is not a rate, so it is judged elsewhere.
    None,
    Window(Window),
    Comparison(SequentialTest),
}

/// The memory of every signal of one version.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge(Vec<Memory>);

impl Judge {
    /// A judge that has seen nothing.
    #[must_use]
    pub fn new(guardrails: &Guardrails) -> Self {
        let memory = |(_, rule): (u16, &Rule)| match rule {
            Rule::Rate(_, Limit::Share(_)) => Memory::Window(Window::default()),
            Rule::Rate(_, Limit::Increase { .. }) => Memory::Comparison(SequentialTest::default()),
            Rule::ConsecutiveFailures(_) | Rule::SampleRatio { .. } => Memory::None,
        };
        Self(guardrails.rules().map(memory).collect())
    }

    /// Adds what was observed for the signal at this position since the last call. Stable's side counts only if the
    /// signal compares.
    pub fn observe(&mut self, guardrails: &Guardrails, position: usize, observed: Sides, now: Duration) {
        let rule = guardrails.signals.get(position).map(|signal| &signal.rule);
        match (self.0.get_mut(position), rule) {
            (Some(Memory::Window(window)), _) => window.add(slot(guardrails.window, now), observed.version),
            (Some(Memory::Comparison(comparison)), Some(Rule::Rate(_, Limit::Increase { null, .. }))) => {
                comparison.observe(*null, observed);
            }
            _ => {}
        }
    }

    /// The verdict of the signal at this position. `None` if it does not condemn the version.
    #[must_use]
    pub fn verdict(&self, guardrails: &Guardrails, position: usize) -> Option<Verdict> {
        let finding = self.finding(guardrails, position)?;
        let condemns = match finding {
            Finding::Share { observed, limit } => observed.rate() > limit,
            Finding::Increase { e_value, wanted, .. } => e_value >= wanted,
            Finding::Consecutive { .. } | Finding::SampleRatio { .. } => false,
        };
        (condemns && finding.is_enough(guardrails)).then_some(Verdict { position, finding })
    }

    /// What the signal at this position has found so far, whether or not that condemns the version. `None` if it is not a rate.
    #[must_use]
    pub fn finding(&self, guardrails: &Guardrails, position: usize) -> Option<Finding> {
        match (self.0.get(position)?, &guardrails.signals.get(position)?.rule) {
            (Memory::Window(window), Rule::Rate(_, Limit::Share(limit))) => {
                Some(Finding::Share { observed: window.sum(), limit: *limit })
            }
            (Memory::Comparison(comparison), Rule::Rate(_, Limit::Increase { null, confidence })) => {
                let (observed, e_value) = (comparison.total(), comparison.e_value());
                Some(Finding::Increase {
                    observed,
                    margin: null.allowed(0.0),
                    e_value,
                    wanted: 1.0 / (1.0 - confidence),
                })
            }
            _ => None,
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        for memory in &self.0 {
            match memory {
                Memory::None => {}
                Memory::Window(window) => window.encode(out, |tally, out| tally.encode(out)),
                Memory::Comparison(comparison) => comparison.encode(out),
            }
        }
    }

    pub(crate) fn decode(guardrails: &Guardrails, bytes: &mut Reader<'_>) -> Option<Self> {
        let mut judge = Self::new(guardrails);
        for memory in &mut judge.0 {
            match memory {
                Memory::None => {}
                Memory::Window(window) => *window = Window::decode(bytes, Tally::decode)?,
                Memory::Comparison(comparison) => *comparison = SequentialTest::decode(bytes)?,
            }
        }
        Some(judge)
    }
}
