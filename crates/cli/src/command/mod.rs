//! The verbs, one file each, and what several of them ask of a plan.

mod check;
mod completions;
mod diff;
mod explain;
mod gate;
mod plan;
mod push;
mod render;
mod simulate;
mod status;

use std::rc::Rc;

use anyhow::{Result, bail};
use rollout_core::plan::{Plan, Rollout};

use crate::args::{Args, Render, Verb};
use crate::exit::Exit;
use crate::output;

/// Does what was asked.
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
        Verb::Gate(args) => gate::run(&args, format),
        Verb::Completions(args) => completions::run(&args),
    }
}

/// The rollout of this name, or all of them where none is named.
fn chosen<'p>(plan: &'p Plan, name: Option<&str>) -> Result<Vec<&'p Rc<Rollout>>> {
    let wanted = |rollout: &&Rc<Rollout>| name.is_none_or(|name| name == rollout.name());
    let rollouts: Vec<_> = plan.rollouts().iter().filter(wanted).collect();
    if let Some(name) = name.filter(|_| rollouts.is_empty()) {
        let known = plan.rollouts().iter().map(|rollout| rollout.name());
        bail!("no rollout `{name}`; the document has {}", output::names(known));
    }
    Ok(rollouts)
}
