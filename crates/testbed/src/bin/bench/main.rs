//! What the filter costs: CPU of a real Envoy per request, against native Envoy, an empty filter and Lua, all from one run.
//!
//! Every variant is an Envoy of its own with one worker; all run at once, pinned to one core, while load and upstream
//! have another. Rounds go over the variants in an order shuffled each time, so that whatever else the machine does
//! hits them alike; the least of many rounds is what the work itself costs.

mod machine;
mod report;
mod traffic;
mod variant;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;

use report::Row;
use traffic::{Load, Requests};
use variant::{Running, Variant};

/// CPU of Envoy per request: the filter against native Envoy, an empty filter and Lua, from one run.
#[derive(Parser)]
#[command(name = "bench", about)]
struct Options {
    /// Measured rounds over all variants
    #[arg(long, default_value_t = 16)]
    rounds: usize,
    /// Requests of each variant in a round
    #[arg(long, default_value_t = 3000)]
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
    let mut running: Vec<Running> = variants.into_iter().map(Running::start).collect();
    eprintln!("{} Envoys run after {:.0?}", running.len(), started.elapsed());

    let checked = variant::agree(&running, &requests);
    eprintln!("the same decisions and headers from every filter for {checked} users");

    let cores = machine::cores();
    if let Some((first, last)) = cores {
        running.iter().for_each(|variant| machine::pin(variant.envoy.pid(), first));
        machine::pin(std::process::id(), last);
    }
    let load = Load { connections: options.connections, requests: options.requests };
    let mut order: Vec<usize> = (0..running.len()).collect();
    for round in 0..=options.rounds {
        fastrand::shuffle(&mut order);
        for index in &order {
            let Some(variant) = running.get_mut(*index) else { continue };
            let cost = variant.measure(&load, &requests);
            // The first round lets V8 compile and the pools fill.
            if round > 0 {
                variant.costs.push(cost);
            }
        }
    }

    let rows: Vec<Row> = running.iter().map(Row::new).collect();
    report::print(&rows, &module);
    println!(
        "{} rounds of {} {} requests on {} connections, {:.0?} in all; {}",
        options.rounds,
        options.requests,
        if options.post { "POST" } else { "GET" },
        options.connections,
        started.elapsed(),
        machine::describe(cores),
    );
}
