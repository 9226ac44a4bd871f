//! The verbs, one file each.

mod check;
mod completions;
mod diff;
mod explain;
mod push;
mod render;
mod simulate;

use anyhow::Result;

use crate::args::{Args, Render, Verb};
use crate::exit::Exit;

/// Does what was asked.
pub(crate) fn run(args: Args) -> Result<Exit> {
    let format = args.format;
    match args.verb {
        Verb::Check(args) => check::run(&args, format),
        Verb::Explain(args) => explain::run(&args, format),
        Verb::Simulate(args) => simulate::run(&args, format),
        Verb::Diff(args) => diff::run(&args, format),
        Verb::Render(Render::Ecds(args)) => render::run(&args, format),
        Verb::Push(args) => push::run(&args, format),
        Verb::Completions(args) => completions::run(&args),
    }
}
