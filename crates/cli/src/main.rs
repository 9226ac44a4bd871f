//! `rolloutctl`: checks, explains, simulates, plans, compares, pushes and judges the documents of Rollout Filter.
//!
//! It decides nothing itself: every answer comes from `rollout_core`, the same code that runs inside Envoy. This
//! package reads the files and opens the sockets; the core does neither.

mod args;
mod command;
mod document;
mod envoy;
mod exit;
mod fleet;
mod freeze;
mod output;
mod yaml;

use std::process::ExitCode;

use args::{Args, Format};
use clap::Parser;
use document::Rejected;
use exit::Exit;

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => answer(args).into(),
        Err(usage) => {
            let _ = usage.print();
            // Not clap's own 2, which means "the answer is no" here.
            if usage.use_stderr() { Exit::CouldNot } else { Exit::Fine }.into()
        }
    }
}

fn answer(args: Args) -> Exit {
    let format = args.format;
    command::run(args).unwrap_or_else(|error| match error.downcast_ref::<Rejected>() {
        Some(rejected) => report(rejected, format),
        None => {
            if !output::is_broken_pipe(&error) {
                output::error(format_args!("{error:#}"));
            }
            Exit::CouldNot
        }
    })
}

/// Every subcommand reports a document with problems in the same way.
fn report(rejected: &Rejected, format: Format) -> Exit {
    let printed = match format {
        Format::Json => output::json(&rejected.verdict()),
        Format::Text => {
            output::note(rejected.text());
            Ok(())
        }
    };
    printed.map_or(Exit::CouldNot, |()| Exit::Problems)
}
