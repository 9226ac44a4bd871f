//! `gate`: whether a pipeline may continue. Judges as the proxies do, but over what all of them observe from its start on.

mod candidate;
mod coverage;
mod judgement;
mod proxies;
mod standing;
mod verdict;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rollout_core::{Plan, Rollout};

use self::candidate::Candidate;
use self::judgement::{Judgement, text};
use self::proxies::Proxies;
use self::verdict::{End, Verdict, joined};
use super::named;
use crate::args::{self, Format, Gate};
use crate::document::Document;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::output;

/// The interval between rounds: signals that compare are counted by the second.
const POLL: Duration = Duration::from_secs(1);

pub(super) fn run(args: &Gate, format: Format) -> Result<Exit> {
    let fleet = Fleet::new(&args.fleet.envoys)?;
    let plan = Document::read(&args.file)?.load()?.compiled.plan;
    let mut candidates = candidates(&plan, args.rollout.as_deref())?;
    let mut proxies = Proxies::new(&fleet, &args.plugin, plan.hash().into());
    let began = Instant::now();
    let end = judge(&mut candidates, &mut proxies, began, args);
    let exit = end.verdict.exit();
    let answer = Judgement::new(end, &candidates, &proxies, began.elapsed());
    match format {
        Format::Json => output::json(&answer)?,
        Format::Text => output::text(&text(&answer, exit))?,
    }
    Ok(exit)
}

/// Every version under guardrails.
fn candidates<'p>(plan: &'p Plan, name: Option<&str>) -> Result<Vec<Candidate<'p>>> {
    let mut candidates = Vec::new();
    for rollout in named::rollouts(plan, name)? {
        let Some(guardrails) = rollout.guardrails() else { continue };
        let guarded = guardrails.guarded().iter();
        candidates.extend(guarded.map(|guarded| Candidate::new(rollout, guardrails, guarded)));
    }
    if candidates.is_empty() {
        bail!("no version has guardrails, so there is nothing to judge");
    }
    Ok(candidates)
}

fn judge(candidates: &mut [Candidate<'_>], proxies: &mut Proxies<'_>, began: Instant, args: &Gate) -> End {
    loop {
        let asked = Instant::now();
        proxies.ask();
        for candidate in &mut *candidates {
            candidate.take(proxies, began.elapsed());
        }
        if let Some(reason) = proxies.other_documents() {
            return Verdict::CouldNot(reason).into();
        }
        if let Some(reason) = joined(candidates.iter().flat_map(Candidate::objections)) {
            return Verdict::No(reason).into();
        }
        let left = args.duration.saturating_sub(began.elapsed());
        if left.is_zero() {
            return last(candidates, proxies, args.min_requests);
        }
        thread::sleep(POLL.saturating_sub(asked.elapsed()).min(left));
    }
}

/// The end, if there was no objection to any version.
fn last(candidates: &[Candidate<'_>], proxies: &Proxies<'_>, min_requests: u64) -> End {
    if let Some(reason) = proxies.silent() {
        return Verdict::CouldNot(reason).into();
    }
    let now = args::now();
    let is_exposed = |rollout: &Rollout| {
        candidates.iter().any(|of| of.rollout.name() == rollout.name() && of.is_exposed(now))
    };
    let (mut reasons, mut unjudged) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let is_asked =
            candidate.is_serving() && (candidate.is_exposed(now) || !is_exposed(candidate.rollout));
        let of = candidate.unjudged(now, is_asked);
        reasons.extend(candidate.too_few(min_requests).filter(|_| is_asked));
        reasons.extend(of.blocking);
        unjudged.extend(of.named);
    }
    let verdict = joined(reasons.into_iter()).map_or(Verdict::GoOn, Verdict::No);
    End { verdict, unjudged }
}
