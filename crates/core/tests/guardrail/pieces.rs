//! Runs the rows of a simulation in pieces: one seed after another, until all have been run or time is up.

use std::ops::Range;
use std::time::{Duration, Instant};

/// A row of a table that is run again and again.
pub(crate) trait Repeated {
    fn name(&self) -> &str;
    fn run(&mut self, seed: u64);
}

/// Runs each row with one seed after another, until all have been run or time is up. Returns the next seed.
pub(crate) fn run(rows: &mut [impl Repeated], seeds: Range<u64>, most: Duration) -> u64 {
    let began = Instant::now();
    for seed in seeds.clone() {
        if began.elapsed() > most {
            return seed;
        }
        for row in &mut *rows {
            row.run(seed);
        }
    }
    seeds.end
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The rows whose names contain the environment variable `ROW`, run `RUNS` times from `SEED` on, and shown. No row is run again after
/// `MINUTES`, by default so many that a piece ends within ten.
pub(crate) fn long<R: Repeated>(mut rows: Vec<R>, minutes: u64, show: impl FnOnce(&[R])) -> Vec<R> {
    let wanted = std::env::var("ROW").unwrap_or_default();
    rows.retain(|row| row.name().contains(&wanted));
    let first = number("SEED").unwrap_or(0);
    let runs = number("RUNS").unwrap_or(1_000);
    let most = Duration::from_secs(60 * number("MINUTES").unwrap_or(minutes));
    let next = run(&mut rows, first..first + runs, most);
    show(&rows);
    println!("next SEED={next}");
    rows
}
