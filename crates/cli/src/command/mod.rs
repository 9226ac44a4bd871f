//! The subcommands: one file or folder each.

mod check;
mod completions;
mod diff;
mod explain;
mod gate;
mod named;
mod plan;
mod push;
mod render;
mod shadow;
mod simulate;
mod status;

use anyhow::Result;

use crate::args::{Args, Render, Verb};
use crate::exit::Exit;

/// Runs the subcommand.
pub(crate) fn run(args: Args) -> Result<Exit> {
    let format = args.format;
    match args.verb {
        Verb::Check(args) => check::run(&args, format),
        Verb::Explain(args) => explain::run(&args, format),
        Verb::Simulate(args) => simulate::run(&args, format),
        Verb::Plan(args) => plan::run(&args, format),
        Verb::Diff(args) => diff::run(&args, format),
        Verb::Render(Render::Ecds(args)) => render::ecds(&args, format),
        Verb::Render(Render::Clusters(args)) => render::clusters(&args, format),
        Verb::Push(args) => push::run(&args, format),
        Verb::Status(args) => status::run(&args, format),
        Verb::Shadow(args) => shadow::run(&args, format),
        Verb::Gate(args) => gate::run(&args, format),
        Verb::Completions(args) => completions::run(&args),
    }
}
