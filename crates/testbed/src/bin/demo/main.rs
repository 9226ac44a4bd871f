//! The demo: two real models behind a real Envoy, released step by step while users keep asking.
//!
//! `stage` installs, trains and starts everything; `traffic` is the users, and `books` says who was answered by what. `story` is
//! the release, and `rescue` its second act, in which guardrails take a failing version out; both push with `release`. `screen` is
//! what you see. The last line counts what a release must not do: fail a request, or change a user's version without a cause.
//! Everything runs on loopback and is stopped at the end, after Ctrl-C too.

mod books;
mod interrupt;
mod release;
mod rescue;
mod screen;
mod stage;
mod story;
mod traffic;
mod user;

use std::process::ExitCode;

use interrupt::{Interrupt, Stop};

fn main() -> ExitCode {
    let interrupt = Interrupt::default();
    let pressed = interrupt.clone();
    if let Err(error) = ctrlc::set_handler(move || pressed.press()) {
        eprintln!("Ctrl-C will not clean up: {error}");
    }
    match run(&interrupt) {
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
fn run(interrupt: &Interrupt) -> Result<bool, Stop> {
    screen::title("Rollout Filter: a new model in production, without downtime");
    let stage = stage::Stage::set(interrupt)?;
    story::tell(stage, interrupt)
}
