//! `gate`: may a pipeline go on? Judges as the proxies do, but over the sum of what all of them observe from its start on.

mod answer;
mod case;
mod proxies;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rollout_core::plan::{Plan, Rollout};

use self::answer::{Answer, text};
use self::case::Case;
use self::proxies::Proxies;
use super::chosen;
use crate::args::{self, Format, Gate};
use crate::document::Document;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::output;

/// How often the Envoys are asked: signals that compare are counted by the second.
const POLL: Duration = Duration::from_secs(1);

/// How it ended, and why.
enum Verdict {
    GoOn,
    No(String),
    CouldNot(String),
}

pub(super) fn run(args: &Gate, format: Format) -> Result<Exit> {
    let fleet = Fleet::new(&args.fleet.envoys)?;
    let plan = Document::read(&args.file)?.load()?.compiled.plan;
    let mut cases = cases(&plan, args.rollout.as_deref())?;
    let mut proxies = Proxies::new(&fleet, (&args.plugin, plan.hash().into()));
    let began = Instant::now();
    let verdict = judge(&mut cases, &mut proxies, (began, args));
    let exit = match verdict {
        Verdict::GoOn => Exit::Fine,
        Verdict::No(_) => Exit::No,
        Verdict::CouldNot(_) => Exit::CouldNot,
    };
    let answer = Answer::new(verdict, (&cases, &proxies), began.elapsed());
    match format {
        Format::Json => output::json(&answer)?,
        Format::Text => output::text(&text(&answer, exit))?,
    }
    Ok(exit)
}

/// One case for each version under guardrails.
fn cases<'p>(plan: &'p Plan, name: Option<&str>) -> Result<Vec<Case<'p>>> {
    let mut cases = Vec::new();
    for rollout in chosen(plan, name)? {
        let Some(guardrails) = rollout.guardrails() else { continue };
        cases.extend(
            guardrails.guarded().iter().map(|guarded| Case::new(rollout, guardrails, &guarded.version)),
        );
    }
    if cases.is_empty() {
        bail!("no version is under guardrails, so there is nothing to judge by");
    }
    Ok(cases)
}

fn judge(cases: &mut [Case<'_>], proxies: &mut Proxies<'_>, (began, args): (Instant, &Gate)) -> Verdict {
    loop {
        let asked = Instant::now();
        proxies.ask();
        for case in &mut *cases {
            case.take(proxies, began.elapsed());
        }
        if let Some(reason) = proxies.other_documents() {
            return Verdict::CouldNot(reason);
        }
        if let Some(reason) = joined(cases.iter().flat_map(Case::objections)) {
            return Verdict::No(reason);
        }
        let left = args.duration.saturating_sub(began.elapsed());
        if left.is_zero() {
            return last(cases, proxies, args.min_requests);
        }
        thread::sleep(POLL.saturating_sub(asked.elapsed()).min(left));
    }
}

/// The verdict where nothing has spoken against any version.
fn last(cases: &[Case<'_>], proxies: &Proxies<'_>, min_requests: u64) -> Verdict {
    if let Some(reason) = proxies.silent() {
        return Verdict::CouldNot(reason);
    }
    let now = args::now();
    let is_exposed = |rollout: &Rollout| {
        cases.iter().any(|case| case.rollout.name() == rollout.name() && case.is_exposed(now))
    };
    let needed = cases.iter().filter(|case| case.is_exposed(now) || !is_exposed(case.rollout));
    match joined(needed.filter_map(|case| case.too_few(min_requests))) {
        Some(reason) => Verdict::No(reason),
        None => Verdict::GoOn,
    }
}

fn joined(reasons: impl Iterator<Item = String>) -> Option<String> {
    let reasons: Vec<_> = reasons.collect();
    Some(reasons.join("; ")).filter(|text| !text.is_empty())
}
