//! The answers of all Envoys put together: the JSON answer of `shadow`, from which the text is made.

use std::cmp::Reverse;
use std::rc::Rc;

use anyhow::Result;
use rollout_core::Plan;
use rollout_core::compare::PairResult;
use rollout_core::guardrail::{Interval, Tally};
use serde::Serialize;

use super::result::why;
use crate::args;
use crate::fleet::{Counts, Fate, Latency, Page, VersionName};
use crate::output::percent::Percent;

/// Below this many percent of what was to be compared, the comparison says little about the rest.
const ENOUGH_PERCENT: u64 = 90;

/// What every Envoy answered at about the same time, each with the name of its Envoy.
pub(super) type Answers<'f> = Vec<(&'f str, Result<Page>)>;

#[derive(Serialize)]
pub(super) struct Report {
    /// True if only what came during `--for` is counted.
    #[serde(skip)]
    pub(super) is_recent: bool,
    pub(super) confidence: f64,
    pub(super) envoys: Vec<Envoy>,
    pub(super) warnings: Vec<String>,
    pub(super) rollouts: Vec<Rollout>,
}

#[derive(Serialize)]
pub(super) struct Envoy {
    pub(super) url: String,
    /// Why the Envoy could not be asked. `None` if it answered.
    pub(super) error: Option<String>,
    /// The time in which all this was counted. `None` if the Envoy does not say how long it has run.
    pub(super) counted_seconds: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Rollout {
    pub(super) name: String,
    /// The version that the shadows are compared with.
    pub(super) stable: String,
    pub(super) shadows: Vec<Shadow>,
}

#[derive(Serialize)]
pub(super) struct Shadow {
    pub(super) version: String,
    pub(super) cluster: String,
    /// True if the document compares answers.
    pub(super) compares: bool,
    pub(super) sent: u64,
    /// Copies without a result: sent minus all results. Zero if answers were never compared.
    pub(super) open: u64,
    pub(super) not_sent: Vec<Cause>,
    /// Pairs that were to be compared.
    pub(super) to_compare: u64,
    pub(super) compared: u64,
    pub(super) compared_percent: Option<Percent>,
    pub(super) matched: u64,
    /// Null if nothing was compared.
    pub(super) matched_percent: Option<Percent>,
    /// The interval for the share of matches, at `confidence`. Null if nothing was compared.
    pub(super) matched_interval_percent: Option<[Percent; 2]>,
    pub(super) not_compared: Vec<Cause>,
    /// Pairs that were not to be compared.
    pub(super) left_out: Vec<Cause>,
    pub(super) latency_ms: BothLatencies,
    /// The most frequent one first.
    pub(super) differences: Vec<Difference>,
}

#[derive(Serialize)]
pub(super) struct Cause {
    pub(super) result: String,
    pub(super) count: u64,
    pub(super) why: String,
}

#[derive(Serialize)]
pub(super) struct BothLatencies {
    pub(super) shadow: Option<Quantiles>,
    pub(super) stable: Option<Quantiles>,
}

#[derive(Serialize)]
pub(super) struct Quantiles {
    pub(super) answers: u64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
}

#[derive(Serialize)]
pub(super) struct Difference {
    pub(super) pointer: String,
    pub(super) kind: String,
    pub(super) count: u64,
    /// Its share of the mismatches. Null if it was counted more often than there are mismatches.
    pub(super) mismatch_percent: Option<Percent>,
}

impl Report {
    pub(super) fn new(
        args: &args::Shadow,
        plan: &Plan,
        rollouts: &[&Rc<rollout_core::Rollout>],
        answers: &Answers<'_>,
    ) -> Self {
        let pages: Vec<&Page> = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).collect();
        let shadowed = rollouts.iter().filter(|rollout| rollout.shadows().next().is_some());
        let rollouts: Vec<_> =
            shadowed.map(|rollout| Rollout::new(rollout, &pages, args.confidence)).collect();
        let warnings = documents(args, plan, answers).chain(unpaired(answers));
        let warnings = warnings.chain(rollouts.iter().flat_map(Rollout::warnings)).collect();
        Self {
            is_recent: args.duration.is_some(),
            confidence: args.confidence,
            envoys: answers.iter().map(Envoy::new).collect(),
            warnings,
            rollouts,
        }
    }

    /// True if every Envoy answered.
    pub(super) fn is_complete(&self) -> bool {
        self.envoys.iter().all(|envoy| envoy.error.is_none())
    }
}

/// The Envoys that answered.
fn pages<'a>(answers: &'a Answers<'_>) -> impl Iterator<Item = (&'a str, &'a Page)> {
    answers.iter().filter_map(|(name, answer)| Some((*name, answer.as_ref().ok()?)))
}

/// The Envoys that serve something else, whose counts may belong to other rules.
fn documents<'a>(
    args: &'a args::Shadow,
    plan: &Plan,
    answers: &'a Answers<'_>,
) -> impl Iterator<Item = String> {
    let own = u64::from(plan.hash());
    pages(answers).filter_map(move |(name, page)| {
        match page.plugins.get(&args.plugin).and_then(|plugin| plugin.hash) {
            None => Some(format!("no filter `{}` serves a document in Envoy at {name}", args.plugin)),
            Some(hash) if hash != own => {
                Some(format!("Envoy at {name} serves hash {hash}, but the document has hash {own}"))
            }
            Some(_) => None,
        }
    })
}

fn unpaired(answers: &Answers<'_>) -> impl Iterator<Item = String> {
    pages(answers).filter(|(_, page)| page.unpaired > 0).map(|(name, page)| {
        format!(
            "Envoy at {name} has {} workers in which copies passed without a pair: \
             the filters of the listener and of the cluster for copies do not share a VM",
            page.unpaired
        )
    })
}

impl Envoy {
    fn new((name, answer): &(&str, Result<Page>)) -> Self {
        let counted = answer.as_ref().ok().and_then(|page| page.counted);
        Self {
            url: (*name).to_owned(),
            error: answer.as_ref().err().map(|error| format!("{error:#}")),
            counted_seconds: counted.map(|counted| counted.as_secs()),
        }
    }
}

impl Rollout {
    fn new(rollout: &rollout_core::Rollout, pages: &[&Page], confidence: f64) -> Self {
        let (name, stable) = (rollout.name(), rollout.stable().name());
        let live = VersionName::new(name, stable);
        let live = pages.iter().filter_map(|page| page.version(&live));
        let live = live.fold(Latency::default(), |sum, of| sum.plus(&of.latency));
        let shadow = |shadow: &Rc<rollout_core::Shadow>| {
            Shadow::new(&Counted::new(name, shadow, pages), &live, confidence)
        };
        Self {
            name: name.to_owned(),
            stable: stable.to_owned(),
            shadows: rollout.shadows().map(shadow).collect(),
        }
    }

    fn warnings(&self) -> impl Iterator<Item = String> {
        let is_thin = |shadow: &&Shadow| {
            shadow.compared.saturating_mul(100) < shadow.to_compare.saturating_mul(ENOUGH_PERCENT)
        };
        self.shadows.iter().filter(is_thin).map(|shadow| {
            format!(
                "{} {}: only {} of {} pairs that were to be compared were compared ({})",
                self.name,
                shadow.version,
                shadow.compared,
                shadow.to_compare,
                Percent::of(shadow.compared, shadow.to_compare)
            )
        })
    }
}

/// What all Envoys have counted of a shadow.
struct Counted<'s> {
    shadow: &'s rollout_core::Shadow,
    counts: Counts,
    latency: Latency,
}

impl<'s> Counted<'s> {
    fn new(rollout: &str, shadow: &'s rollout_core::Shadow, pages: &[&Page]) -> Self {
        let name = VersionName::new(rollout, shadow.version.name());
        let nothing = Self { shadow, counts: Counts::default(), latency: Latency::default() };
        pages.iter().filter_map(|page| page.version(&name)).fold(nothing, |sum, of| Self {
            counts: sum.counts.plus(&of.counts),
            latency: sum.latency.plus(&of.copy_latency),
            ..sum
        })
    }

    /// The results with this meaning.
    fn results(&self, fate: Fate) -> impl Iterator<Item = (&str, u64)> {
        let all = self.counts.copies.iter().map(|(result, count)| (result.as_str(), *count));
        all.filter(move |(result, count)| Fate::of(result) == fate && *count > 0)
    }

    fn sum(&self, fate: Fate) -> u64 {
        self.results(fate).map(|(_, count)| count).fold(0, u64::saturating_add)
    }

    /// The results with this meaning and what they say, the most frequent one first.
    fn causes(&self, fate: Fate) -> Vec<Cause> {
        let cause = |(result, count): (&str, u64)| Cause {
            result: result.to_owned(),
            count,
            why: why(result, self.shadow),
        };
        let mut causes: Vec<_> = self.results(fate).map(cause).collect();
        causes.sort_by_key(|cause| Reverse(cause.count)); // stable: by name among equals
        causes
    }

    /// Where the answers differ, the most frequent place first.
    fn differences(&self, mismatches: u64) -> Vec<Difference> {
        let counted = self.counts.differences.iter().filter(|(_, count)| **count > 0);
        let mut found: Vec<_> = counted
            .map(|(of, count)| Difference {
                pointer: of.pointer.clone(),
                kind: of.kind.clone(),
                count: *count,
                mismatch_percent: Some(Percent::of(*count, mismatches)).filter(|_| *count <= mismatches),
            })
            .collect();
        found.sort_by_key(|difference| Reverse(difference.count));
        found
    }
}

impl Shadow {
    fn new(counted: &Counted<'_>, live: &Latency, confidence: f64) -> Self {
        let sums = [Fate::Sent, Fate::Compared, Fate::Missed, Fate::LeftOut].map(|fate| counted.sum(fate));
        let [sent, compared, missed, left_out] = sums;
        let to_compare = compared.saturating_add(missed);
        let ended = to_compare.saturating_add(left_out);
        let mismatches = counted.counts.copies.get(PairResult::Mismatch.name()).copied().unwrap_or_default();
        let matched = compared.saturating_sub(mismatches);
        let Interval { low, high } = Interval::of(Tally { observed: compared, bad: mismatches }, confidence);
        let compares = counted.shadow.compare().is_some();
        let percent = |part, whole| (whole > 0).then(|| Percent::of(part, whole));
        Self {
            version: counted.shadow.version.name().to_owned(),
            cluster: counted.shadow.cluster().to_owned(),
            compares,
            sent,
            open: if compares || ended > 0 { sent.saturating_sub(ended) } else { 0 },
            not_sent: counted.causes(Fate::NotSent),
            to_compare,
            compared,
            compared_percent: percent(compared, to_compare),
            matched,
            matched_percent: percent(matched, compared),
            matched_interval_percent: (compared > 0).then(|| Percent::around(1.0 - high, 1.0 - low)),
            not_compared: counted.causes(Fate::Missed),
            left_out: counted.causes(Fate::LeftOut),
            latency_ms: BothLatencies {
                shadow: Quantiles::of(&counted.latency),
                stable: Quantiles::of(live),
            },
            differences: counted.differences(mismatches),
        }
    }
}

impl Quantiles {
    fn of(latency: &Latency) -> Option<Self> {
        let rounded = |share| Some((latency.quantile(share)? * 10.0).round() / 10.0);
        Some(Self { answers: latency.count(), p50: rounded(0.5)?, p90: rounded(0.9)?, p99: rounded(0.99)? })
    }
}
