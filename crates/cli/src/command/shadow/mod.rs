//! `shadow`: how the answers of shadows compare with those of stable in running Envoys, once or repeatedly. It does not judge.

mod report;
mod result;
mod text;

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use rollout_core::Plan;

use self::report::{Answers, Report};
use super::named;
use crate::args::{Format, Shadow};
use crate::document::Document;
use crate::exit::Exit;
use crate::fleet::{Fleet, Page};
use crate::output;

pub(super) fn run(args: &Shadow, format: Format) -> Result<Exit> {
    let fleet = Fleet::new(&args.fleet.envoys)?;
    let plan = Document::read(&args.file)?.load()?.compiled.plan;
    if named::rollouts(&plan, args.rollout.as_deref())?
        .iter()
        .all(|rollout| rollout.shadows().next().is_none())
    {
        bail!("no rollout has a shadow, so there is nothing to report");
    }
    if let Some(interval) = args.watch {
        return watch(args, &fleet, &plan, interval, format);
    }
    let answers = match args.duration {
        Some(duration) => observe(&fleet, duration),
        None => ask(&fleet),
    };
    let report = report(args, &plan, &answers)?;
    match format {
        Format::Json => output::json(&report)?,
        Format::Text => output::text(&text::text(&report))?,
    }
    Ok(if report.is_complete() { Exit::Fine } else { Exit::CouldNot })
}

/// Repeats until the process is interrupted or the reader of the answers goes away.
fn watch(args: &Shadow, fleet: &Fleet, plan: &Plan, interval: Duration, format: Format) -> Result<Exit> {
    loop {
        let report = report(args, plan, &ask(fleet))?;
        match format {
            Format::Json => output::json_line(&report)?,
            Format::Text => output::refresh(&text::text(&report))?,
        }
        thread::sleep(interval); // counted from the last answer, so that a slow Envoy is not asked all the time
    }
}

fn ask(fleet: &Fleet) -> Answers<'_> {
    fleet.names().zip(fleet.ask()).collect()
}

/// What the Envoys count in this time.
fn observe(fleet: &Fleet, duration: Duration) -> Answers<'_> {
    let before = ask(fleet);
    for error in before.iter().filter_map(|(_, answer)| answer.as_ref().err()) {
        output::warning(format_args!("{error:#}")); // a wrong URL is worth knowing before the end
    }
    thread::sleep(duration);
    let since = |((name, before), (_, after)): ((_, Result<Page>), (_, Result<Page>))| {
        (name, before.and_then(|before| Ok(after?.since(&before))))
    };
    before.into_iter().zip(ask(fleet)).map(since).collect()
}

fn report(args: &Shadow, plan: &Plan, answers: &Answers<'_>) -> Result<Report> {
    Ok(Report::new(args, plan, &named::rollouts(plan, args.rollout.as_deref())?, answers))
}
