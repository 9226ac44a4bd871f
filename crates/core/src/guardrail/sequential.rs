//! An always-valid test: is the version worse than stable by more than the margin? It may be checked at any time, any
//! number of times.
//!
//! H0: in every slot the version's mean rate `a` and stable's mean rate `b` satisfy `a <= margin + slope * b`. Both rates
//! may drift, alone or together. If H0 is true, the chance that [`SequentialTest::trips`] is ever true is at most
//! 1 - confidence. Assumptions: within a slot, given all earlier slots, outcomes are independent and do not decide how many are
//! counted. The rates are those of the units that come, and chance may assign the worse units to a version. No theorem
//! bounds that effect. The margin and `evidence` make it small, and `examples/false_alarms.rs` measures how small.
//!
//! # One slot
//!
//! Let a slot have n and m outcomes, fix an alternative (a', b') before it, and let (a0, b0) minimise n KL(a'|a) + m KL(b'|b)
//! on the border a = margin + slope * b. The bet is S = prod f(x) prod g(y) over both sides' outcomes, with
//! f(1) = a'/a0, f(0) = (1-a')/(1-a0) and g alike. With u = (a'-a0)/(a0(1-a0)) and v = (b'-b0)/(b0(1-b0)),
//! `E[S] = prod (1 + u(a_i-a0)) prod (1 + v(b_j-b0))`. Its logarithm is concave in the rates, so it is below its tangent at
//! (a0, b0), which is n u (a-a0) + m v (b-b0) with a and b the slot's means. The minimum is stationary: m v = -slope n u; and
//! a' >= a0 makes n u >= 0. So `ln E[S] <= n u (a - margin - slope * b) <= 0` on all of H0: S is an e-variable.
//!
//! This is the two-sample e-variable of Turner, Ly and Grünwald ("Generic E-variables for exact sequential k-sample tests that
//! allow for optional stopping", 2024) with the null moved off equality, as in Turner and Grünwald ("Exact anytime-valid
//! confidence intervals for contingency tables and beyond", 2023).
//!
//! # All slots
//!
//! A version may fail after hours of health, so a new bet starts in every slot, with a share of the capital. This is an
//! e-detector (Shin, Ramdas and Rinaldo, 2023) whose shares w_t are fixed and add up to 1, so it is a martingale:
//! M <- S (M + w_t). The capital is the mean of M over the alternatives plus the shares of later slots. Ville's inequality
//! gives the bound. Half of the capital is for the first slot. The rest decays like t^(-5/4): after a change at slot t the
//! verdict needs about ln(8 t^(5/4) / 1000^(1/4)) more evidence than without waiting, 11 after an hour and 15 after a day.

use super::codec::{Reader, Writer};
use super::tally::{Sides, Tally};
use crate::plan::guardrails::NullHypothesis;

/// A comparison of a version with stable for one signal, from the start of an epoch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SequentialTest {
    capital: Capital,
    /// Stable's recent outcomes, which predict its rate.
    stable: Recent,
    total: Sides,
}

/// The capital of all bets, those that have not started included.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Capital {
    /// Of the bets that have started, for each alternative.
    started: Growths,
    /// Number of slots with a bet.
    slots: u64,
}

/// A number for each alternative.
pub(super) type Growths = [f64; STEPS.len()];

/// A tally that loses half of its weight in 64 slots.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Recent {
    observed: f64,
    bad: f64,
}

/// Distances of the alternatives above the allowed rate, in scales. Steps of 4: between two alternatives, the nearer one
/// still has two thirds of the best growth, and a finer grid would cost more evidence than it finds.
const STEPS: [f64; 4] = [0.25, 1.0, 4.0, 16.0];

/// The scale is the margin within these bounds. Smaller steps could not be found, and larger ones would end above 1.
const SCALE: [f64; 2] = [0.002, 0.1];

/// There is no alternative if less than this is left above the allowed rate.
const LEAST_ROOM: f64 = 0.02;

/// About a minute, because stable's rate is predicted for the next second only.
const KEPT: f64 = 0.989_228_013_193_975_5; // 2^(-1/64)

/// Smallest share that a document can name. A rate of zero would lose everything to one outcome.
const LEAST_RATE: f64 = 1e-6;

/// Number of slots, a quarter of an hour, for which shares of the capital stay about even before they decay.
const EVEN: f64 = 1_000.0;

/// Most steps; five are common. Each step halves the interval or is one of Newton's, so after this many nothing is left of it.
const MOST_STEPS: u32 = 60;

/// Far above every threshold. Dropping capital above it keeps the guarantee.
const ENOUGH: f64 = 1e100;

/// Largest logarithm whose power still fits a float.
const MOST_GROWTH: f64 = 700.0;

impl SequentialTest {
    /// Adds a slot. `null` must be the same for the whole epoch.
    pub fn observe(&mut self, null: NullHypothesis, slot: Sides) {
        if let Some(growths) = self.stable.growths(null, slot) {
            self.capital.bet(growths);
        }
        self.stable.take(slot.stable);
        self.total = self.total.plus(slot);
    }

    /// The capital, which starts at 1. It is the evidence against H0, and 1 / (1 - confidence) is enough.
    #[must_use]
    pub fn e_value(&self) -> f64 {
        self.capital.mean()
    }

    /// True if the version is worse than allowed, at this confidence, now. The caller latches it.
    #[must_use]
    pub fn trips(&self, confidence: f64) -> bool {
        self.e_value() * (1.0 - confidence) >= 1.0
    }

    /// Everything counted since the epoch began.
    #[must_use]
    pub fn total(&self) -> Sides {
        self.total
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        self.capital.encode(writer);
        writer.float(self.stable.observed);
        writer.float(self.stable.bad);
        self.total.encode(writer);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            capital: Capital::decode(reader)?,
            stable: Recent::decode(reader)?,
            total: Sides::decode(reader)?,
        })
    }
}

impl Capital {
    /// Multiplies the bets by the growth of a slot, of which these are the logarithms.
    pub(super) fn bet(&mut self, growths: Growths) {
        let before = self.unshared();
        self.slots = self.slots.saturating_add(1);
        self.grow(growths, before - self.unshared());
    }

    /// Multiplies the bets and a new one with this share.
    pub(super) fn grow(&mut self, growths: Growths, share: f64) {
        for (capital, growth) in self.started.iter_mut().zip(growths) {
            *capital = (growth.min(MOST_GROWTH).exp() * (*capital + share)).min(ENOUGH);
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        self.started.iter().for_each(|capital| writer.float(*capital));
        writer.number(self.slots);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let mut started = Growths::default();
        for capital in &mut started {
            *capital = reader.size()?;
        }
        Some(Self { started, slots: reader.number()? })
    }

    /// The capital for later slots.
    fn unshared(&self) -> f64 {
        match self.slots {
            0 => 1.0,
            slots => 0.5 * (EVEN / (EVEN + slots as f64)).sqrt().sqrt(),
        }
    }

    /// The mean over the alternatives.
    pub(super) fn mean(&self) -> f64 {
        self.started.iter().sum::<f64>() / STEPS.len() as f64 + self.unshared()
    }
}

impl Recent {
    pub(super) fn take(&mut self, tally: Tally) {
        self.observed = self.observed * KEPT + tally.observed as f64;
        self.bad = self.bad * KEPT + tally.bad as f64;
    }

    /// The logarithm of the growth of each alternative's bet on a slot. `None` if there is nothing to bet on: a side has no
    /// outcomes, or nothing is known of stable. The first slots of stable only teach which rate to expect.
    pub(super) fn growths(self, null: NullHypothesis, slot: Sides) -> Option<Growths> {
        if self.observed == 0.0 || slot.version.observed == 0 || slot.stable.observed == 0 {
            return None;
        }
        let stable = self.predicted();
        let growth = |step| match alternative(null, stable, step) {
            Some(version) => growth(null, [version, stable], slot),
            None => 0.0,
        };
        Some(STEPS.map(growth))
    }

    /// The predicted rate. It is never 0 or 1, because that would bet everything on one outcome.
    fn predicted(self) -> f64 {
        (self.bad + 0.5) / (self.observed + 1.0)
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let (observed, bad) = (reader.size()?, reader.size()?);
        (bad <= observed && observed < ENOUGH).then_some(Self { observed, bad })
    }
}

/// The logarithm of the growth of each alternative's bet on outcomes whose rate may be at most this.
pub(super) fn growths_above(allowed: f64, tally: Tally) -> Growths {
    let null = NullHypothesis::increase(allowed.max(LEAST_RATE));
    let growth = |step| match alternative(null, 0.0, step) {
        Some(rate) => log_likelihood(tally, [rate, null.margin]),
        None => 0.0,
    };
    STEPS.map(growth)
}

/// The version's rate to bet on. `None` if nearly every rate is allowed.
fn alternative(null: NullHypothesis, stable: f64, step: f64) -> Option<f64> {
    let [least, most] = SCALE;
    let allowed = null.allowed(stable);
    let room = 1.0 - allowed;
    (room >= LEAST_ROOM).then(|| allowed + (step * null.margin.clamp(least, most)).min(room / 2.0))
}

/// The logarithm of the factor by which a slot multiplies a bet on these rates, `S` above.
fn growth(null: NullHypothesis, rates: [f64; 2], slot: Sides) -> f64 {
    let [version, stable] = rates;
    let weights = [slot.version.observed as f64, slot.stable.observed as f64];
    let nearest = projection(null, rates, weights);
    log_likelihood(slot.version, [version, null.allowed(nearest)])
        + log_likelihood(slot.stable, [stable, nearest])
}

/// Logarithm of the likelihood ratio of the tally: the first rate against the second.
fn log_likelihood(tally: Tally, [one, other]: [f64; 2]) -> f64 {
    let good = tally.observed.saturating_sub(tally.bad);
    tally.bad as f64 * (one / other).ln() + good as f64 * ((1.0 - one) / (1.0 - other)).ln()
}

/// Stable's rate `b0` at the border. The sum of divergences is convex along it, falls at `b'` and rises where the version's is
/// `a'`; its derivative, freed of fractions, is a cubic that Newton's method solves from where the root would be if variances
/// were even.
fn projection(null: NullHypothesis, [version, stable]: [f64; 2], [weight, against]: [f64; 2]) -> f64 {
    let (slope, weight) = (null.slope, null.slope * weight);
    let spread = |rate: f64| rate * (1.0 - rate);
    let (mut low, mut high) = (stable, (version - null.margin) / slope);
    let [here, there] = [slope * weight * spread(stable), against * spread(version)];
    let mut at = low + (high - low) * here / (here + there);
    for _ in 0..MOST_STEPS {
        let rate = null.allowed(at);
        let cubic = weight * (version - rate) * spread(at) + against * (stable - at) * spread(rate);
        *(if cubic > 0.0 { &mut low } else { &mut high }) = at;
        let tangent = weight * ((version - rate) * (1.0 - 2.0 * at) - slope * spread(at))
            + against * (slope * (stable - at) * (1.0 - 2.0 * rate) - spread(rate));
        let step = cubic / tangent;
        if step.abs() <= at * f64::EPSILON {
            break;
        }
        let next = at - step;
        at = if low < next && next < high { next } else { f64::midpoint(low, high) };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guardrail::dice::Dice;
    use proptest::prelude::*;

    fn slot(version: [u64; 2], stable: [u64; 2]) -> Sides {
        let [version, stable] = [version, stable].map(|[observed, bad]| Tally { observed, bad });
        Sides { version, stable }
    }

    fn null() -> impl Strategy<Value = NullHypothesis> {
        prop_oneof![
            (0.0..0.5_f64).prop_map(NullHypothesis::increase),
            prop_oneof![Just(0.5), Just(0.9), Just(0.99), Just(0.999)].prop_map(NullHypothesis::quantile)
        ]
    }

    proptest! {
        /// Checks the expectation in closed form, at the rates of the slot and at halves that differ with the same mean.
        #[test]
        fn a_bet_has_no_expected_gain_anywhere_in_the_null(
            null in null(), stable in 0.000_1..0.9_f64, step in prop::sample::select(STEPS.to_vec()),
            sizes in (1..500_u32, 1..2_000_u32), drift in 0.0..1.0_f64, slack in 0.0..1.0_f64, spread in 0.0..1.0_f64,
        ) {
            let Some(version) = alternative(null, stable, step) else { return Ok(()) };
            let weights = [f64::from(sizes.0), f64::from(sizes.1)];
            let nearest = projection(null, [version, stable], weights);
            let expected = |goal: f64, null: f64, rate: f64, size: f64| {
                let half = |rate: f64| (1.0 + (goal - null) / (null * (1.0 - null)) * (rate - null)).ln() * size / 2.0;
                let spread = spread * rate.min(1.0 - rate);
                half(rate - spread) + half(rate + spread)
            };
            for stable_rate in [nearest, drift, drift * 0.01] {
                for version_rate in [1.0, slack].map(|slack| slack * null.allowed(stable_rate).min(1.0)) {
                    let log = expected(version, null.allowed(nearest), version_rate, weights[0])
                        + expected(stable, nearest, stable_rate, weights[1]);
                    prop_assert!(log <= 1e-9, "{log} at {version_rate} and {stable_rate}");
                }
            }
        }

        #[test]
        fn what_was_written_is_read(slots in prop::collection::vec(((1..100_u64, 0.0..=1.0), (1..100_u64, 0.0..=1.0)), 0..20)) {
            let mut comparison = SequentialTest::default();
            let tally = |(observed, share): (u64, f64)| Tally { observed, bad: (observed as f64 * share) as u64 };
            for (version, stable) in slots {
                comparison.observe(NullHypothesis::increase(0.02), Sides { version: tally(version), stable: tally(stable) });
            }
            let mut writer = Writer::default();
            comparison.encode(&mut writer);
            prop_assert_eq!(SequentialTest::decode(&mut Reader::new(&writer.finish())), Some(comparison));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            let Some(mut read) = SequentialTest::decode(&mut Reader::new(&bytes)) else { return Ok(()) };
            read.observe(NullHypothesis::quantile(0.99), slot([20, 20], [20, 0]));
            prop_assert!(!read.e_value().is_nan());
        }
    }

    #[test]
    fn the_shares_of_the_capital_add_up_to_it() {
        let mut comparison = SequentialTest::default();
        // If nearly every rate is allowed, nothing is bet, so the capital must not change.
        for _ in 0..10_000 {
            comparison.observe(NullHypothesis::increase(0.99), slot([50, 1], [400, 3]));
        }
        assert!((comparison.e_value() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_side_without_outcomes_is_not_evidence() {
        let mut comparison = SequentialTest::default();
        for _ in 0..100 {
            comparison.observe(NullHypothesis::increase(0.02), slot([0, 0], [400, 2]));
            comparison.observe(NullHypothesis::increase(0.02), slot([50, 50], [0, 0]));
        }
        assert_eq!(comparison.e_value(), 1.0);
    }

    /// Slots of one second until the test trips, at most ten minutes, after `healthy` slots without a difference.
    fn slots_to_trip(seed: u64, healthy: u32, rates: [f64; 2]) -> Option<u32> {
        let (mut dice, mut comparison) = (Dice::new(seed), SequentialTest::default());
        let mut second = |version: f64| {
            let slot = slot([50, dice.binomial(50, version)], [450, dice.binomial(450, rates[1])]);
            comparison.observe(NullHypothesis::increase(0.02), slot);
            comparison.trips(0.99)
        };
        assert!(!(0..healthy).any(|_| second(rates[1])), "tripped in health");
        (1..=600).find(|_| second(rates[0]))
    }

    #[test]
    fn five_percent_against_half_a_percent_trips_within_minutes_at_once_and_after_an_hour() {
        for (healthy, most) in [(0, 30), (3_600, 60)] {
            let mut slots: Vec<_> =
                (0..21).map(|seed| slots_to_trip(seed, healthy, [0.05, 0.005]).unwrap()).collect();
            slots.sort_unstable();
            assert!(slots[10] <= most, "{slots:?} after {healthy} healthy slots");
        }
    }

    #[test]
    fn a_version_that_always_fails_trips_in_the_second_slot() {
        assert_eq!(slots_to_trip(7, 0, [1.0, 0.005]), Some(2));
        assert_eq!(slots_to_trip(7, 600, [1.0, 0.005]), Some(1));
    }

    #[test]
    fn what_stable_shares_never_trips() {
        assert_eq!(slots_to_trip(3, 60, [0.005, 0.005]), None);
        let (mut dice, mut comparison) = (Dice::new(5), SequentialTest::default());
        for second in 0..600 {
            let rate = if second % 120 < 60 { 0.005 } else { 0.5 };
            let slot = slot([50, dice.binomial(50, rate)], [450, dice.binomial(450, rate)]);
            comparison.observe(NullHypothesis::increase(0.02), slot);
            assert!(!comparison.trips(0.99), "at {second}");
        }
    }
}
