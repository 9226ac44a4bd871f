//! `simulate`: how the hash divides a population, compared with the shares in the document.

use std::rc::Rc;

use anyhow::Result;
use rollout_core::{Plan, Rollout, Time, decide_unit};
use serde::Serialize;

use super::named;
use crate::args::{Format, Population, Simulate};
use crate::document::Document;
use crate::exit::Exit;
use crate::output::percent::Percent;
use crate::output::{self, TITLE, paint};

#[derive(Serialize)]
struct Simulation<'p> {
    rollouts: Vec<Division<'p>>,
}

#[derive(Serialize)]
struct Division<'p> {
    name: &'p str,
    units: u64,
    versions: Vec<Share<'p>>,
}

#[derive(Serialize)]
struct Share<'p> {
    name: &'p str,
    units: u64,
    percent: Percent,
    expected_percent: Percent,
}

pub(super) fn run(args: &Simulate, format: Format) -> Result<Exit> {
    let plan = Document::read(&args.file)?.load()?.compiled.plan;
    let rollouts = named::rollouts(&plan, args.rollout.as_deref())?;
    let now = args.moment.time();
    let divided = rollouts.into_iter().map(|rollout| divide(&plan, rollout, &args.population, now));
    let answer = Simulation { rollouts: divided.collect() };
    match format {
        Format::Json => output::json(&answer)?,
        Format::Text => output::text(&text(&answer))?,
    }
    Ok(Exit::Fine)
}

fn divide<'p>(plan: &Plan, rollout: &'p Rc<Rollout>, population: &Population, now: Time) -> Division<'p> {
    let mut counts = vec![0_u64; rollout.versions().len()];
    population.each(|unit| {
        let decision = decide_unit(plan, rollout, unit.as_bytes(), now);
        let same =
            rollout.versions().iter().position(|version| version.ordinal() == decision.version.ordinal());
        if let Some(count) = same.and_then(|position| counts.get_mut(position)) {
            *count = count.saturating_add(1);
        }
    });
    let shares = rollout.versions().iter().zip(counts).map(|(version, units)| Share {
        name: version.name(),
        units,
        percent: Percent::of(units, population.units),
        expected_percent: plan.expected(rollout, version, now).into(),
    });
    Division { name: rollout.name(), units: population.units, versions: shares.collect() }
}

fn text(answer: &Simulation<'_>) -> String {
    if answer.rollouts.is_empty() {
        return "no rollouts\n".to_owned();
    }
    let sections = answer.rollouts.iter().map(|rollout| {
        let rows = rollout.versions.iter().map(|share| {
            let (percent, expected) = (share.percent, share.expected_percent);
            vec![share.name.to_owned(), share.units.to_string(), percent.to_string(), expected.to_string()]
        });
        let table = output::table(&["version", "units", "share", "expected"], 1, rows);
        format!("{}: {} units\n{table}", paint(TITLE, rollout.name), rollout.units)
    });
    sections.collect::<Vec<_>>().join("\n")
}
