//! Random numbers, latencies and intervals for the simulations of guardrails, in the tests and in `examples/false_alarms.rs`.

#![allow(dead_code, reason = "each simulation uses its part")]
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a simulation may stop with the reason"
)]

use std::time::Duration;

use rollout_core::guardrail::{
    Basis, End, Evidence, NullHypothesis, Observation, Outcome, SequentialTest, Side, Sides, Tally,
};

pub(crate) mod pieces;
pub(crate) mod site;
pub(crate) mod traffic;

#[path = "../../src/guardrail/dice.rs"]
mod dice;

pub(crate) use dice::Dice;

/// A failure without an answer, or an answer after this many milliseconds.
pub(crate) fn ended(failed: bool, milliseconds: u64) -> Outcome {
    let answer = Outcome { end: End::Answered, waited: Some(Duration::from_millis(milliseconds)), marks: 0 };
    if failed { Outcome::FAILED_OVER } else { answer }
}

/// Draws of a binomial count, by inversion of its exact distribution.
pub(crate) struct Binomial {
    observed: u64,
    up_to: Vec<f64>,
}

impl Binomial {
    pub(crate) fn new(observed: u64, rate: f64) -> Self {
        let rate = rate.clamp(0.0, 1.0);
        if rate > 0.5 {
            // Mirrored below, so that the first probability is never too small for a float.
            let mirrored = Self::new(observed, 1.0 - rate);
            return Self { observed, up_to: mirrored.up_to.iter().map(|chance| chance + 2.0).collect() };
        }
        let mut chance = (observed as f64 * (-rate).ln_1p()).exp();
        let (mut sum, mut up_to) = (chance, vec![chance]);
        for bad in 0..observed {
            chance *= (observed - bad) as f64 / (bad + 1) as f64 * rate / (1.0 - rate);
            sum += chance;
            up_to.push(sum);
            if chance < 1e-18 && bad as f64 > observed as f64 * rate {
                break;
            }
        }
        Self { observed, up_to }
    }

    pub(crate) fn draw(&self, dice: &mut Dice) -> Tally {
        let mirrored = self.up_to[0] >= 2.0;
        let chance = dice.uniform() + if mirrored { 2.0 } else { 0.0 };
        let found = (self.up_to.partition_point(|up_to| *up_to < chance) as u64).min(self.observed);
        Tally { observed: self.observed, bad: if mirrored { self.observed - found } else { found } }
    }
}

/// Both sides of a slot, or of several equal slots.
pub(crate) struct Slot {
    pub(crate) version: Binomial,
    pub(crate) stable: Binomial,
}

impl Slot {
    pub(crate) fn new(sizes: [u64; 2], rates: [f64; 2]) -> Self {
        Self { version: Binomial::new(sizes[0], rates[0]), stable: Binomial::new(sizes[1], rates[1]) }
    }

    pub(crate) fn draw(&self, dice: &mut Dice) -> Sides {
        Sides { version: self.version.draw(dice), stable: self.stable.draw(dice) }
    }
}

/// The highest e-value after any slot.
pub(crate) fn highest<'s>(
    null: NullHypothesis,
    slots: impl Iterator<Item = &'s Slot>,
    dice: &mut Dice,
) -> f64 {
    let mut comparison = SequentialTest::default();
    slots.fold(1.0, |highest: f64, slot| {
        comparison.observe(null, slot.draw(dice));
        highest.max(comparison.e_value())
    })
}

/// The 95 % lower bound of Clopper and Pearson for a share, if `seen` of `all` had it.
pub(crate) fn lower_bound(seen: usize, all: usize) -> f64 {
    if seen == 0 {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, seen as f64 / all as f64);
    for _ in 0..60 {
        let rate = f64::midpoint(low, high);
        let below = Binomial::new(all as u64, rate).up_to.get(seen - 1).map_or(1.0, |up_to| *up_to);
        *(if 1.0 - below < 0.05 { &mut low } else { &mut high }) = rate;
    }
    low
}

/// The distribution of latencies.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Exponential,
    LogNormal,
    Pareto,
}

impl Shape {
    pub(crate) const ALL: [Self; 3] = [Self::Exponential, Self::LogNormal, Self::Pareto];

    /// The share of latencies above this value.
    pub(crate) fn above(self, latency: f64) -> f64 {
        match self {
            Self::Exponential => (-latency).exp(),
            Self::LogNormal => normal_above(latency.ln() / 0.8),
            Self::Pareto => latency.max(1.0).powf(-2.5),
        }
    }

    /// The latency that this share of latencies exceeds.
    pub(crate) fn exceeded(self, share: f64) -> f64 {
        let (mut low, mut high) = (1e-6_f64, 1e6_f64);
        for _ in 0..60 {
            let middle = (low * high).sqrt();
            *(if self.above(middle) > share { &mut low } else { &mut high }) = middle;
        }
        low
    }
}

/// The upper tail of the normal distribution, to seven digits (Press et al., Numerical Recipes, `erfcc`).
fn normal_above(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let terms = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ];
    let tail = 0.5 * t * (-x * x + terms.iter().fold(0.0, |sum, term| sum * t + term)).exp();
    if z >= 0.0 { tail } else { 1.0 - tail }
}

/// Gamma by Marsaglia and Tsang, 2000.
fn gamma(shape: f64, dice: &mut Dice) -> f64 {
    if shape < 1.0 {
        return gamma(shape + 1.0, dice) * dice.uniform().powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    loop {
        let z = dice.normal();
        let v = (1.0 + z / (9.0 * d).sqrt()).powi(3);
        if v > 0.0 && dice.uniform().ln() < 0.5 * z * z + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// A share drawn from a Beta distribution of this mean and first parameter.
pub(crate) fn beta(first: f64, mean: f64, dice: &mut Dice) -> f64 {
    let [one, other] = [first, first / mean - first].map(|shape| gamma(shape, dice));
    one / (one + other).max(f64::MIN_POSITIVE)
}

/// The value that this share of the values does not exceed. The values may be in any order.
pub(crate) fn nearest_rank(values: &mut [u64], share: f64) -> Option<u64> {
    values.sort_unstable();
    values.get(((values.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied()
}

/// Highest e-values at a margin of 2 points, with bounded weights and with each request counted, in this many seconds of 500 requests.
pub(crate) fn rollout(
    dice: &mut Dice,
    seconds: u64,
    mut request: impl FnMut(&mut Dice) -> (Side, u16, bool),
) -> [f64; 2] {
    let null = NullHypothesis::increase(0.02);
    let mut evidence = Evidence::new(&[Basis::Requests], 0);
    let [mut bounded, mut plain] = [SequentialTest::default(), SequentialTest::default()];
    let mut highest = [1.0_f64; 2];
    for second in 1..=seconds {
        let mut all = Sides::default();
        for _ in 0..500 {
            let (side, bucket, fails) = request(dice);
            let observation = Observation {
                bucket,
                tag: dice.word() as u8,
                bases: Basis::Requests.into(),
                bad: u16::from(fails),
                late: false,
            };
            evidence.offer(side, observation);
            let tally = match side {
                Side::Version => &mut all.version,
                Side::Stable => &mut all.stable,
            };
            *tally = Tally { observed: tally.observed + 1, bad: tally.bad + u64::from(fails) };
        }
        for slot in evidence.close(second * 1_000).unwrap_or_default() {
            bounded.observe(null, slot);
        }
        plain.observe(null, all);
        highest = [highest[0].max(bounded.e_value()), highest[1].max(plain.e_value())];
    }
    highest
}
