//! Mismatches of a shadow: is more than the allowed share of its answers different from what stable answered?
//!
//! A pair is a live answer and the answer of one copy of its request. No side is compared here, so the test has one sample.
//!
//! H0: given all earlier pairs, each pair that counts is a mismatch with a chance of at most `most`. A bet on a rate a' > most
//! multiplies its capital by a'/most at a mismatch and by (1-a')/(1-most) at a match. At a true rate a, the expectation of that
//! factor is 1 + (a'-most)(a-most)/(most(1-most)), which is at most 1 if a <= most. So the capital is a supermartingale, however many
//! pairs come and whenever one looks (Wald's likelihood ratio, 1945, as a test martingale: Shafer, Shen, Vereshchagin and Vovk,
//! "Test martingales, Bayes factors and p-values", 2011; betting on bounded means: Waudby-Smith and Ramdas, 2024). The
//! alternatives, and the new bets of each second, are those of `sequential`.
//!
//! Requests of one client depend on each other, so pairs count as in `evidence`: a hash bucket at most once per second, with the
//! first request that starts, and again only after 19 other buckets; and a mismatch counts as a match if its bucket is among the last
//! 19 with a mismatch.

use super::claim::{Claim, Claimed, Published};
use super::codec::{Reader, Writer};
use super::sequential::{Capital, growths_above};
use super::spacing::Last;
use super::tally::{Side, Tally};
use super::verdict::Finding;

/// Fewest mismatches that condemn a version. The rules above make each one another bucket's.
const LEAST: u64 = 4;

/// A pair of answers whose comparison will be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairTicket {
    /// The ordinal of the version that got the copy.
    pub(crate) ordinal: usize,
    /// The unit's hash bucket.
    pub(crate) unit: u16,
    /// `None` if the pair is no evidence for a test.
    pub(crate) claim: Option<Published>,
    /// When the request began, in milliseconds.
    pub(crate) began_ms: u64,
}

impl PairTicket {
    /// The ordinal of the version that got the copy.
    #[must_use]
    pub fn version(&self) -> usize {
        self.ordinal
    }
}

/// A pair that may count in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeenPair {
    pub(crate) claim: Claim,
    pub(crate) is_mismatch: bool,
}

/// Which pairs of a version count, for all of its tests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Admission {
    claimed: Claimed,
    counted: Last,
    differing: Last,
}

impl Admission {
    /// True if this claim is the first one.
    pub(crate) fn take(&mut self, claim: Claim) -> bool {
        self.claimed.take(claim)
    }

    /// The pairs that count.
    pub(crate) fn admit(&mut self, pairs: impl Iterator<Item = SeenPair>) -> Tally {
        let mut tally = Tally::default();
        for SeenPair { claim, is_mismatch } in pairs {
            if self.counted.take(claim.bucket) {
                let is_bad = is_mismatch && self.differing.take(claim.bucket);
                tally = tally.plus(Tally { observed: 1, bad: is_bad.into() });
            }
        }
        tally
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        self.claimed.encode(writer);
        self.counted.encode(writer);
        self.differing.encode(writer);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            claimed: Claimed::decode(reader)?,
            counted: Last::decode(reader)?,
            differing: Last::decode(reader)?,
        })
    }
}

/// A claim of a pair.
pub(crate) fn claim(bucket: u16, second: u64) -> Claim {
    Claim { side: Side::Version, bucket, second }
}

/// An always-valid test of one rate against the greatest that is allowed, from the start of an epoch.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct RateTest {
    capital: Capital,
    /// The second of the newest bet.
    second: u64,
    total: Tally,
}

impl RateTest {
    /// Adds outcomes. `most` must be the same for the whole epoch. Outcomes of one second share a bet, whichever worker saw them.
    pub(crate) fn observe(&mut self, most: f64, tally: Tally, second: u64) {
        if tally.observed == 0 {
            return;
        }
        let growths = growths_above(most, tally);
        if second != self.second {
            self.second = second;
            self.capital.bet(growths);
        } else {
            self.capital.grow(growths, 0.0);
        }
        self.total = self.total.plus(tally);
    }

    /// The capital, which starts at 1.
    fn e_value(&self) -> f64 {
        self.capital.mean()
    }

    /// Everything counted since the epoch began, with the evidence.
    pub(crate) fn finding(&self, most: f64, confidence: f64) -> Finding {
        Finding::Above {
            observed: self.total,
            limit: most,
            e_value: self.e_value(),
            wanted: 1.0 / (1.0 - confidence),
        }
    }

    /// True if enough mismatches were counted for a verdict, so that no few clients give it.
    pub(crate) fn is_of_several_units(&self) -> bool {
        self.total.bad >= LEAST
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        self.capital.encode(writer);
        writer.number(self.second);
        self.total.encode(writer);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            capital: Capital::decode(reader)?,
            second: reader.number()?,
            total: Tally::decode(reader).filter(|total| total.bad <= total.observed)?,
        })
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "clippy does not see that `proptest!` makes tests")]
mod tests {
    use super::*;
    use crate::guardrail::dice::Dice;
    use proptest::prelude::*;

    fn tally([observed, bad]: [u64; 2]) -> Tally {
        Tally { observed, bad }
    }

    proptest! {
        /// Adds up all outcomes of a slot with their exact chances, after any history.
        #[test]
        fn the_evidence_has_no_expected_gain_if_the_rate_is_allowed(
            most in 0.0..=1.0_f64, slack in 0.0..=1.0_f64, size in 1..8_u64, is_new: bool,
            history in prop::collection::vec((1..40_u64).prop_flat_map(|observed| (Just(observed), 0..=observed)), 0..10),
        ) {
            let (mut before, mut second) = (RateTest::default(), 0);
            for slot in history {
                second += 1;
                before.observe(most, tally(slot.into()), second);
            }
            let (rate, mut expected) = (slack * most, 0.0);
            for bad in 0..=size {
                let ways: f64 = (0..bad).map(|of| (size - of) as f64 / (of + 1) as f64).product();
                let mut after = before.clone();
                after.observe(most, tally([size, bad]), second + u64::from(is_new));
                expected += ways * rate.powi(bad as i32) * (1.0 - rate).powi((size - bad) as i32) * after.e_value();
            }
            prop_assert!(expected <= before.e_value() * (1.0 + 1e-9), "{expected} after {}", before.e_value());
        }

        #[test]
        fn how_the_pairs_of_a_second_are_divided_among_merges_does_not_matter(
            parts in prop::collection::vec((4..40_u64, 0..4_u64), 1..10),
        ) {
            let (mut one, mut other) = (RateTest::default(), RateTest::default());
            let sum = parts.iter().fold(Tally::default(), |sum, part| sum.plus(tally((*part).into())));
            one.observe(0.01, sum, 100);
            parts.iter().for_each(|part| other.observe(0.01, tally((*part).into()), 100));
            prop_assert!((one.e_value() / other.e_value() - 1.0).abs() < 1e-9);
            prop_assert_eq!(one.total, other.total);
        }

        #[test]
        fn what_was_written_is_read(
            slots in prop::collection::vec((1..40_u64).prop_flat_map(|observed| (Just(observed), 0..=observed)), 0..10),
            pairs: Vec<(u16, u64, bool)>,
        ) {
            let (mut test, mut admission) = (RateTest::default(), Admission::default());
            slots.iter().enumerate().for_each(|(at, slot)| test.observe(0.01, tally((*slot).into()), at as u64));
            for (bucket, second, is_mismatch) in pairs {
                let claim = claim(bucket, second);
                admission.take(claim);
                admission.admit([SeenPair { claim, is_mismatch }].into_iter());
            }
            let mut writer = Writer::default();
            test.encode(&mut writer);
            admission.encode(&mut writer);
            let written = writer.finish();
            let mut reader = Reader::new(&written);
            prop_assert_eq!(RateTest::decode(&mut reader), Some(test));
            prop_assert_eq!(Admission::decode(&mut reader), Some(admission));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>, most in 0.0..=1.0_f64) {
            if let Some(mut read) = RateTest::decode(&mut Reader::new(&bytes)) {
                read.observe(most, tally([20, 20]), 7);
                prop_assert!(!read.e_value().is_nan());
            }
            let _ = Admission::decode(&mut Reader::new(&bytes));
        }
    }

    #[test]
    fn any_limit_from_nothing_to_everything_gives_a_number() {
        for most in [0.0, 1e-6, 0.01, 0.5, 0.99, 1.0] {
            let mut test = RateTest::default();
            for second in 0..10 {
                test.observe(most, tally([50, second]), second);
                assert!(test.e_value().is_finite(), "{most}");
            }
        }
    }

    #[test]
    fn a_bucket_is_never_more_than_one_in_twenty_pairs_or_mismatches() {
        let (mut admission, mut dice) = (Admission::default(), Dice::new(3));
        let (mut counted, mut bad) = ([0_u64; 30], [0_u64; 30]);
        for second in 0..3_000 {
            let bucket = dice.binomial(29, 0.2) as u16;
            let seen = SeenPair { claim: claim(bucket, second), is_mismatch: bucket < 4 };
            let tally = admission.admit([seen].into_iter());
            counted[usize::from(bucket)] += tally.observed;
            bad[usize::from(bucket)] += tally.bad;
        }
        let all: u64 = counted.iter().sum();
        assert!(all > 0 && counted.iter().all(|count| *count <= all.div_ceil(20)), "{counted:?}");
        assert!(bad.iter().all(|count| *count <= 1), "fewer than twenty clients differ: {bad:?}");
    }

    /// The second of the verdict, at 50 pairs per second, if there is one in ten minutes after so many healthy seconds.
    fn found(seed: u64, healthy: u64, rate: f64) -> Option<u64> {
        let (mut dice, mut test) = (Dice::new(seed), RateTest::default());
        let mut trips = |second: u64, rate: f64| {
            test.observe(0.01, tally([50, dice.binomial(50, rate)]), second);
            test.e_value() >= 100.0 && test.is_of_several_units()
        };
        assert!(!(1..=healthy).any(|second| trips(second, 0.001)), "tripped in health");
        (1..=600).find(|second| trips(healthy + second, rate))
    }

    #[test]
    fn more_mismatches_than_allowed_are_found_and_fewer_are_not() {
        for (healthy, rate, most) in [(0, 0.05, 30), (3_600, 0.05, 60), (0, 1.0, 1), (600, 1.0, 1)] {
            let mut seconds: Vec<_> = (0..21).map(|seed| found(seed, healthy, rate).unwrap()).collect();
            seconds.sort_unstable();
            assert!(seconds[10] <= most, "{seconds:?} at {rate} after {healthy} healthy seconds");
        }
        assert_eq!((0..21).find_map(|seed| found(seed, 0, 0.01)), None, "at the limit");
    }
}
