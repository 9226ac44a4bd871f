//! The always-valid test over several strata: places with rates of their own, such as the proxies of a fleet.
//!
//! Sums over strata must not be compared. Where rates differ from place to place, and the version's share of the traffic too, the
//! sums of a version that is no worse than stable anywhere look worse than stable's, or better (Simpson's paradox).
//!
//! H0: in every slot and every stratum, the version's mean rate `a` and stable's mean rate `b` of that stratum satisfy
//! `a <= margin + slope * b`. Each stratum has its own bet, on its own prediction of stable's rate, and the slot's factors `S` of
//! all strata are multiplied for each alternative, before the capital is: `M <- (M + w) * S_1 * ... * S_n`.
//!
//! Each factor has an expectation of at most 1, given the past and the strata before it in any order that does not depend on
//! their outcomes. So the product has too, and all that `sequential` says of one stratum holds for it, with the same bound. The
//! order does not matter to the product. Finished capitals must not be multiplied: a slot's share would be counted once in each.

use super::sequential::{Capital, Growths, Recent};
use super::tally::Sides;
use crate::plan::guardrails::NullHypothesis;

/// A comparison of a version with stable for one signal in several strata, from the start of an epoch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StratifiedTest {
    capital: Capital,
    /// Stable's recent outcomes in each stratum.
    stable: Vec<Recent>,
    compared: Sides,
}

impl StratifiedTest {
    /// Adds a slot: what each stratum has seen in it, always in the same places. New strata may follow the known ones. `null`
    /// must be the same for the whole epoch.
    pub fn observe(&mut self, null: NullHypothesis, slot: &[Sides]) {
        let strata = self.stable.len().max(slot.len());
        self.stable.resize(strata, Recent::default());
        let mut product: Option<Growths> = None;
        for (stable, sides) in self.stable.iter_mut().zip(slot) {
            if let Some(growths) = stable.growths(null, *sides) {
                let sums = product.get_or_insert_default().iter_mut();
                sums.zip(growths).for_each(|(sum, growth)| *sum += growth);
                self.compared = self.compared.plus(*sides);
            }
            stable.take(sides.stable);
        }
        if let Some(product) = product {
            self.capital.bet(product);
        }
    }

    /// The capital, which starts at 1. It is the evidence against H0, and 1 / (1 - confidence) is enough.
    #[must_use]
    pub fn e_value(&self) -> f64 {
        self.capital.mean()
    }

    /// What was compared: the outcomes of slots in which a stratum had both sides, summed over the strata. The first outcomes of
    /// stable in a stratum only teach which rate to expect, and are not compared.
    #[must_use]
    pub fn compared(&self) -> Sides {
        self.compared
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "clippy does not see that `proptest!` makes tests")]
mod tests {
    use super::*;
    use crate::guardrail::dice::Dice;
    use crate::guardrail::sequential::SequentialTest;
    use crate::guardrail::tally::Tally;
    use proptest::prelude::*;

    fn slot(version: [u64; 2], stable: [u64; 2]) -> Sides {
        let [version, stable] = [version, stable].map(|[observed, bad]| Tally { observed, bad });
        Sides { version, stable }
    }

    fn sides() -> impl Strategy<Value = Sides> {
        let tally = || (0..40_u64).prop_flat_map(|observed| (Just(observed), 0..=observed));
        (tally(), tally()).prop_map(|(version, stable)| slot(version.into(), stable.into()))
    }

    proptest! {
        #[test]
        fn one_stratum_is_the_plain_test(slots in prop::collection::vec(sides(), 0..30)) {
            let null = NullHypothesis::increase(0.02);
            let (mut plain, mut stratified) = (SequentialTest::default(), StratifiedTest::default());
            for slot in slots {
                plain.observe(null, slot);
                stratified.observe(null, &[slot]);
                prop_assert_eq!(plain.e_value(), stratified.e_value());
            }
        }

        #[test]
        fn the_order_of_strata_and_strata_without_traffic_do_not_matter(
            slots in prop::collection::vec([sides(), sides(), sides()], 0..30)
        ) {
            let null = NullHypothesis::quantile(0.95);
            let (mut one, mut other) = (StratifiedTest::default(), StratifiedTest::default());
            for [a, b, c] in slots {
                one.observe(null, &[a, b, c]);
                other.observe(null, &[c, Sides::default(), a, b]);
                let ratio = one.e_value() / other.e_value();
                prop_assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
                prop_assert_eq!(one.compared(), other.compared());
            }
        }

        /// Adds up all outcomes of a slot with their exact chances, after any history.
        #[test]
        fn the_evidence_has_no_expected_gain_if_the_null_holds_in_every_stratum(
            margin in 0.0..0.3_f64, history in prop::collection::vec([sides(), sides()], 1..10),
            stable in [0.0..=1.0_f64, 0.0..=1.0_f64], slack in [0.0..=1.0_f64, 0.0..=1.0_f64], sizes in [1..4_u64, 1..4, 1..4, 1..4],
        ) {
            let null = NullHypothesis::increase(margin);
            let mut before = StratifiedTest::default();
            history.iter().for_each(|slot| before.observe(null, slot));
            let version = [0, 1].map(|stratum: usize| slack[stratum] * null.allowed(stable[stratum]).min(1.0));
            let rates = [version[0], stable[0], version[1], stable[1]];
            let outcomes = sizes.map(|size| 0..=size).into_iter();
            let all = outcomes.fold(vec![Vec::new()], |before, bad| {
                let add = |bad: u64| before.iter().map(move |known: &Vec<u64>| [known.as_slice(), &[bad]].concat());
                bad.flat_map(add).collect()
            });
            let mut expected = 0.0;
            for bad in all {
                let chances = [0, 1, 2, 3].map(|side: usize| chance(sizes[side], rates[side], bad[side]));
                let of = |side: usize| [sizes[side], bad[side]];
                let mut after = before.clone();
                after.observe(null, &[slot(of(0), of(1)), slot(of(2), of(3))]);
                expected += chances.iter().product::<f64>() * after.e_value();
            }
            prop_assert!(expected <= before.e_value() * (1.0 + 1e-9), "{expected} after {}", before.e_value());
        }
    }

    /// The chance of this many bad outcomes among so many.
    fn chance(observed: u64, rate: f64, bad: u64) -> f64 {
        let ways: f64 = (0..bad).map(|of| (observed - of) as f64 / (of + 1) as f64).product();
        ways * rate.powi(bad as i32) * (1.0 - rate).powi((observed - bad) as i32)
    }

    #[test]
    fn strata_that_agree_are_more_evidence_than_each_alone() {
        let e_value = |strata: usize| {
            let mut test = StratifiedTest::default();
            test.observe(NullHypothesis::increase(0.02), &vec![slot([0, 0], [400, 2]); strata]);
            test.observe(NullHypothesis::increase(0.02), &vec![slot([40, 10], [400, 2]); strata]);
            test.e_value()
        };
        assert!(e_value(2) > e_value(1) && e_value(3) > e_value(2));
    }

    #[test]
    fn a_stratum_with_only_one_side_is_not_evidence_and_not_compared() {
        let mut test = StratifiedTest::default();
        for _ in 0..100 {
            test.observe(NullHypothesis::increase(0.02), &[slot([50, 50], [0, 0]), slot([0, 0], [400, 2])]);
        }
        assert_eq!((test.e_value(), test.compared()), (1.0, Sides::default()));
    }

    #[test]
    fn ten_strata_find_what_one_with_all_of_the_traffic_finds_nearly_as_fast() {
        let seconds = |strata: u64, seed: u64| {
            let (mut dice, mut test) = (Dice::new(seed), StratifiedTest::default());
            (1..=600_u64).find(|_| {
                let [version, stable] = [500, 1_500].map(|all: u64| all.div_euclid(strata));
                let slot = |dice: &mut Dice| {
                    slot([version, dice.binomial(version, 0.05)], [stable, dice.binomial(stable, 0.005)])
                };
                let slot: Vec<_> = (0..strata).map(|_| slot(&mut dice)).collect();
                test.observe(NullHypothesis::increase(0.02), &slot);
                test.e_value() >= 100.0
            })
        };
        let median = |strata: u64| {
            let mut all: Vec<_> = (0..21).map(|seed| seconds(strata, seed).unwrap()).collect();
            all.sort_unstable();
            all[10]
        };
        let (one, ten) = (median(1), median(10));
        assert!(ten <= one + 3, "{ten} s instead of {one} s");
    }
}
