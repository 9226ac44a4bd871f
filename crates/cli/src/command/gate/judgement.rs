//! The answer of `gate`, for programs and for people.

use std::fmt::Write as _;
use std::time::Duration;

use rollout_core::guardrail::Finding;
use serde::Serialize;

use super::candidate::Candidate;
use super::coverage::Coverage;
use super::proxies::Proxies;
use super::verdict::{End, Verdict};
use crate::exit::Exit;
use crate::fleet::Seen;
use crate::output::{self, BAD, GOOD, TITLE, WARNING, paint};

#[derive(Serialize)]
pub(super) struct Judgement<'p> {
    ok: bool,
    reason: String,
    seconds: f64,
    /// What is worth knowing and does not make the answer a no.
    warnings: Vec<String>,
    rollouts: Vec<Rollout<'p>>,
}

#[derive(Serialize)]
struct Rollout<'p> {
    name: &'p str,
    versions: Vec<Version<'p>>,
}

#[derive(Serialize)]
struct Version<'p> {
    name: &'p str,
    requests: u64,
    /// Answers, failures and abandoned requests.
    outcomes: u64,
    failures: u64,
    abandoned: u64,
    /// How many copies were compared, of those that should have been. Left out if no signal judges that.
    #[serde(skip_serializing_if = "Option::is_none")]
    copies: Option<Coverage>,
    signals: Vec<Signal<'p>>,
    latched_on: Vec<String>,
}

#[derive(Serialize)]
struct Signal<'p> {
    name: &'p str,
    state: &'static str,
    /// Counted since the start, as is `stable`, which is null if the signal is not a rate of requests.
    version: Seen,
    stable: Option<Seen>,
    trips: u64,
    /// The proxies that withhold its verdict, and those where it waits for the version to warm up.
    withheld_on: &'p [String],
    warming_up_on: &'p [String],
    /// The fewest outcomes that it is judged on, on each side that is compared. Null if the signal is not a rate.
    needs: Option<u64>,
    /// What a share is judged by: the recent window, or the window that condemned the version, and the limit. Null for other signals.
    window: Option<Seen>,
    limit_percent: Option<f64>,
    /// What a signal with a `confidence` is judged by: the evidence, and the bound that condemns. Null for other signals.
    e_value: Option<f64>,
    bound: Option<f64>,
    #[serde(skip)]
    words: String,
}

impl<'p> Judgement<'p> {
    pub(super) fn new(
        end: End,
        candidates: &'p [Candidate<'p>],
        proxies: &Proxies<'_>,
        took: Duration,
    ) -> Self {
        let (ok, reason) = match end.verdict {
            Verdict::GoOn => (true, "no objections".to_owned()),
            Verdict::No(reason) | Verdict::CouldNot(reason) => (false, reason),
        };
        let mut rollouts: Vec<Rollout<'p>> = Vec::new();
        for candidate in candidates {
            let (name, version) = (candidate.rollout.name(), Version::new(candidate));
            match rollouts.last_mut().filter(|last| last.name == name) {
                Some(last) => last.versions.push(version),
                None => rollouts.push(Rollout { name, versions: vec![version] }),
            }
        }
        let warnings = candidates.iter().flat_map(Candidate::warnings);
        let warnings = warnings.chain(end.unjudged).chain(proxies.gaps()).collect();
        let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
        Self { ok, reason, seconds, warnings, rollouts }
    }
}

impl<'p> Version<'p> {
    fn new(candidate: &'p Candidate<'p>) -> Self {
        Self {
            name: candidate.version.name(),
            requests: candidate.requests(),
            outcomes: candidate.outcomes(),
            failures: candidate.counts.failures,
            abandoned: candidate.counts.abandoned,
            copies: candidate.coverage(),
            signals: candidate.positions().map(|position| Signal::new(candidate, position)).collect(),
            latched_on: candidate.latched_on(),
        }
    }
}

impl<'p> Signal<'p> {
    fn new(candidate: &'p Candidate<'p>, position: usize) -> Self {
        let finding = candidate.finding(position);
        let counted = candidate.signal_at(position);
        let none = Self {
            name: candidate.signal_name(position),
            state: candidate.standing(position).name(),
            version: counted.seen.version.into(),
            stable: None,
            trips: counted.trips,
            withheld_on: candidate.withheld_on(position),
            warming_up_on: candidate.warming_up_on(position),
            needs: None,
            window: None,
            limit_percent: None,
            e_value: None,
            bound: None,
            words: finding.map_or_else(|| "-".to_owned(), |finding| finding.to_string()),
        };
        let needs = Some(candidate.guardrails.min_requests());
        let stable = (!candidate.is_of_copies(position)).then(|| counted.seen.stable.into());
        let rate = Self { stable, needs, ..none };
        match finding {
            Some(Finding::Share { observed, limit }) => Self {
                window: Some(observed.version.into()),
                limit_percent: Some(rounded(limit * 100.0)),
                ..rate
            },
            Some(Finding::Increase { e_value, wanted, .. }) => {
                Self { e_value: Some(rounded(e_value)), bound: Some(rounded(wanted)), ..rate }
            }
            Some(Finding::Above { limit, e_value, wanted, .. }) => Self {
                limit_percent: Some(rounded(limit * 100.0)),
                e_value: Some(rounded(e_value)),
                bound: Some(rounded(wanted)),
                ..rate
            },
            Some(Finding::Consecutive { .. } | Finding::SampleRatio { .. }) | None => {
                Self { stable: None, needs: None, ..rate }
            }
        }
    }
}

/// Rounded to four decimals, as percentages are.
fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

/// The answer for people.
pub(super) fn text(answer: &Judgement<'_>, exit: Exit) -> String {
    let title = match exit {
        Exit::Fine => paint(GOOD, "continue"),
        Exit::No => paint(BAD, "do not continue"),
        Exit::CouldNot | Exit::Problems => paint(BAD, "can't tell"),
    };
    let mut text = format!("{title}: {}, after {:.0} s\n", answer.reason, answer.seconds);
    for warning in &answer.warnings {
        let _ = writeln!(text, "{} {warning}", paint(WARNING, "warning:"));
    }
    for rollout in &answer.rollouts {
        let _ = writeln!(text, "\n{}", paint(TITLE, rollout.name));
        let rows = rollout.versions.iter().map(|version| {
            let counts = [version.requests, version.outcomes, version.failures, version.abandoned];
            [version.name.to_owned()].into_iter().chain(counts.map(|count| count.to_string())).collect()
        });
        let header = ["version", "requests", "outcomes", "failures", "abandoned"];
        text.push_str(&output::table(&header, 1, rows));
        for (name, copies) in
            rollout.versions.iter().filter_map(|version| Some((version.name, version.copies.as_ref()?)))
        {
            let _ = writeln!(text, "  copies to {name}: {copies}");
        }
        let rows = rollout.versions.iter().flat_map(|version| {
            version.signals.iter().map(|signal| {
                let [name, state] = [signal.name, signal.state].map(str::to_owned);
                vec![version.name.to_owned(), name, state, signal.words.clone()]
            })
        });
        let table = output::table(&["version", "signal", "state", "finding"], 4, rows);
        let _ = write!(text, "\n{table}");
    }
    text
}
