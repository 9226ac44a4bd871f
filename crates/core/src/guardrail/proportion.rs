//! An interval for a share that stays valid however often one looks: a confidence sequence.
//!
//! Of `n` outcomes, `k` were bad. For each share `p`, let
//! `E(p) = B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) / (p^k (1 - p)^(n - k))`: the likelihood of the outcomes under a Beta(1/2, 1/2) mixture
//! of all shares, over the likelihood under `p`. If each outcome is bad with the chance `p`, whatever came before, then `E(p)` is a
//! martingale that starts at 1. So by Ville's inequality (1939) the chance that `E(p)` ever reaches `1 / (1 - confidence)` is at most
//! `1 - confidence`, and the shares where it has not are an interval that always holds `p` with the chance `confidence`, at all times
//! together. It is an interval because the logarithm of the likelihood is concave in `p`.
//!
//! The method of mixtures is Robbins' ("Statistical methods related to the law of the iterated logarithm", 1970) and, for shares,
//! Lai's ("On confidence sequences", 1976); Howard, Ramdas, McAuliffe and Sekhon ("Time-uniform, nonparametric, nonasymptotic
//! confidence sequences", 2021) compare such mixtures. The mixture with 1/2 is Krichevsky and Trofimov's (1981): it costs at most
//! `ln(n)/2 + ln(2)` against the best share in hindsight, and is narrow near 0 and 1, where the share of mismatches should be.
//!
//! What it takes for granted: outcomes do not depend on each other. A client that sends the same request a thousand times counts
//! a thousand times, and makes the interval narrower than it should be.

use super::gamma::ln_beta;
use super::tally::Tally;

/// Shares that fit what was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The smallest one.
    pub low: f64,
    /// The largest one.
    pub high: f64,
}

/// Halvings of an interval. Nothing is left between two floats after them.
const HALVINGS: u32 = 64;

impl Interval {
    /// The shares of bad outcomes that fit the tally, at a confidence between 0 and 1. All shares if nothing was observed.
    #[must_use]
    pub fn of(tally: Tally, confidence: f64) -> Self {
        let share = tally.bad.min(tally.observed) as f64 / (tally.observed as f64).max(1.0);
        let enough = -(1.0 - confidence).ln();
        let border = |outside: f64| match ln_evidence(tally, outside) < enough {
            true => outside,
            false => border(tally, [share, outside], enough),
        };
        Self { low: border(0.0), high: border(1.0) }
    }
}

/// Where the evidence against a share reaches `enough`: between a share that fits and one that does not.
fn border(tally: Tally, [mut fits, mut fails]: [f64; 2], enough: f64) -> f64 {
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(fits, fails);
        *(if ln_evidence(tally, middle) < enough { &mut fits } else { &mut fails }) = middle;
    }
    fails
}

/// Logarithm of `E(p)`. Infinite if what was counted can not happen under that share.
fn ln_evidence(tally: Tally, share: f64) -> f64 {
    let bad = tally.bad.min(tally.observed);
    let [bad, good] = [bad, tally.observed.saturating_sub(bad)].map(|count| count as f64);
    let term = |count: f64, share: f64| if count > 0.0 { count * share.ln() } else { 0.0 };
    ln_beta(bad + 0.5, good + 0.5) - ln_beta(0.5, 0.5) - term(bad, share) - term(good, 1.0 - share)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers that the tests choose")]
mod tests {
    use super::*;
    use crate::guardrail::dice::Dice;
    use proptest::prelude::*;
    use serde_json::Value;

    fn tally(observed: u64, bad: u64) -> Tally {
        Tally { observed, bad }
    }

    #[test]
    fn intervals_are_those_of_an_independent_implementation() {
        let vectors = include_str!("../../../../tests/vectors/proportion/intervals.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let vectors = vectors["intervals"].as_array().unwrap();
        assert!(vectors.len() >= 50);
        for vector in vectors {
            let count = |name: &str| vector[name].as_u64().unwrap();
            let number = |name: &str| vector[name].as_f64().unwrap();
            let found = Interval::of(tally(count("observed"), count("bad")), number("confidence"));
            for (found, wanted) in [(found.low, number("low")), (found.high, number("high"))] {
                assert!((found - wanted).abs() <= 1e-10, "{found} is not {vector}");
            }
        }
    }

    /// Whether the interval ever leaves out the true share, in this many looks after each outcome.
    fn misses(seed: u64, share: f64, looks: u32, enough: f64) -> bool {
        let (mut dice, mut seen) = (Dice::new(seed), Tally::default());
        (0..looks).any(|_| {
            seen = tally(seen.observed + 1, seen.bad + u64::from(dice.chance(share)));
            ln_evidence(seen, share) >= enough
        })
    }

    #[test]
    fn over_a_whole_sequence_of_looks_the_true_share_is_missed_no_more_often_than_the_confidence_allows() {
        const RUNS: u64 = 400;
        for (share, confidence) in [(0.001, 0.8), (0.02, 0.8), (0.3, 0.8), (0.5, 0.95), (0.02, 0.95)] {
            let enough = -(1.0_f64 - confidence).ln();
            let missed = (0..RUNS).filter(|seed| misses(*seed, share, 2_000, enough)).count() as f64;
            let allowed = (1.0 - confidence) * RUNS as f64;
            assert!(missed <= allowed, "{share}: {missed} of {RUNS} at {confidence}");
            assert!(missed > 0.0, "{share}: an interval that never misses is too wide");
        }
    }

    #[test]
    fn a_test_that_is_valid_for_one_look_fails_the_same_simulation() {
        let misses = |seed: u64| {
            let (mut dice, mut bad) = (Dice::new(seed), 0_u32);
            (1..=2_000_u32).any(|observed| {
                bad += u32::from(dice.chance(0.3));
                let [observed, bad] = [observed, bad].map(f64::from);
                observed >= 50.0 && (bad / observed - 0.3).abs() > 1.96 * (0.21 / observed).sqrt()
            })
        };
        assert!(
            (0..400).filter(|seed| misses(*seed)).count() > 100,
            "5 % for each look, many times that for all"
        );
    }

    #[test]
    fn nothing_observed_fits_every_share() {
        assert_eq!(Interval::of(Tally::default(), 0.95), Interval { low: 0.0, high: 1.0 });
    }

    proptest! {
        #[test]
        fn the_observed_share_is_inside_and_more_confidence_is_wider(
            observed in 1..10_000_000_u64, share in 0.0..=1.0_f64, confidence in 0.01..0.999_f64,
        ) {
            let seen = tally(observed, (observed as f64 * share) as u64);
            let share = seen.bad as f64 / observed as f64;
            let [narrow, wide] = [confidence, confidence.midpoint(1.0)].map(|at| Interval::of(seen, at));
            prop_assert!(wide.low <= narrow.low && narrow.low <= share && share <= narrow.high && narrow.high <= wide.high);
            prop_assert!(0.0 <= wide.low && wide.high <= 1.0);
        }

        #[test]
        fn good_and_bad_are_treated_alike(observed in 0..100_000_u64, share in 0.0..=1.0_f64) {
            let bad = (observed as f64 * share) as u64;
            let [one, other] = [bad, observed - bad].map(|bad| Interval::of(tally(observed, bad), 0.95));
            prop_assert!((one.low + other.high - 1.0).abs() < 1e-9 && (one.high + other.low - 1.0).abs() < 1e-9);
        }
    }
}
