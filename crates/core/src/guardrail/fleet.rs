//! Judges the rates of one version over several proxies, each with rates of its own.
//!
//! Limits on a share apply to the sum of the window over all proxies. Comparisons take each proxy as a stratum (`strata`), because sums
//! over proxies must not be compared.

use std::time::Duration;

use super::mismatch::RateTest;
use super::share::{Counted, Window, helps};
use super::strata::StratifiedTest;
use super::tally::Sides;
use super::verdict::{Finding, Verdict};
use super::window::slot;
use crate::plan::guardrails::{Action, Guardrails, Limit, Rule};

/// What one signal has seen.
#[derive(Debug, Clone, PartialEq)]
enum Memory {
    /// The signal is not a rate, so only the proxies judge it.
    None,
    /// The window of each proxy.
    Windows(Vec<Window>),
    Comparison(StratifiedTest),
    Mismatches(RateTest),
}

/// The memory of every signal of one version, over all proxies.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetJudge(Vec<Memory>);

impl FleetJudge {
    /// A judge that has seen nothing.
    #[must_use]
    pub fn new(guardrails: &Guardrails) -> Self {
        let memory = |(_, rule): (u16, &Rule)| match rule {
            Rule::Rate(_, Limit::Share(_)) | Rule::ShadowMismatch { confidence: None, .. } => {
                Memory::Windows(Vec::new())
            }
            Rule::ShadowMismatch { confidence: Some(_), .. } => Memory::Mismatches(RateTest::default()),
            Rule::Rate(_, Limit::Increase { .. }) => Memory::Comparison(StratifiedTest::default()),
            Rule::ConsecutiveFailures(_) | Rule::SampleRatio { .. } => Memory::None,
        };
        Self(guardrails.rules().map(memory).collect())
    }

    /// Adds what each proxy has observed for the signal at this position since the last call, always in the same places.
    pub fn observe(&mut self, guardrails: &Guardrails, position: usize, observed: &[Sides], now: Duration) {
        let rule = guardrails.signals.get(position).map(|signal| &signal.rule);
        match (self.0.get_mut(position), rule) {
            (Some(Memory::Windows(windows)), _) => {
                let slot = slot(guardrails.window, now);
                windows.resize(windows.len().max(observed.len()), Window::default());
                for (window, sides) in windows.iter_mut().zip(observed) {
                    window.add(slot, &Counted::of(*sides));
                }
            }
            (Some(Memory::Comparison(test)), Some(Rule::Rate(_, Limit::Increase { null, .. }))) => {
                test.observe(*null, observed);
            }
            // No side is compared with another, so the sum over the proxies is one sample.
            (Some(Memory::Mismatches(test)), Some(Rule::ShadowMismatch { most, .. })) => {
                let sum = observed.iter().fold(Sides::default(), |sum, sides| sum.plus(*sides));
                test.observe(*most, sum.version, now.as_secs());
            }
            _ => {}
        }
    }

    /// The verdict of the signal at this position. `None` if it does not condemn the version, or is withheld.
    #[must_use]
    pub fn verdict(&self, guardrails: &Guardrails, position: usize) -> Option<Verdict> {
        let finding = self.exceeded(guardrails, position)?;
        (!self.is_shared(guardrails, position)).then_some(Verdict { position, finding })
    }

    /// True if the signal at this position would condemn the version, but stable is as bad, so that a rollback would not help.
    #[must_use]
    pub fn is_withheld(&self, guardrails: &Guardrails, position: usize) -> bool {
        self.exceeded(guardrails, position).is_some() && self.is_shared(guardrails, position)
    }

    /// What the signal at this position has found so far, whether or not that condemns the version. `None` if it is not a rate.
    #[must_use]
    pub fn finding(&self, guardrails: &Guardrails, position: usize) -> Option<Finding> {
        match (self.0.get(position)?, &guardrails.signals.get(position)?.rule) {
            (Memory::Windows(windows), Rule::Rate(_, Limit::Share(limit))) => {
                let observed = windows.iter().map(Window::sides).fold(Sides::default(), Sides::plus);
                Some(Finding::Share { observed, limit: *limit })
            }
            (Memory::Windows(windows), Rule::ShadowMismatch { most, .. }) => {
                let observed = windows.iter().map(Window::sides).fold(Sides::default(), Sides::plus);
                Some(Finding::Share { observed, limit: *most })
            }
            (Memory::Mismatches(test), Rule::ShadowMismatch { most, confidence: Some(confidence) }) => {
                Some(test.finding(*most, *confidence))
            }
            (Memory::Comparison(test), Rule::Rate(_, Limit::Increase { null, confidence })) => {
                Some(Finding::Increase {
                    observed: test.compared(),
                    margin: null.allowed(0.0),
                    e_value: test.e_value(),
                    wanted: 1.0 / (1.0 - confidence),
                })
            }
            _ => None,
        }
    }

    /// What the signal at this position has found, if that is too much and enough has been seen.
    fn exceeded(&self, guardrails: &Guardrails, position: usize) -> Option<Finding> {
        let finding = self.finding(guardrails, position)?;
        let is_of_several_units = match self.0.get(position) {
            Some(Memory::Mismatches(test)) => test.is_of_several_units(),
            Some(Memory::None | Memory::Windows(_) | Memory::Comparison(_)) | None => true,
        };
        let condemns = finding.is_exceeded() && finding.is_enough(guardrails) && is_of_several_units;
        condemns.then_some(finding)
    }

    /// True if a rollback by the limit at this position would not help, because stable is as bad.
    fn is_shared(&self, guardrails: &Guardrails, position: usize) -> bool {
        let rule = guardrails.signals.get(position).map(|signal| &signal.rule);
        match (self.0.get(position), rule, guardrails.action_of(position)) {
            (Some(Memory::Windows(windows)), Some(Rule::Rate(_, Limit::Share(limit))), Action::Rollback) => {
                !helps(*limit, windows.iter().flat_map(Window::parts))
            }
            _ => false,
        }
    }
}
