//! Judges rates: a share over the sliding window against its limit, or the version against stable with the always-valid test.
//!
//! A judge belongs to one version and gets its observations in the order of time, at each merge. Failures in a row and sample
//! ratios are judged in `record`, and several proxies together in `fleet`.

use std::time::Duration;

use super::codec::{Reader, Writer};
use super::mismatch::RateTest;
use super::sequential::SequentialTest;
use super::share::{Counted, Window, helps};
use super::tally::Sides;
use super::verdict::{Finding, Verdict};
use super::window::slot;
use crate::plan::guardrails::{Action, Guardrails, Limit, Rule};

/// What one signal has seen.
#[derive(Debug, Clone, PartialEq)]
enum Memory {
    /// The signal is not a rate, so it is judged elsewhere.
    None,
    Window(Box<Window>),
    Comparison(SequentialTest),
    Mismatches(RateTest),
}

/// The memory of every signal of one version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judge(Vec<Memory>);

impl Judge {
    /// A judge that has seen nothing.
    pub(crate) fn new(guardrails: &Guardrails) -> Self {
        let memory = |(_, rule): (u16, &Rule)| match rule {
            Rule::Rate(_, Limit::Share(_)) | Rule::ShadowMismatch { confidence: None, .. } => {
                Memory::Window(Box::default())
            }
            Rule::ShadowMismatch { confidence: Some(_), .. } => Memory::Mismatches(RateTest::default()),
            Rule::Rate(_, Limit::Increase { .. }) => Memory::Comparison(SequentialTest::default()),
            Rule::ConsecutiveFailures(_) | Rule::SampleRatio { .. } => Memory::None,
        };
        Self(guardrails.rules().map(memory).collect())
    }

    /// Adds what was observed for the signal at this position since the last call.
    pub(crate) fn observe(
        &mut self,
        guardrails: &Guardrails,
        position: usize,
        observed: Sides,
        now: Duration,
    ) {
        self.observe_units(guardrails, position, &Counted::of(observed), now);
    }

    /// Notes that the split has changed.
    pub(crate) fn change_split(&mut self) {
        for memory in &mut self.0 {
            match memory {
                Memory::Window(window) => window.cut(),
                Memory::None | Memory::Comparison(_) | Memory::Mismatches(_) => {}
            }
        }
    }

    /// Adds what was observed, with the units from which it came.
    pub(crate) fn observe_units(
        &mut self,
        guardrails: &Guardrails,
        position: usize,
        counted: &Counted,
        now: Duration,
    ) {
        let observed = counted.sides;
        let rule = guardrails.signals.get(position).map(|signal| &signal.rule);
        match (self.0.get_mut(position), rule) {
            (Some(Memory::Window(window)), _) => window.add(slot(guardrails.window, now), counted),
            (Some(Memory::Comparison(comparison)), Some(Rule::Rate(_, Limit::Increase { null, .. }))) => {
                comparison.observe(*null, observed);
            }
            (Some(Memory::Mismatches(test)), Some(Rule::ShadowMismatch { most, .. })) => {
                test.observe(*most, observed.version, now.as_secs());
            }
            _ => {}
        }
    }

    /// The verdict of the signal at this position. `None` if it does not condemn the version, or is withheld.
    pub(crate) fn verdict(&self, guardrails: &Guardrails, position: usize) -> Option<Verdict> {
        self.condemned(guardrails, position).filter(|verdict| !self.is_shared(guardrails, verdict))
    }

    /// The verdict of the signal at this position if it is withheld: stable is as bad, so that a rollback would not help.
    pub(crate) fn withheld(&self, guardrails: &Guardrails, position: usize) -> Option<Verdict> {
        self.condemned(guardrails, position).filter(|verdict| self.is_shared(guardrails, verdict))
    }

    fn condemned(&self, guardrails: &Guardrails, position: usize) -> Option<Verdict> {
        let finding = self.finding(guardrails, position)?;
        let condemns = finding.is_exceeded() && finding.is_enough(guardrails);
        (condemns && self.is_of_several_units(position)).then_some(Verdict { position, finding })
    }

    /// True if the action is a rollback that would not help, because stable is as bad as the version.
    fn is_shared(&self, guardrails: &Guardrails, verdict: &Verdict) -> bool {
        match (guardrails.action_of(verdict.position), verdict.finding, self.0.get(verdict.position)) {
            // Mismatches have no side of stable, so nothing is withheld.
            (Action::Rollback, Finding::Share { limit, .. }, Some(Memory::Window(window))) => {
                !helps(limit, window.parts().into_iter())
            }
            _ => false,
        }
    }

    fn is_of_several_units(&self, position: usize) -> bool {
        match self.0.get(position) {
            Some(Memory::Window(window)) => window.is_of_several_units(),
            Some(Memory::Mismatches(test)) => test.is_of_several_units(),
            Some(Memory::None | Memory::Comparison(_)) | None => true,
        }
    }

    /// What the signal at this position has found so far, whether or not that condemns the version. `None` if it is not a rate.
    pub(crate) fn finding(&self, guardrails: &Guardrails, position: usize) -> Option<Finding> {
        match (self.0.get(position)?, &guardrails.signals.get(position)?.rule) {
            (Memory::Window(window), Rule::Rate(_, Limit::Share(limit))) => {
                Some(Finding::Share { observed: window.sides(), limit: *limit })
            }
            (Memory::Window(window), Rule::ShadowMismatch { most, .. }) => {
                Some(Finding::Share { observed: window.sides(), limit: *most })
            }
            (Memory::Mismatches(test), Rule::ShadowMismatch { most, confidence: Some(confidence) }) => {
                Some(test.finding(*most, *confidence))
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
                Memory::Window(window) => window.encode(out, Counted::encode),
                Memory::Comparison(comparison) => comparison.encode(out),
                Memory::Mismatches(test) => test.encode(out),
            }
        }
    }

    pub(crate) fn decode(guardrails: &Guardrails, bytes: &mut Reader<'_>) -> Option<Self> {
        let mut judge = Self::new(guardrails);
        for memory in &mut judge.0 {
            match memory {
                Memory::None => {}
                Memory::Window(window) => **window = Window::decode(bytes, Counted::decode)?,
                Memory::Comparison(comparison) => *comparison = SequentialTest::decode(bytes)?,
                Memory::Mismatches(test) => *test = RateTest::decode(bytes)?,
            }
        }
        Some(judge)
    }
}
