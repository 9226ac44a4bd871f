//! How often guardrails are wrong, and how fast they find a bad version: the full simulations, printed as tables.
//!
//! `cargo run --release --package rollout-core --example false_alarms [short|day|latencies|clients|power|curve|shared]...`
//! runs some of them, or all of them without an argument. Random numbers are seeded, so a run can be repeated. A short form of each
//! runs with the tests.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a simulation may stop with the reason"
)]

use std::f64::consts::TAU;

use rollout_core::guardrail::{
    Basis, Evidence, NullHypothesis, Observation, SequentialTest, Side, Sides, Tally,
};

#[path = "../tests/guardrail/mod.rs"]
mod guardrail;

use guardrail::{Dice, Shape, Slot, beta, highest, lower_bound, nearest_rank, rollout};

/// Requests per second to the version and to stable: 500, a tenth of them to the version.
const SIZES: [u64; 2] = [50, 450];

const RATES: [f64; 5] = [0.000_1, 0.001, 0.01, 0.05, 0.2];

const MARGIN: f64 = 0.02;

const RATIO: f64 = 1.5;

const CONFIDENCES: [f64; 3] = [0.9, 0.99, 0.999];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let parts: [(&str, fn()); 7] = [
        ("short", short),
        ("day", day),
        ("latencies", day_of_latencies),
        ("clients", clients),
        ("power", power),
        ("curve", curve),
        ("shared", shared),
    ];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            part();
        }
    }
}

/// One row: how many runs tripped at each confidence, the lower bound of that share, and whether that is within the promise.
fn row(title: &str, highest: &[f64]) {
    print!("{title:<58} {:>6}", highest.len());
    for confidence in CONFIDENCES {
        let tripped = highest.iter().filter(|e| **e * (1.0 - confidence) >= 1.0).count();
        let least = lower_bound(tripped, highest.len());
        let verdict = if least <= 1.0 - confidence { "within" } else { "ABOVE" };
        print!(
            "  {:>8.3} % >= {:>6.3} {verdict}",
            100.0 * tripped as f64 / highest.len() as f64,
            100.0 * least
        );
    }
    println!();
}

fn heading(title: &str) {
    println!(
        "\n{title}\n{:<58} {:>6}  {:<28}{:<28}{:<28}",
        "", "runs", "tripped at 0.9, 95 % bound", "at 0.99", "at 0.999"
    );
}

/// 10,000 rollouts of 100,000 requests each.
fn short() {
    heading("A/A, 200 slots of 50 and 450");
    for margin in [0.0, MARGIN] {
        for rate in RATES {
            for (place, version) in [("equal", rate), ("at the border", rate + margin)] {
                if margin == 0.0 && place == "at the border" {
                    continue;
                }
                let (slot, mut dice) = (Slot::new(SIZES, [version, rate]), Dice::new(1));
                let slots = || std::iter::repeat_n(&slot, 200);
                let all: Vec<_> = (0..10_000)
                    .map(|_| highest(NullHypothesis::increase(margin), slots(), &mut dice))
                    .collect();
                row(&format!("errors, margin {margin}, stable at {rate}, {place}"), &all);
            }
        }
    }
    for shape in Shape::ALL {
        for quantile in [0.5, 0.99] {
            for at_border in [false, true] {
                let mut dice = Dice::new(2);
                let all: Vec<_> = (0..10_000)
                    .map(|_| {
                        let limit = RATIO * seen_quantile(shape, quantile, &mut dice);
                        let slot = latency_slot(SIZES, shape.above(limit), quantile, at_border);
                        highest(
                            NullHypothesis::quantile(quantile),
                            std::iter::repeat_n(&slot, 200),
                            &mut dice,
                        )
                    })
                    .collect();
                let place = if at_border { "at the border" } else { "equal" };
                row(&format!("latency x {RATIO} at {quantile}, {shape:?}, {place}"), &all);
            }
        }
    }
}

/// The quantile as it is found in half a minute of stable's latencies.
fn seen_quantile(shape: Shape, quantile: f64, dice: &mut Dice) -> f64 {
    let error = (quantile * (1.0 - quantile) / (30.0 * SIZES[1] as f64)).sqrt();
    shape.exceeded(1.0 - quantile + error * dice.normal()) * (1.0 + 0.01 * (2.0 * dice.uniform() - 1.0))
}

fn latency_slot(sizes: [u64; 2], stable: f64, quantile: f64, at_border: bool) -> Slot {
    let version = if at_border { NullHypothesis::quantile(quantile).allowed(stable) } else { stable };
    Slot::new(sizes, [version, stable])
}

/// 1,000 rollouts of a day: traffic, rates and latencies go up and down, with ten minutes of shared trouble.
fn day() {
    heading("A/A for 24 h, 86,400 slots, daily curves, an incident shared by both");
    for (rate, place) in [
        (0.000_1, "equal"),
        (0.001, "equal"),
        (0.01, "equal"),
        (0.05, "equal"),
        (0.2, "equal"),
        (0.01, "at the border"),
    ] {
        let all = days(NullHypothesis::increase(MARGIN), |hour, incident| {
            let rate = if incident { 0.5 } else { rate * (1.0 + 0.8 * (hour * TAU / 24.0).sin()) };
            let version = if place == "equal" { rate } else { rate + MARGIN };
            Slot::new(sizes(hour), [version, rate])
        });
        row(&format!("errors, margin {MARGIN}, stable around {rate}, {place}"), &all);
    }
}

fn day_of_latencies() {
    heading("The same for latencies");
    for shape in Shape::ALL {
        for at_border in [false, true] {
            let mut dice = Dice::new(4);
            let all = days(NullHypothesis::quantile(0.99), |hour, incident| {
                let scale = |hour: f64| 1.0 + 0.5 * (hour * TAU / 24.0).sin();
                let slower = if incident { 3.0 } else { 1.0 };
                let limit = RATIO * seen_quantile(shape, 0.99, &mut dice) * scale(hour - 1.0 / 60.0);
                latency_slot(sizes(hour), shape.above(limit / scale(hour) / slower), 0.99, at_border)
            });
            let place = if at_border { "at the border" } else { "equal" };
            row(&format!("latency x {RATIO} at 0.99, {shape:?}, {place}"), &all);
        }
    }
}

fn sizes(hour: f64) -> [u64; 2] {
    let traffic = 1.0 + 0.6 * (hour * TAU / 24.0).sin();
    SIZES.map(|size| (size as f64 * traffic) as u64)
}

/// The curve and the trouble are made again for every tenth day only, because making them takes longer than a day's slots.
fn days(null: NullHypothesis, mut minute: impl FnMut(f64, bool) -> Slot) -> Vec<f64> {
    let mut dice = Dice::new(3);
    (0..100)
        .flat_map(|_| {
            let start = 24.0 * dice.uniform();
            let trouble = (1_400.0 * dice.uniform()) as u32;
            let minutes: Vec<_> = (0..1_440)
                .map(|at: u32| minute(start + f64::from(at) / 60.0, (trouble..trouble + 10).contains(&at)))
                .collect();
            let slots = || minutes.iter().flat_map(|slot| std::iter::repeat_n(slot, 60));
            (0..10).map(|_| highest(null, slots(), &mut dice)).collect::<Vec<_>>()
        })
        .collect()
}

/// Requests per user are Pareto(1.2); failures belong to users. Per request, through `Evidence` and past it.
fn clients() {
    heading("A/A, 100,000 requests of users that differ, 20,000 users, margin 0.02");
    for mean in [0.005, 0.02, 0.05] {
        for busy in [false, true] {
            let mut dice = Dice::new(5);
            let runs: Vec<_> = (0..2_000).map(|_| crowd(&mut dice, mean, busy)).collect();
            let title = |how| {
                format!("users fail {mean} in the mean{}, {how}", if busy { ", busy ones twice" } else { "" })
            };
            row(&title("bounded"), &runs.iter().map(|run| run[0]).collect::<Vec<_>>());
            row(&title("each request counts"), &runs.iter().map(|run| run[1]).collect::<Vec<_>>());
        }
    }
    let mut dice = Dice::new(6);
    let runs: Vec<_> = (0..2_000).map(|_| one_bad_client(&mut dice)).collect();
    row(
        "one client always fails, a fifth of the requests, bounded",
        &runs.iter().map(|run| run[0]).collect::<Vec<_>>(),
    );
    row("one client always fails, each request counts", &runs.iter().map(|run| run[1]).collect::<Vec<_>>());
}

struct User {
    bucket: u16,
    side: Side,
    failing: f64,
}

/// The highest e-values with bounded weights and without, of one rollout.
fn crowd(dice: &mut Dice, mean: f64, busy: bool) -> [f64; 2] {
    let mut up_to = 0.0;
    let users: Vec<(f64, User)> = (0..20_000)
        .map(|_| {
            let weight = dice.uniform().powf(-1.0 / 1.2);
            up_to += weight;
            let side = if dice.chance(0.1) { Side::Version } else { Side::Stable };
            let mean = if busy && weight > 10.0 { 2.0 * mean } else { mean };
            (up_to, User { bucket: dice.word() as u16, side, failing: beta(0.1, mean, dice) })
        })
        .collect();
    rollout(dice, 200, |dice| {
        let at = up_to * dice.uniform();
        let (_, user) = &users[users.partition_point(|(up_to, _)| *up_to < at).min(users.len() - 1)];
        (user.side, user.bucket, dice.chance(user.failing))
    })
}

fn one_bad_client(dice: &mut Dice) -> [f64; 2] {
    rollout(dice, 200, |dice| {
        let side = if dice.chance(0.1) { Side::Version } else { Side::Stable };
        if side == Side::Version && dice.chance(0.2) {
            return (side, 77, true);
        }
        (side, dice.word() as u16, dice.chance(0.005))
    })
}

/// Number of slots until the test trips at 0.99, after this many healthy ones. At most an hour.
fn detection(null: NullHypothesis, healthy: (&Slot, u32), ill: &Slot, dice: &mut Dice) -> Option<u64> {
    let mut comparison = SequentialTest::default();
    for _ in 0..healthy.1 {
        comparison.observe(null, healthy.0.draw(dice));
    }
    (1..=3_600).find(|_| {
        comparison.observe(null, ill.draw(dice));
        comparison.trips(0.99)
    })
}

fn power() {
    println!("\nFrom the failure to the verdict, confidence 0.99, 1,000 runs each");
    println!(
        "{:<58} {:>9} {:>9} {:>9} {:>12} {:>8}",
        "", "median s", "p90 s", "requests", "p90 requests", "missed"
    );
    let sampled = [SIZES[0]; 2];
    for (title, sizes, minutes) in [
        ("errors 0.5 % -> 5 %, from the start", SIZES, 0),
        ("after 10 min of health", SIZES, 10),
        ("after 1 h of health", SIZES, 60),
        ("after 24 h of health", SIZES, 1_440),
        ("as the first, of stable a sample as large as v2", sampled, 0),
        ("after 1 h, of stable such a sample", sampled, 60),
    ] {
        let (healthy, ill) = (Slot::new(sizes, [0.005; 2]), Slot::new(sizes, [0.05, 0.005]));
        times(title, |dice| {
            detection(NullHypothesis::increase(MARGIN), (&healthy, minutes * 60), &ill, dice)
        });
    }
    times("errors 0.5 % -> 5 %, from the start, through Evidence", |dice| detection_of_requests(0, dice));
    times("errors 0.5 % -> 5 %, after 1 h, through Evidence", |dice| detection_of_requests(3_600, dice));
    for shape in Shape::ALL {
        for healthy_slots in [0, 3_600] {
            let limit = RATIO * shape.exceeded(0.01);
            let healthy = latency_slot(SIZES, shape.above(limit), 0.99, false);
            let ill = Slot::new(SIZES, [shape.above(limit / 2.0), shape.above(limit)]);
            let title = format!("latency p99 x 2, limit x {RATIO}, {shape:?}, after {healthy_slots} s");
            times(&title, |dice| {
                detection(NullHypothesis::quantile(0.99), (&healthy, healthy_slots), &ill, dice)
            });
        }
    }
}

fn times(title: &str, mut run: impl FnMut(&mut Dice) -> Option<u64>) {
    let mut dice = Dice::new(7);
    let mut all: Vec<u64> = (0..1_000).map(|_| run(&mut dice).unwrap_or(u64::MAX)).collect();
    let missed = all.iter().filter(|slots| **slots == u64::MAX).count();
    let [median, most] = [0.5, 0.9].map(|share| nearest_rank(&mut all, share).unwrap_or_default());
    let requests = |slots: u64| slots.saturating_mul(SIZES[0]);
    println!("{title:<58} {median:>9} {most:>9} {:>9} {:>12} {missed:>8}", requests(median), requests(most));
}

/// The same, request by request, with as many users as there are buckets to fill.
fn detection_of_requests(healthy: u64, dice: &mut Dice) -> Option<u64> {
    let null = NullHypothesis::increase(MARGIN);
    let (mut evidence, mut comparison) = (Evidence::new(&[Basis::Requests], 0), SequentialTest::default());
    (1..=healthy + 3_600).find_map(|second| {
        let rate = if second > healthy { 0.05 } else { 0.005 };
        for (side, size, rate) in [(Side::Version, SIZES[0], rate), (Side::Stable, SIZES[1], 0.005)] {
            for _ in 0..size {
                let bad = u16::from(dice.chance(rate));
                let word = dice.word();
                let bucket = word as u16;
                evidence.offer(
                    side,
                    Observation {
                        bucket,
                        tag: (word >> 16) as u8,
                        bases: Basis::Requests.into(),
                        bad,
                        late: false,
                    },
                );
            }
        }
        for slot in evidence.close(second * 1_000).unwrap_or_default() {
            comparison.observe(null, slot);
        }
        (second > healthy && comparison.trips(0.99)).then(|| second - healthy)
    })
}

/// What each rule does within ten minutes of a new version's true failure rate.
fn curve() {
    println!(
        "\nTripped within 10 min, and median seconds of those; stable 0.5 %, margin 2 points, 1,000 runs each"
    );
    println!(
        "{:<10} {:>18} {:>22} {:>30}",
        "version", "ours at 0.99", "Flagger 99 %, 5 x 60 s", "30 s window over stable + 2"
    );
    for percent in [0.5, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 8.0, 12.0, 25.0, 50.0, 100.0] {
        let slot = Slot::new(SIZES, [percent / 100.0, 0.005]);
        let mut dice = Dice::new(8);
        let mut found = [const { Vec::new() }; 3];
        for _ in 0..1_000 {
            let slots: Vec<_> = (0..600).map(|_| slot.draw(&mut dice)).collect();
            for (found, seconds) in found.iter_mut().zip([ours(&slots), flagger(&slots), naive(&slots)]) {
                found.extend(seconds);
            }
        }
        print!("{:<10}", format!("{percent} %"));
        for found in &mut found {
            let median = nearest_rank(found, 0.5).map_or("-".to_owned(), |seconds| format!("{seconds} s"));
            print!(" {:>14.1} % {median:>7}", found.len() as f64 / 10.0);
        }
        println!();
    }
}

fn ours(slots: &[Sides]) -> Option<u64> {
    let mut comparison = SequentialTest::default();
    let tripped = slots.iter().position(|slot| {
        comparison.observe(NullHypothesis::increase(MARGIN), *slot);
        comparison.trips(0.99)
    })?;
    Some(tripped as u64 + 1)
}

fn rate(tallies: impl Iterator<Item = Tally>) -> f64 {
    let (observed, bad) =
        tallies.fold((0, 0), |(observed, bad), tally| (observed + tally.observed, bad + tally.bad));
    bad as f64 / observed as f64
}

/// Success rate below 99 % in an interval of a minute, checked at its end; the fifth failed check rolls back.
fn flagger(slots: &[Sides]) -> Option<u64> {
    let failed = slots
        .chunks(60)
        .enumerate()
        .filter(|(_, minute)| rate(minute.iter().map(|slot| slot.version)) > 0.01);
    failed.map(|(minute, _)| 60 * (minute as u64 + 1)).nth(4)
}

/// The rate of the last 30 s is above stable's rate and the margin. Checked each second once there are 50 requests.
fn naive(slots: &[Sides]) -> Option<u64> {
    let is_worse = |end: &usize| {
        let window = &slots[end.saturating_sub(30)..*end];
        rate(window.iter().map(|slot| slot.version)) > rate(window.iter().map(|slot| slot.stable)) + MARGIN
    };
    (1..=slots.len()).find(is_worse).map(|end| end as u64)
}

/// Stable fails or slows down just as much, so no signal may trip.
fn shared() {
    heading("A shared incident after 10 min, for 10 min");
    for (title, margin) in
        [("errors 0.5 % -> 50 % on both, margin 0.02", MARGIN), ("the same, margin 0", 0.0)]
    {
        let (before, after) = (Slot::new(SIZES, [0.005; 2]), Slot::new(SIZES, [0.5; 2]));
        row(title, &incidents(NullHypothesis::increase(margin), &before, &after));
    }
    for shape in Shape::ALL {
        let limit = RATIO * shape.exceeded(0.01);
        let before = latency_slot(SIZES, shape.above(limit), 0.99, false);
        let after = latency_slot(SIZES, shape.above(limit / 3.0), 0.99, false);
        row(
            &format!("both three times slower, {shape:?}"),
            &incidents(NullHypothesis::quantile(0.99), &before, &after),
        );
    }
}

fn incidents(null: NullHypothesis, before: &Slot, after: &Slot) -> Vec<f64> {
    let mut dice = Dice::new(9);
    let slots = || std::iter::repeat_n(before, 600).chain(std::iter::repeat_n(after, 600));
    (0..1_000).map(|_| highest(null, slots(), &mut dice)).collect()
}
