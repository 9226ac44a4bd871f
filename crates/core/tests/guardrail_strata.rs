//! Proxies with rates of their own, judged together: each is a stratum, because their sums must not be compared.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test may stop with the reason"
)]

use rollout_core::guardrail::{NullHypothesis, SequentialTest, Sides, StratifiedTest, Tally};

mod guardrail;

use guardrail::{Dice, Slot, lower_bound};

const RUNS: usize = 1_000;

fn plus(left: Tally, right: Tally) -> Tally {
    Tally { observed: left.observed + right.observed, bad: left.bad + right.bad }
}

/// Whether ten minutes of these proxies condemn the version at 0.99: with each as a stratum, and by their sums.
fn condemned(margin: f64, proxies: &[Slot], dice: &mut Dice) -> [bool; 2] {
    let null = NullHypothesis::increase(margin);
    let (mut stratified, mut summed) = (StratifiedTest::default(), SequentialTest::default());
    let mut condemned = [false; 2];
    for _ in 0..600 {
        let slot: Vec<Sides> = proxies.iter().map(|proxy| proxy.draw(dice)).collect();
        stratified.observe(null, &slot);
        let sum = slot.iter().fold(Sides::default(), |sum, of| Sides {
            version: plus(sum.version, of.version),
            stable: plus(sum.stable, of.stable),
        });
        summed.observe(null, sum);
        condemned[0] |= stratified.e_value() >= 100.0;
        condemned[1] |= summed.trips(0.99);
    }
    condemned
}

fn share(margin: f64, proxies: &[Slot], seed: u64) -> [usize; 2] {
    let mut dice = Dice::new(seed);
    let all: Vec<_> = (0..RUNS).map(|_| condemned(margin, proxies, &mut dice)).collect();
    [0, 1].map(|test| all.iter().filter(|of| of[test]).count())
}

/// Simpson's paradox: requests fail on one proxy, whatever the version, and the version has its traffic there.
#[test]
fn versions_that_are_equal_on_each_proxy_are_not_blamed_for_where_their_traffic_is() {
    let proxies = [Slot::new([40, 10], [0.08, 0.08]), Slot::new([10, 40], [0.005, 0.005])];
    let [stratified, summed] = share(0.02, &proxies, 11);
    println!("equal versions, other shares: strata {stratified}, sums {summed} of {RUNS}");
    assert_eq!(stratified, 0);
    assert_eq!(summed, RUNS, "the sums of both proxies are not comparable");
}

/// The hardest case that the null hypothesis allows.
#[test]
fn versions_exactly_at_the_margin_on_each_proxy_are_condemned_within_the_confidence() {
    for (seed, proxies) in [
        (12, [Slot::new([40, 10], [0.10, 0.08]), Slot::new([10, 40], [0.025, 0.005])]),
        (13, [Slot::new([10, 40], [0.32, 0.30]), Slot::new([40, 10], [0.021, 0.001])]),
    ] {
        let [stratified, summed] = share(0.02, &proxies, seed);
        println!("at the margin: strata {stratified}, sums {summed} of {RUNS}");
        assert!(lower_bound(stratified, RUNS) <= 0.01, "{stratified} of {RUNS} at 0.99");
    }
}

/// The paradox hides a worse version as well as it blames a good one.
#[test]
fn a_version_that_is_worse_on_each_proxy_is_found_although_its_sum_looks_better() {
    let proxies = [Slot::new([10, 40], [0.16, 0.08]), Slot::new([40, 10], [0.05, 0.005])];
    let [stratified, summed] = share(0.02, &proxies, 14);
    println!("worse on each proxy: strata {stratified}, sums {summed} of {RUNS}");
    assert_eq!([stratified, summed], [RUNS, 0]);
}
