//! Where a signal stands: whether it could be judged, and if not, what it has seen and what it needs.

use rollout_core::Time;
use rollout_core::guardrail::{Finding, Measure, Rule, gives_stable};

use super::candidate::Candidate;
use crate::output;

/// What is known of a version by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Condemns,
    Tripped,
    /// It would condemn the version, but stable is as bad.
    Withheld,
    WarmingUp,
    NothingSeen,
    TooFew,
    JudgedByProxies,
    Fine,
}

impl Standing {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Condemns => "condemns",
            Self::Tripped => "tripped",
            Self::Withheld => "withheld",
            Self::WarmingUp => "warming up",
            Self::NothingSeen => "nothing seen",
            Self::TooFew => "too few",
            Self::JudgedByProxies => "judged by proxies",
            Self::Fine => "fine",
        }
    }
}

/// The signals that could not be judged at the end.
#[derive(Default)]
pub(super) struct Unjudged {
    /// Those that make the answer a no.
    pub(super) blocking: Vec<String>,
    /// Those that only warn, and comparisons if the document leaves stable nobody.
    pub(super) named: Vec<String>,
}

impl Candidate<'_> {
    pub(super) fn standing(&self, position: usize) -> Standing {
        let trips = self.signal_at(position).trips;
        let (withheld, warming_up) = (self.withheld_on(position), self.warming_up_on(position));
        match self.finding(position) {
            _ if self.condemned(position).is_some() => Standing::Condemns,
            _ if trips > 0 => Standing::Tripped,
            _ if self.is_withheld(position) || !withheld.is_empty() => Standing::Withheld,
            _ if !warming_up.is_empty() => Standing::WarmingUp,
            None if !self.has_decided() => Standing::NothingSeen,
            None => Standing::JudgedByProxies,
            Some(finding) if seen(finding) == 0 => Standing::NothingSeen,
            Some(finding) if !finding.is_enough(self.guardrails) => Standing::TooFew,
            Some(_) => Standing::Fine,
        }
    }

    /// The outcomes that count, at least: answers, failures and abandoned requests, without forced ones. Failures without an answer
    /// are exact only if a signal observes them.
    pub(super) fn outcomes(&self) -> u64 {
        let of_requests = self.positions().filter(|position| !self.is_of_copies(*position));
        let observed = of_requests.map(|position| self.observed(position)).max().unwrap_or(0);
        let abandoned = self.counts.abandoned;
        // Any of the counted ones may have been forced, but each of those only once.
        let decided = self.observed_decided().saturating_add(self.unforced(abandoned));
        let counted = self.unforced(self.counted_decided().saturating_add(abandoned));
        decided.max(counted).max(observed)
    }

    /// True if the version answered or failed a request.
    fn has_decided(&self) -> bool {
        self.observed_decided() > 0 || self.unforced(self.counted_decided()) > 0
    }

    /// The answers and failures that a signal observed.
    fn observed_decided(&self) -> u64 {
        let observes = |position: &usize| match self.rule(*position) {
            Some(Rule::Rate(Measure::Failure | Measure::Header(_) | Measure::Status(_), _)) => true,
            Some(_) | None => false,
        };
        let observed = self.positions().filter(observes).map(|position| self.observed(position));
        observed.max().unwrap_or(0)
    }

    /// The answers and failures that the version's own counters show, forced ones included.
    fn counted_decided(&self) -> u64 {
        self.counts.answers.max(self.counts.failures)
    }

    fn unforced(&self, counted: u64) -> u64 {
        counted.saturating_sub(self.counts.forced)
    }

    pub(super) fn too_few(&self, wanted: u64) -> Option<String> {
        let outcomes = self.outcomes();
        (outcomes < wanted).then(|| format!("too few outcomes: {} has {outcomes}, needs {wanted}", self.name))
    }

    /// The findings that only warn, and verdicts that were withheld for a time.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.findings(false);
        for position in self.positions().filter(|position| self.standing(*position) != Standing::Withheld) {
            let (signal, withheld) = (self.signal_name(position), self.signal_at(position).withheld);
            if withheld > 0 {
                let times = output::times(withheld);
                warnings
                    .push(format!("signal {signal} of {} was withheld {times} in the proxies", self.name));
            }
        }
        warnings
    }

    /// The signals that could not be judged. Those of requests are left out if the version is not asked for any.
    pub(super) fn unjudged(&self, now: Time, is_asked: bool) -> Unjudged {
        let mut unjudged = Unjudged::default();
        if let Some(why) = self.coverage().and_then(|coverage| coverage.too_little(&self.name)) {
            let blocks = self.positions().any(|position| self.is_of_copies(position) && self.acts(position));
            let list = if blocks { &mut unjudged.blocking } else { &mut unjudged.named };
            list.push(why);
        }
        for position in self.positions().filter(|position| is_asked || self.is_of_copies(*position)) {
            let Some(why) = self.why_unjudged(position) else { continue };
            let (signal, name) = (self.signal_name(position), &self.name);
            let has_baseline = !self.compares(position) || gives_stable(self.rollout, now.into());
            let why = match has_baseline {
                true => why,
                false => "has nothing to compare with: the document leaves stable nobody".to_owned(),
            };
            let blocks = has_baseline && self.acts(position);
            let list = if blocks { &mut unjudged.blocking } else { &mut unjudged.named };
            list.push(format!("signal {signal} of {name} {why}"));
        }
        unjudged
    }

    fn why_unjudged(&self, position: usize) -> Option<String> {
        let needed = self.guardrails.min_requests();
        match (self.standing(position), self.finding(position)) {
            (Standing::Withheld, finding) => Some(match (self.withheld_on(position), finding) {
                ([], Some(finding)) => format!("is withheld, because stable is as bad: {finding}"),
                (on, _) => format!("is withheld on {}, because stable is as bad", on.join(", ")),
            }),
            (Standing::WarmingUp, _) => {
                Some(format!("is warming up on {}", self.warming_up_on(position).join(", ")))
            }
            (Standing::NothingSeen | Standing::TooFew, Some(Finding::Increase { observed, .. })) => {
                let (version, stable) = (observed.version.observed, observed.stable.observed);
                Some(format!("compared {version} with {stable} of stable, needs {needed} of each"))
            }
            (Standing::NothingSeen | Standing::TooFew, Some(Finding::Share { observed, .. })) => {
                Some(format!("saw {}, needs {needed}", observed.version.observed))
            }
            (Standing::NothingSeen | Standing::TooFew, Some(Finding::Above { observed, .. })) => {
                Some(format!("counted {}, needs {needed}", observed.observed))
            }
            (Standing::NothingSeen | Standing::TooFew, _) => Some("saw nothing".to_owned()),
            (Standing::Condemns | Standing::Tripped | Standing::JudgedByProxies | Standing::Fine, _) => None,
        }
    }
}

/// What a signal can be judged by.
fn seen(finding: Finding) -> u64 {
    match finding {
        Finding::Share { observed, .. } | Finding::Increase { observed, .. } => observed.version.observed,
        Finding::Above { observed, .. } => observed.observed,
        Finding::Consecutive { .. } | Finding::SampleRatio { .. } => 0,
    }
}
