//! How fast a guardrail finds a version that is worse than allowed: the short form of `examples/false_alarms.rs`.

#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test may stop with the reason")]

use rollout_core::guardrail::{NullHypothesis, SequentialTest};

mod guardrail;

use guardrail::{Dice, Shape, Slot, nearest_rank};

const SIZES: [u64; 2] = [50, 450];

/// The number of the version's requests from the failure to the verdict at 0.99. The median of 101 runs.
fn requests(null: NullHypothesis, rates: [[f64; 2]; 2], healthy: u32) -> u64 {
    let [before, after] = rates.map(|rates| Slot::new(SIZES, rates));
    let mut dice = Dice::new(1);
    let mut all: Vec<_> = (0..101)
        .map(|_| {
            let mut comparison = SequentialTest::default();
            for _ in 0..healthy {
                comparison.observe(null, before.draw(&mut dice));
            }
            let found = (1..=3_600).find(|_| {
                comparison.observe(null, after.draw(&mut dice));
                comparison.trips(0.99)
            });
            found.unwrap_or(u64::MAX / SIZES[0]) * SIZES[0]
        })
        .collect();
    nearest_rank(&mut all, 0.5).unwrap()
}

/// A test of a fixed size that is evaluated once, one-sided at 0.01 with power 0.9, needs 1,000.
#[test]
fn five_percent_of_failures_is_found_in_at_most_twice_the_requests_of_a_fixed_test() {
    let rates = [[0.005; 2], [0.05, 0.005]];
    for (healthy, most) in [(0, 1_000), (600, 1_800), (3_600, 2_000)] {
        let found = requests(NullHypothesis::increase(0.02), rates, healthy);
        assert!(found <= most, "{found} after {healthy} s of health");
    }
}

#[test]
fn a_doubled_p99_is_found() {
    for (shape, most) in [(Shape::Exponential, 900), (Shape::LogNormal, 2_000), (Shape::Pareto, 6_000)] {
        let limit = 1.5 * shape.exceeded(0.01);
        let [healthy, slow] = [limit, limit / 2.0].map(|limit| shape.above(limit));
        let found = requests(NullHypothesis::quantile(0.99), [[healthy; 2], [slow, healthy]], 0);
        assert!(found <= most, "{found} for {shape:?}");
    }
}

#[test]
fn a_version_that_always_fails_is_found_in_two_seconds() {
    for healthy in [0, 600] {
        assert!(
            requests(NullHypothesis::increase(0.02), [[0.005; 2], [1.0, 0.005]], healthy) <= 2 * SIZES[0]
        );
    }
}
