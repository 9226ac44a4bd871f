//! What the filter costs: CPU of a real Envoy's worker per request, against native Envoy, an empty filter and Lua.
//!
//! All variants are listeners of one Envoy process with one worker thread, because two processes differ by 5 to 10 % for the
//! luck of their memory layout alone. A phase is a few hundred requests to one variant, measured by the worker thread's own CPU
//! clock. Phases come in pairs of neighbours, one right after the other, whose ratio is taken before anything is averaged: what
//! else the machine does hits both alike. Every round visits all pairs in a new random order, and each pair in a random order.
//!
//! How to read the table:
//! - **CPU** is the median of a variant's phases. It depends on the machine and on its load; compare nothing across two runs.
//! - **ratio to (b)** is the median of the ratios of all pairs with native `weighted_clusters`, and in brackets its interval:
//!   with 95 % confidence the true median is between these bounds. The interval counts signs (order statistics of the
//!   binomial distribution), so it assumes no shape of the noise.
//! - **aims**: `met` and `missed` compare the median with the aim; `?` follows if the interval contains the aim, so that more rounds
//!   might say otherwise. An aim against another variant than (b) has pairs of its own with that variant.
//! - **copies** have a table of their own: what a copy and a compared pair cost are differences between variants that answer with
//!   2 KiB, taken within each round. All variants of such a group are neighbors, in random order. The worker's clock is read when all
//!   copies have ended.
//! - The last table is exact and the same on every machine: host calls, entries into the guest and guest instructions of one
//!   request, counted in an interpreter. `tests/host_calls.rs` pins them.

mod authority;
mod count;
mod group;
mod machine;
mod pair;
mod report;
mod shadowed;
mod stage;
mod traffic;
mod variant;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;

use group::{Group, Round};
use pair::Pair;
use stage::{Phase, Stage};
use traffic::{Load, Requests};
use variant::Variant;

/// CPU of Envoy per request: the filter against native Envoy, an empty filter and Lua, from one run.
#[derive(Parser)]
#[command(name = "bench", about)]
struct Options {
    /// Measured rounds over all pairs of variants
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Requests of one phase
    #[arg(long, default_value_t = 240)]
    requests: usize,
    /// Keep-alive connections
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// POST with 300 bytes instead of GET
    #[arg(long)]
    post: bool,
    /// Measure only variants whose description contains one of these words, besides the native one
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
    /// Measure this module too, with one rollout; may be repeated
    #[arg(long, value_name = "FILE")]
    module: Vec<PathBuf>,
    /// Print only the exact counts, and start no Envoy
    #[arg(long)]
    counts: bool,
}

fn main() {
    let options = Options::parse();
    let started = Instant::now();
    let requests = Requests::new(options.post);
    let wanted = |variant: &Variant| {
        variant.is_base()
            || options.only.is_empty()
            || options.only.iter().any(|word| variant.about.contains(word))
    };
    let module = testbed::module::build();
    let variants: Vec<Variant> = variant::all(&module, &options.module).into_iter().filter(wanted).collect();
    if options.counts {
        return count::print(&variants);
    }
    let mut stage = Stage::start(&variants);
    eprintln!("{} variants run in one Envoy after {:.0?}", variants.len(), started.elapsed());

    let checked = stage::agree(&stage, &variants, &requests);
    eprintln!("the same decisions and headers from every filter for {checked} users");

    let cores = machine::cores();
    if let Some((first, last)) = cores {
        machine::pin(stage.envoy.pid(), first);
        machine::pin(std::process::id(), last);
    }
    let load = Load { connections: options.connections, requests: options.requests };
    let mut pairs = pair::all(&variants);
    let mut groups = group::all(&variants);
    for round in 0..WARM_UP + options.rounds {
        let mut all: Vec<Neighbors> = pairs.iter_mut().map(Neighbors::Pair).collect();
        all.extend(groups.iter_mut().map(Neighbors::Group));
        fastrand::shuffle(&mut all);
        for neighbors in all {
            neighbors.measure(round >= WARM_UP, |variant| stage.measure(variant, &load, &requests));
        }
    }
    stage::all_compared(&stage, &variants);

    report::print(&variants, &pairs, &groups, &module);
    println!(
        "{} rounds of {} pairs and {} groups, {} {} requests a phase on {} connections, {:.0?} in all; {}\n",
        options.rounds,
        pairs.len(),
        groups.len(),
        options.requests,
        if options.post { "POST" } else { "GET" },
        options.connections,
        started.elapsed(),
        machine::describe(cores),
    );
    count::print(&variants);
}

/// Rounds in which V8 compiles and the pools fill.
const WARM_UP: usize = 3;

/// Phases that are measured right after one another.
enum Neighbors<'a> {
    Pair(&'a mut Pair),
    Group(&'a mut Group),
}

impl Neighbors<'_> {
    /// Measures them once, in random order.
    fn measure(self, is_kept: bool, mut phase: impl FnMut(usize) -> Phase) {
        match self {
            Self::Pair(pair) => {
                let costs = if fastrand::bool() {
                    let first = phase(pair.first).nanos;
                    (first, phase(pair.second).nanos)
                } else {
                    let second = phase(pair.second).nanos;
                    (phase(pair.first).nanos, second)
                };
                if is_kept {
                    pair.costs.push(costs);
                }
            }
            Self::Group(group) => {
                let mut order = group.members.clone();
                fastrand::shuffle(&mut order);
                let round = Round(order.into_iter().map(|(role, variant)| (role, phase(variant))).collect());
                if is_kept {
                    group.rounds.push(round);
                }
            }
        }
    }
}
