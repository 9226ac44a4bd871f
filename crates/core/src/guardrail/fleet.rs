//! Judges the rates of one version over several proxies, each with rates of its own.
//!
//! Limits on a share apply to the sum of the window over all proxies. Comparisons take each proxy as a stratum (`strata`), because sums
//! over proxies must not be compared.

use std::time::Duration;

use super::strata::StratifiedTest;
use super::tally::{Sides, Tally};
use super::verdict::{Finding, Verdict};
use super::window::{Window, slot};
use crate::plan::guardrails::{Action, Guardrails, Limit, Rule};

/// With fewer outcomes of stable in the window, stable withholds no verdict.
const LEAST_STABLE: u64 = 20;

/// What one signal has seen.
#[derive(Debug, Clone, PartialEq)]
enum Memory {
    /// The signal is not a rate, so only the proxies judge it.
    None,
    /// The window of each proxy.
    Windows(Vec<[Window; 2]>),
    Comparison(StratifiedTest),
}

/// The memory of every signal of one version, over all proxies.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetJudge(Vec<Memory>);

impl FleetJudge {
    /// A judge that has seen nothing.
    #[must_use]
    pub fn new(guardrails: &Guardrails) -> Self {
        let memory = |(_, rule): (u16, &Rule)| match rule {
            Rule::Rate(_, Limit::Share(_)) => Memory::Windows(Vec::new()),
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
                windows.resize(windows.len().max(observed.len()), Default::default());
                for ([version, stable], observed) in windows.iter_mut().zip(observed) {
                    version.add(slot, observed.version);
                    stable.add(slot, observed.stable);
                }
            }
            (Some(Memory::Comparison(test)), Some(Rule::Rate(_, Limit::Increase { null, .. }))) => {
                test.observe(*null, observed);
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
                let sums = windows.iter().map(|[version, _]| version.sum());
                Some(Finding::Share { observed: sums.fold(Tally::default(), Tally::plus), limit: *limit })
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
        let is_exceeded = match finding {
            Finding::Share { observed, limit } => observed.rate() > limit,
            Finding::Increase { e_value, wanted, .. } => e_value >= wanted,
            Finding::Consecutive { .. } | Finding::SampleRatio { .. } => false,
        };
        (is_exceeded && finding.is_enough(guardrails)).then_some(finding)
    }

    /// True if a rollback by the limit at this position would not help, because stable is as bad.
    fn is_shared(&self, guardrails: &Guardrails, position: usize) -> bool {
        let rule = guardrails.signals.get(position).map(|signal| &signal.rule);
        match (self.0.get(position), rule, guardrails.action_of(position)) {
            (Some(Memory::Windows(windows)), Some(Rule::Rate(_, Limit::Share(limit))), Action::Rollback) => {
                let both = windows
                    .iter()
                    .map(|[version, stable]| Sides { version: version.sum(), stable: stable.sum() });
                !helps(*limit, both)
            }
            _ => false,
        }
    }
}

/// True if the version's share exceeds what stable would have had in the version's places by more than half of the limit, and
/// by more than three standard errors. Proxies where stable has few outcomes are taken together.
fn helps(limit: f64, strata: impl Iterator<Item = Sides>) -> bool {
    let (mut known, few): (Vec<_>, Vec<_>) = strata.partition(|sides| sides.stable.observed >= LEAST_STABLE);
    known.extend(few.into_iter().reduce(Sides::plus));
    if known.iter().all(|sides| sides.stable.observed < LEAST_STABLE) {
        return true;
    }
    let all: u64 = known.iter().map(|sides| sides.version.observed).sum();
    let (mut difference, mut variance) = (0.0, 0.0);
    for Sides { version, stable } in known.iter().filter(|sides| sides.version.observed > 0) {
        let weight = version.observed as f64 / all as f64;
        let stable = if stable.observed < LEAST_STABLE { Tally::default() } else { *stable };
        difference += weight * (version.rate() - stable.rate());
        variance += weight * weight * (spread(*version) + spread(stable));
    }
    difference > limit / 2.0 && difference * difference > 9.0 * variance
}

/// The variance of a tally's rate.
fn spread(tally: Tally) -> f64 {
    tally.rate() * (1.0 - tally.rate()) / tally.observed.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides([observed, bad]: [u64; 2], [stable, stable_bad]: [u64; 2]) -> Sides {
        Sides { version: Tally { observed, bad }, stable: Tally { observed: stable, bad: stable_bad } }
    }

    #[test]
    fn a_rollback_helps_only_if_stable_is_better_by_more_than_chance() {
        for (version, stable, is_help) in [
            ([200, 100], [200, 100], false),
            ([200, 100], [200, 0], true),
            ([200, 100], [200, 85], false),
            ([200, 60], [200, 36], false), // 12 points of difference, within three standard errors
            ([2_000, 600], [2_000, 360], true),
            ([200, 50], [200, 32], false), // 9 points, less than half of the limit
            ([10, 3], [19, 19], true),     // too little of stable to withhold anything
            ([10, 3], [0, 0], true),
        ] {
            let found = helps(0.2, [sides(version, stable)].into_iter());
            assert_eq!(found, is_help, "{version:?} and {stable:?}");
        }
    }

    #[test]
    fn stable_is_compared_in_the_places_of_the_version() {
        // Both fail 50 % in one place and nothing in the other. The version has its traffic in the first, stable in the second.
        let places = [sides([900, 450], [100, 50]), sides([100, 0], [900, 0])];
        assert!(!helps(0.2, places.into_iter()));
        let sum = places.into_iter().reduce(Sides::plus);
        assert!(helps(0.2, sum.into_iter()), "the sums say otherwise");
    }

    #[test]
    fn places_with_little_of_stable_are_taken_together() {
        let bad = std::iter::repeat_n(sides([10, 5], [10, 5]), 50);
        assert!(!helps(0.2, bad));
        let good = std::iter::repeat_n(sides([10, 5], [10, 0]), 50);
        assert!(helps(0.2, good.clone()));
        assert!(helps(0.2, good.chain([sides([10, 5], [30, 15])])));
    }
}
