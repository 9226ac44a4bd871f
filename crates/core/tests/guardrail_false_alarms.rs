//! How often a guardrail blames a version that is not worse than allowed: the short form of `examples/false_alarms.rs`.
//!
//! A test fails if the 95 % lower bound of the share that tripped is above what the confidence allows. Random numbers are seeded.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may stop with the reason"
)]

use std::collections::VecDeque;
use std::iter::repeat_n;
use std::time::Duration;

use rollout_core::guardrail::{NullHypothesis, Setting, Side, SplitMark, Tally, Worker, merge};
use rollout_core::{Health, Time, compile, decide_unit};
use serde_json::json;

mod guardrail;

use guardrail::{Dice, Shape, Slot, beta, ended, highest, lower_bound, rollout};

const SIZES: [u64; 2] = [50, 450];

fn holds(what: &str, highest: &[f64]) {
    for confidence in [0.9, 0.99, 0.999] {
        let tripped = highest.iter().filter(|e| **e * (1.0 - confidence) >= 1.0).count();
        let least = lower_bound(tripped, highest.len());
        assert!(least <= 1.0 - confidence, "{tripped} of {} at {confidence}: {what}", highest.len());
    }
}

#[test]
fn a_version_at_the_border_of_its_margin_is_rarely_blamed() {
    for margin in [0.0, 0.02] {
        for stable in [0.000_1, 0.01, 0.2] {
            let (slot, mut dice) = (Slot::new(SIZES, [stable + margin, stable]), Dice::new(1));
            let all: Vec<_> = (0..1_000)
                .map(|_| highest(NullHypothesis::increase(margin), repeat_n(&slot, 200), &mut dice))
                .collect();
            holds(&format!("{stable} with margin {margin}"), &all);
        }
    }
}

#[test]
fn a_latency_at_the_border_of_its_ratio_is_rarely_blamed() {
    for shape in Shape::ALL {
        let (null, mut dice) = (NullHypothesis::quantile(0.99), Dice::new(2));
        let stable = shape.above(1.5 * shape.exceeded(0.01));
        let slot = Slot::new(SIZES, [null.allowed(stable), stable]);
        let all: Vec<_> = (0..1_000).map(|_| highest(null, repeat_n(&slot, 200), &mut dice)).collect();
        holds(&format!("{shape:?}"), &all);
    }
}

#[test]
fn a_version_is_not_blamed_for_what_stable_shares() {
    let mut dice = Dice::new(3);
    let mut tripped = |null: NullHypothesis, before: [f64; 2], after: [f64; 2]| {
        let slots = [before, after].map(|rates| Slot::new(SIZES, rates));
        let shared = || repeat_n(&slots[0], 100).chain(repeat_n(&slots[1], 100));
        (0..100).filter(|_| highest(null, shared(), &mut dice) >= 100.0).count()
    };
    assert_eq!(tripped(NullHypothesis::increase(0.02), [0.005; 2], [0.5; 2]), 0, "both fail");
    for shape in Shape::ALL {
        let limit = 1.5 * shape.exceeded(0.01);
        let [before, after] = [limit, limit / 3.0].map(|limit| [shape.above(limit); 2]);
        assert_eq!(
            tripped(NullHypothesis::quantile(0.99), before, after),
            0,
            "both are three times slower: {shape:?}"
        );
    }
}

fn side(dice: &mut Dice) -> Side {
    if dice.chance(0.1) { Side::Version } else { Side::Stable }
}

#[test]
fn one_client_that_always_fails_does_not_condemn_a_version() {
    let mut dice = Dice::new(4);
    for _ in 0..10 {
        let [bounded, plain] = rollout(&mut dice, 100, |dice| match side(dice) {
            Side::Version if dice.chance(0.2) => (Side::Version, 77, true),
            side => (side, dice.word() as u16, dice.chance(0.005)),
        });
        assert!(bounded < 100.0 && plain >= 100.0, "{bounded} bounded, {plain} if each request counts");
    }
}

#[test]
fn different_users_are_rarely_taken_for_a_bad_version() {
    let mut dice = Dice::new(5);
    let runs: Vec<_> = (0..40)
        .map(|_| {
            let mut up_to = 0.0;
            let users: Vec<_> = (0..5_000)
                .map(|_| {
                    up_to += dice.uniform().powf(-1.0 / 1.2);
                    (up_to, side(&mut dice), dice.word() as u16, beta(0.1, 0.005, &mut dice))
                })
                .collect();
            rollout(&mut dice, 100, |dice| {
                let at = up_to * dice.uniform();
                let found = users.partition_point(|(up_to, ..)| *up_to < at).min(users.len() - 1);
                let (_, side, bucket, failing) = users[found];
                (side, bucket, dice.chance(failing))
            })[0]
        })
        .collect();
    holds("users that differ", &runs);
}

/// Clients, their requests per second, the version's percentage of clients, and the share of requests that fails.
struct Outage {
    clients: u32,
    requests: u64,
    percent: u32,
    failing: f64,
}

/// What each side has counted after a minute without a verdict, if on both sides some requests fail after 2.5 s and the others are
/// answered after 50 ms.
fn counted_in(outage: &Outage) -> [Tally; 2] {
    const START: u64 = 1_795_599_000_000;
    let document = json!({"revision": 1, "rollouts": [{"name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
        "strategy": {"canary": {"version": "v2", "percent": outage.percent}},
        "guardrails": {"signals": [{"error_rate": {"max_increase_percent": 2, "confidence": 0.99}}]}}]});
    let plan = compile(document.to_string().as_bytes()).unwrap().plan;
    let rollout = &plan.rollouts()[0];
    let guardrails = rollout.guardrails().unwrap();
    let time = Time::from_seconds(START / 1_000);
    let decide = |unit: u32| decide_unit(&plan, rollout, format!("user-{unit}").as_bytes(), time);
    let decisions: Vec<_> = (0..outage.clients).map(decide).collect();
    let split = SplitMark::of(rollout, Health::HEALTHY, time);
    let mut shared = Vec::new();
    let mut worker = Worker::new(guardrails, rollout.stable().ordinal());
    let (mut dice, mut under_way) = (Dice::new(6), [const { VecDeque::new() }; 2]);
    let mut counted = [Tally::default(); 2];
    for at in START..START + 60_000 {
        let now = Duration::from_millis(at);
        for _ in 0..outage.requests * (at + 1) / 1_000 - outage.requests * at / 1_000 {
            let decision = &decisions[(dice.word() % u64::from(outage.clients)) as usize];
            let failed = dice.chance(outage.failing);
            let ends = at + if failed { 2_500 } else { 50 };
            under_way[usize::from(failed)].push_back((ends, worker.begin(decision, now, split).unwrap()));
        }
        for (failed, under_way) in [false, true].into_iter().zip(&mut under_way) {
            while let Some((_, ticket)) = under_way.pop_front_if(|(ends, _)| *ends <= at) {
                worker.record(guardrails, ticket, ended(failed, 50), now);
            }
        }
        if at % 200 == 0 {
            let setting = Setting::of(rollout, 0, Health::HEALTHY, now).unwrap();
            let merged = merge(&shared, &worker, 0, &setting);
            shared = merged.bytes;
            assert!(merged.verdicts.is_empty(), "{:?}", merged.verdicts);
            for of in merged.observed {
                for (sum, tally) in counted.iter_mut().zip([of.sides.version, of.sides.stable]) {
                    *sum = Tally { observed: sum.observed + tally.observed, bad: sum.bad + tally.bad };
                }
            }
            worker.merged(guardrails, 0, &merged.record, &merged.feedback);
        }
    }
    counted
}

#[test]
fn if_both_sides_time_out_the_busier_or_smaller_one_hides_no_failures() {
    for outage in [
        // Nearly all buckets of stable have a request in each second, and those of the version do not.
        Outage { clients: 20_000, requests: 5_000, percent: 10, failing: 0.1 },
        // Stable has few clients left, so each of them waits for the others.
        Outage { clients: 600, requests: 2_000, percent: 90, failing: 0.3 },
    ] {
        let [version, stable] = counted_in(&outage).map(|tally| tally.rate());
        let Outage { clients, percent, .. } = outage;
        assert!(version < stable + 0.01, "{version} against {stable}, {clients} clients at {percent} %");
        assert!(stable > 0.75 * outage.failing, "{stable}, {clients} clients at {percent} %");
    }
}
