//! `shadow`: how the answers of shadows compare with those of stable in running Envoys, once or repeatedly. It does not judge.

mod report;
mod result;
mod text;

use std::thread;

use anyhow::{Result, bail};
use rollout_core::Plan;

use self::report::Report;
use super::named;
use crate::args::{Format, Shadow};
use crate::document::Document;
use crate::exit::Exit;
use crate::fleet::{Fleet, Page};
use crate::output;

/// What every Envoy answered at about the same time, each with the name of its Envoy.
type Answers<'f> = Vec<(&'f str, Result<Page>)>;

pub(super) fn run(args: &Shadow, format: Format) -> Result<Exit> {
    let fleet = Fleet::new(&args.fleet.envoys)?;
    let plan = Document::read(&args.file)?.load()?.compiled.plan;
    if named::rollouts(&plan, args.rollout.as_deref())?
        .iter()
        .all(|rollout| rollout.shadows().next().is_none())
    {
        bail!("no rollout has a shadow, so there is nothing to report");
    }
    let Some(interval) = args.watch else {
        let report = ask(args, &fleet, &plan)?;
        match format {
            Format::Json => output::json(&report)?,
            Format::Text => output::text(&text::text(&report))?,
        }
        return Ok(if report.is_complete() { Exit::Fine } else { Exit::CouldNot });
    };
    loop {
        let report = ask(args, &fleet, &plan)?;
        match format {
            Format::Json => output::json_line(&report)?,
            Format::Text => output::refresh(&text::text(&report))?,
        }
        thread::sleep(interval); // counted from the last answer, so that a slow Envoy is not asked all the time
    }
}

fn ask(args: &Shadow, fleet: &Fleet, plan: &Plan) -> Result<Report> {
    let answers: Answers<'_> = fleet.names().zip(fleet.ask()).collect();
    Ok(Report::new(args, plan, &named::rollouts(plan, args.rollout.as_deref())?, &answers))
}
