//! The demo: real models behind a real Envoy, released step by step while users keep asking.
//!
//! `stage` installs, trains and starts everything; `traffic` is the users, and `books` says who was answered by what. `story` is
//! the release, `rescue` its second act, in which guardrails take a failing version out, and `comparison` its third, in which the
//! answers of a shadow are compared; all push with `release`. `proof` compares more of them, instead of the story. `screen` is what
//! you see. The last line counts what a release must not do: fail a request, or change a user's version without a cause.
//! Everything runs on loopback and is stopped at the end, after Ctrl-C too.

mod books;
mod comparison;
mod interrupt;
mod model;
mod pairs;
mod proof;
mod python;
mod release;
mod rescue;
mod screen;
mod stage;
mod story;
mod traffic;
mod user;

use std::process::ExitCode;

use clap::Parser;
use interrupt::{Interrupt, Stop};

/// Real models behind a real Envoy: the whole story, live.
#[derive(Parser)]
struct Arguments {
    /// Instead of the story: compare so many copies in each row of a table with what Python computes
    #[arg(long, value_name = "COPIES")]
    prove: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let interrupt = Interrupt::default();
    let pressed = interrupt.clone();
    if let Err(error) = ctrlc::set_handler(move || pressed.press()) {
        eprintln!("Ctrl-C will not clean up: {error}");
    }
    match run(&arguments, &interrupt) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Stop::Interrupted) => {
            screen::note("interrupted; everything that was started is stopped");
            ExitCode::from(130)
        }
        Err(Stop::Failed(cause)) => {
            screen::note(&format!("the demo stopped: {cause}"));
            ExitCode::FAILURE
        }
    }
}

/// Says whether the release kept its promises.
fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<bool, Stop> {
    if let Some(copies) = arguments.prove {
        return proof::prove(copies, interrupt);
    }
    screen::title("Rollout Filter: a new model in production, without downtime");
    let stage = stage::Stage::set(&["v1", "v2"], interrupt)?;
    story::tell(stage, interrupt)
}
