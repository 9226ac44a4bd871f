//! Whole rollouts, request by request: what versions share condemns none of them, and a version that fails alone is found.
//!
//! `cargo test` runs a short form. `make prove-incidents` runs up to 1,000 rollouts of each row and prints tables; it ends within ten minutes and
//! prints the seed with which to continue.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may stop with the reason"
)]

use std::time::Duration;

use rollout_core::guardrail::{Limit, Rule};
use serde_json::{Value, json};

mod guardrail;

use guardrail::lower_bound;
use guardrail::nearest_rank;
use guardrail::pieces::{Repeated, long, run};
use guardrail::site::{V1, V2};
use guardrail::traffic::{Callers, Incident, Kind, Noted, Patience, Scenario, Simulation};

/// The signals that the documentation recommends, and more absolute ones, whose verdicts may be withheld.
fn guardrails() -> Value {
    json!({"window": "30s", "min_requests": 200, "action": "rollback", "signals": [
        {"consecutive_failures": 20},
        {"error_rate": {"max_percent": 20}},
        {"abandon_rate": {"max_percent": 40}},
        {"latency": {"quantile": 0.95, "max_ms": 800}},
        {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}},
        {"latency": {"quantile": 0.95, "max_ratio": 1.5, "confidence": 0.99}},
        {"abandon_rate": {"max_increase_percent": 2, "confidence": 0.99}},
        {"status": {"in": ["4xx"], "max_increase_percent": 2, "confidence": 0.99}}]})
}

const SIGNALS: [&str; 8] =
    ["run", "error", "abandon", "max_ms", "error +", "latency x", "abandon +", "status +"];

/// When an incident begins, in milliseconds.
const BEGINS: u64 = 10_000;

/// A row of a table.
struct Row {
    name: String,
    /// Seeds take turns at them.
    simulations: Vec<Simulation>,
    runs: Vec<[Noted; 16]>,
}

impl Row {
    fn new(name: String, scenario: Scenario) -> Self {
        Self::of(name, [scenario])
    }

    fn of(name: String, scenarios: impl IntoIterator<Item = Scenario>) -> Self {
        let simulations =
            scenarios.into_iter().map(|scenario| Simulation::new(&guardrails(), scenario)).collect();
        Self { name, simulations, runs: Vec::new() }
    }

    fn tripped(&self, signal: usize) -> usize {
        self.runs.iter().filter(|run| run[signal].tripped.is_some()).count()
    }

    fn withheld(&self, signal: usize) -> usize {
        self.runs.iter().filter(|run| run[signal].withheld).count()
    }

    /// Fails if a relative signal trips more often than its confidence allows.
    fn holds(&self) {
        for (position, signal) in self.simulations[0].guardrails().signals().iter().enumerate() {
            if let Rule::Rate(_, Limit::Increase { confidence, .. }) = signal.rule() {
                let tripped = self.tripped(position);
                let least = lower_bound(tripped, self.runs.len());
                assert!(
                    least <= 1.0 - confidence,
                    "{}: {tripped} of {}, {}",
                    signal.name(),
                    self.runs.len(),
                    self.name
                );
            }
        }
    }

    fn print_alarms(&self) {
        print!("{:<56} {:>5}", self.name, self.runs.len());
        for signal in 0..SIGNALS.len() {
            print!(" {:>9}", self.tripped(signal));
        }
        println!("   {:?}", [1, 2, 3].map(|signal| self.withheld(signal)));
    }

    /// Seconds from the incident to the first verdict, and which signals gave it.
    fn print_reaction(&self) {
        let first = |run: &[Noted; 16]| {
            let tripped = run.iter().enumerate().filter_map(|(signal, of)| Some((of.tripped?, signal)));
            tripped.min()
        };
        let all: Vec<_> = self.runs.iter().map(first).collect();
        let mut times: Vec<u64> =
            all.iter().map(|found| found.map_or(u64::MAX, |(at, _)| at.saturating_sub(BEGINS))).collect();
        let mut shown = |share| match nearest_rank(&mut times, share) {
            Some(u64::MAX) | None => "never".to_owned(),
            Some(milliseconds) => format!("{:.1} s", milliseconds as f64 / 1_000.0),
        };
        let [median, most] = [shown(0.5), shown(0.9)];
        print!("{:<56} {:>5} {median:>9} {most:>9}  ", self.name, self.runs.len());
        for (signal, name) in SIGNALS.iter().enumerate() {
            let count = all.iter().flatten().filter(|(_, of)| *of == signal).count();
            if count > 0 {
                print!(" {name} {count}");
            }
        }
        println!();
    }
}

impl Repeated for Row {
    fn name(&self) -> &str {
        &self.name
    }

    /// Even and odd seeds have other latencies, so two at a time have the same scenario.
    fn run(&mut self, seed: u64) {
        let turn = (seed / 2) as usize % self.simulations.len();
        self.runs.push(self.simulations[turn].run(seed));
    }
}

/// What both sides share: its name, its incidents, and for how long it lasts in milliseconds.
fn shared() -> Vec<(&'static str, Vec<Kind>, u64)> {
    vec![
        ("0.5 s outage", vec![Kind::Fails(1.0)], 500),
        ("10 s outage", vec![Kind::Fails(1.0)], 10_000),
        ("10 s without answers", vec![Kind::Hangs(1.0)], 10_000),
        ("60 s at 30 %", vec![Kind::Fails(0.15), Kind::Hangs(0.15)], 60_000),
        ("20 s ten times slower", vec![Kind::Slow(10.0)], 20_000),
    ]
}

/// How long clients wait in milliseconds, at least and at most.
const PATIENCES: [[f64; 2]; 4] = [[50.0; 2], [500.0; 2], [5_000.0; 2], [50.0, 5_000.0]];

fn patience([least, most]: [f64; 2]) -> Patience {
    Patience { least, most, is_of_user: false }
}

/// The percentage that is pushed during an incident, and taken back before its end. `up first` is pushed when it starts, and stays.
fn pushed(push: &str, percent: f64) -> Option<f64> {
    match push {
        "down" => Some((percent / 5.0).max(0.4)),
        "up" => Some(if percent > 50.0 { 99.0 } else { (percent * 5.0).min(90.0) }),
        _ => None,
    }
}

fn healthy(percent: f64, callers: Callers) -> Scenario {
    Scenario {
        callers,
        pushes: vec![(0, percent)],
        patience: patience([5_000.0; 2]),
        incidents: Vec::new(),
        timeout: Some(2_000),
        failing: [0.005; 2],
        pace: [1.0; 2],
        ends: BEGINS,
        stops: false,
    }
}

/// Everything that both sides share, at every exposure and with every push. The patience of clients takes turns.
fn shared_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, kinds, lasts) in shared() {
        for percent in [2.0, 10.0, 50.0, 95.0] {
            for push in ["none", "down", "up", "up first"] {
                let mut scenario = healthy(percent, Callers::All(2_000, 500.0));
                let until = BEGINS + lasts;
                let incident = |kind: &Kind| Incident { kind: *kind, from: BEGINS, until, side: None };
                scenario.incidents = kinds.iter().map(incident).collect();
                scenario.ends = until + 8_000;
                if push == "up first" {
                    scenario.pushes.extend(pushed("up", percent).map(|other| (BEGINS, other)));
                } else if let Some(other) = pushed(push, percent) {
                    let at = |share: u64| BEGINS + lasts * share / 10;
                    scenario.pushes.extend([(at(3), other), (at(7), percent)]);
                }
                let waiting =
                    PATIENCES.map(|range| Scenario { patience: patience(range), ..scenario.clone() });
                rows.push(Row::of(format!("{what}, {percent} %, push {push}"), waiting));
            }
        }
    }
    rows
}

/// What both sides share while stable is thin, and while each user has a patience of its own.
fn special_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, kinds, lasts) in shared() {
        let until = BEGINS + lasts;
        let incident = |kind: &Kind| Incident { kind: *kind, from: BEGINS, until, side: None };
        for (who, percent, callers) in [
            ("stable 2.5/s", 95.0, Callers::Sides([500, 30], [50.0, 2.5])),
            ("stable 0.2/s", 99.0, Callers::Sides([500, 5], [50.0, 0.2])),
            ("patience of users", 10.0, Callers::All(2_000, 500.0)),
        ] {
            let mut scenario = healthy(percent, callers);
            scenario.incidents = kinds.iter().map(incident).collect();
            scenario.patience =
                Patience { least: 50.0, most: 5_000.0, is_of_user: who.starts_with("patience") };
            scenario.ends = until + 20_000;
            rows.push(Row::new(format!("{what}, {percent} %, {who}"), scenario));
        }
    }
    rows
}

/// The percentage of v2, the users of v2 and of stable, and the requests per second of each.
const SIDES: [(&str, f64, [usize; 2], [f64; 2]); 4] = [
    ("stable 450/s", 10.0, [500, 2_000], [50.0, 450.0]),
    ("stable 5/s", 90.0, [500, 100], [50.0, 5.0]),
    ("stable 0.2/s", 99.0, [500, 10], [50.0, 0.2]),
    ("no stable", 100.0, [500, 0], [50.0, 0.0]),
];

/// A version that gets worse alone after ten seconds, beside a stable with this traffic.
fn failing_rows() -> Vec<Row> {
    let waits_long = [(5_000.0, Some(2_000))].as_slice();
    let waits = [(5_000.0, Some(2_000)), (5_000.0, None), (500.0, Some(2_000))].as_slice();
    let mut rows = Vec::new();
    for (what, kind, waits, ends) in [
        ("fails", Kind::Fails(1.0), waits_long, 60_000),
        ("never answers", Kind::Hangs(1.0), waits, 60_000),
        ("does not answer 10 %", Kind::Hangs(0.1), waits, 120_000),
        ("answers 404", Kind::NotFound, waits_long, 120_000),
        ("takes twice as long", Kind::Slow(2.0), waits_long, 180_000),
        ("takes three times as long", Kind::Slow(3.0), waits_long, 180_000),
    ] {
        for (beside, percent, users, rates) in SIDES {
            for (range, timeout) in waits {
                let mut scenario = healthy(percent, Callers::Sides(users, rates));
                scenario.incidents = vec![Incident { kind, from: BEGINS, until: NEVER, side: Some(V2) }];
                scenario.patience = patience([*range; 2]);
                scenario.timeout = *timeout;
                scenario.ends = BEGINS + ends;
                scenario.stops = true;
                let shown = if timeout.is_some() { "timeout 2 s" } else { "no timeout" };
                rows.push(Row::new(format!("{what}, {beside}, patience {range} ms, {shown}"), scenario));
            }
        }
    }
    rows.extend((1..4).map(few_users));
    rows.push(dead_stable());
    rows
}

/// A version with so many users in all, which fails.
fn few_users(users: usize) -> Row {
    let mut scenario = healthy(50.0, Callers::Sides([users, 20], [5.0, 45.0]));
    scenario.incidents =
        vec![Incident { kind: Kind::Fails(1.0), from: BEGINS, until: NEVER, side: Some(V2) }];
    scenario.ends = BEGINS + 120_000;
    scenario.stops = true;
    Row::new(format!("fails, stable 45/s, {users} users of v2 with 5/s"), scenario)
}

/// Both versions fail. Stable is well again after half a minute, and the version is not.
fn dead_stable() -> Row {
    let mut scenario = healthy(10.0, Callers::All(2_000, 500.0));
    let fails = |side, from, until| Incident { kind: Kind::Fails(1.0), from, until, side };
    scenario.incidents = vec![fails(Some(V1), 0, RECOVERS), fails(Some(V2), 0, NEVER)];
    scenario.ends = RECOVERS + 60_000;
    scenario.stops = true;
    Row::new("fails, and stable fails for 30 s more".to_owned(), scenario)
}

/// When stable is well again.
const RECOVERS: u64 = BEGINS + 30_000;

/// Later than the end of every simulation.
const NEVER: u64 = 1_000_000_000;

#[test]
#[ignore = "long: make prove-incidents"]
fn prove_that_what_versions_share_condemns_none() {
    print!("{:<56} {:>5}", "", "runs");
    SIGNALS.iter().for_each(|name| print!(" {name:>9}"));
    println!("   withheld");
    let rows = shared_rows().into_iter().chain(special_rows()).collect();
    long(rows, 3, |rows| rows.iter().for_each(Row::print_alarms)).iter().for_each(Row::holds);
}

#[test]
#[ignore = "long: make prove-incidents"]
fn measure_how_fast_a_version_that_fails_alone_is_found() {
    println!("{:<56} {:>5} {:>9} {:>9}   first signal", "", "runs", "median", "9 of 10");
    long(failing_rows(), 3, |rows| rows.iter().for_each(Row::print_reaction));
}

#[test]
fn what_versions_share_condemns_none() {
    let mut rows = shared_rows();
    let mut place = 0;
    // Each of these has another incident, exposure and push.
    rows.retain(|_| {
        place += 1;
        place % 9 == 1
    });
    run(&mut rows, 0..8, Duration::from_secs(20));
    rows.iter().for_each(Row::holds);
    for row in &rows {
        let counts: Vec<_> = (0..4).map(|signal| row.tripped(signal)).collect();
        assert_eq!(counts, [0; 4], "{}", row.name);
    }
}

#[test]
fn a_version_that_fails_alone_is_found() {
    let mut rows = failing_rows();
    rows.retain(|row| row.name.starts_with("fails"));
    run(&mut rows, 0..3, Duration::from_secs(10));
    for row in rows {
        let found = |run: &[Noted; 16]| run.iter().filter_map(|of| of.tripped).min();
        for run in &row.runs {
            assert!(found(run).is_some_and(|at| at > BEGINS), "{}", row.name);
        }
    }
}

#[test]
fn a_version_is_not_rolled_back_to_a_stable_that_fails_until_that_is_well() {
    let mut rows = [dead_stable()];
    run(&mut rows, 0..3, Duration::from_secs(10));
    for run in &rows[0].runs {
        assert!(run[1].withheld, "error_rate");
        assert!(run.iter().filter_map(|of| of.tripped).min().is_some_and(|at| at > RECOVERS));
    }
}
