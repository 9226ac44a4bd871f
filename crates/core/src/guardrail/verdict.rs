//! A verdict: the signal that condemns a version, and the numbers behind it.
//!
//! It says what was found. What follows from it is decided in `merge`.

use std::fmt;

use super::setting::Setting;
use super::tally::{Sides, Tally};
use crate::plan::guardrails::{Action, Guardrails};

/// A signal's verdict on a version.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Position of the signal.
    pub position: usize,
    /// What the signal found.
    pub finding: Finding,
}

impl Verdict {
    /// One line for the log while the verdict is withheld.
    #[must_use]
    pub fn withheld_line(&self, setting: &Setting<'_>) -> String {
        self.written(setting, "not rolled back, stable fails too")
    }

    /// One line for the log: the version, what was done, the signal and its numbers.
    #[must_use]
    pub fn line(&self, setting: &Setting<'_>) -> String {
        let guardrails = setting.guardrails;
        let action = guardrails.action_on(setting.guarded, self.position);
        let done = match (action, guardrails.is_dry_run()) {
            (Action::Rollback, false) => "rolled back",
            (Action::Rollback, true) => "would be rolled back (dry run)",
            (Action::Freeze, false) => "exposure kept",
            (Action::Freeze, true) => "exposure would be kept (dry run)",
            (Action::Warn, _) => "warning only",
        };
        self.written(setting, done)
    }

    fn written(&self, setting: &Setting<'_>, done: &str) -> String {
        let guardrails = setting.guardrails;
        let signal = guardrails.signals().get(self.position).map_or("", |signal| signal.name());
        format!("version {}: {done}, signal {signal}: {}", setting.guarded.version.name(), self.finding)
    }
}

/// What a signal has found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finding {
    /// A share over the window, with its limit.
    Share {
        /// The outcomes of the version, and those of stable that the split gave it.
        observed: Sides,
        /// The greatest share that is allowed.
        limit: f64,
    },
    /// Both sides since the epoch began.
    Increase {
        /// The outcomes that counted.
        observed: Sides,
        /// How much worse the version may be.
        margin: f64,
        /// The evidence. Under the null hypothesis, the chance that it ever exceeds `x` is at most `1 / x`.
        e_value: f64,
        /// The evidence that condemns the version.
        wanted: f64,
    },
    /// A rate since the epoch began, against the greatest that is allowed.
    Above {
        /// The outcomes that counted.
        observed: Tally,
        /// The greatest share that is allowed.
        limit: f64,
        /// The evidence. Under the null hypothesis, the chance that it ever exceeds `x` is at most `1 / x`.
        e_value: f64,
        /// The evidence that condemns the version.
        wanted: f64,
    },
    /// Failures in a row, without those of one unit beyond its part.
    Consecutive {
        /// Number of failures.
        failures: u64,
        /// Number of failures that condemns the version.
        limit: u64,
    },
    /// Distinct units.
    SampleRatio {
        /// Units of the version (`bad`) among all units of the sample (`observed`).
        units: Tally,
        /// The version's share according to the document.
        share: f64,
    },
}

impl Finding {
    /// True if a rate exceeds its limit, or if the evidence of a comparison is enough. Failures in a row and sample ratios are
    /// judged in the record.
    pub(crate) fn is_exceeded(&self) -> bool {
        match self {
            Self::Share { observed, limit } => observed.version.rate() > *limit,
            Self::Increase { e_value, wanted, .. } | Self::Above { e_value, wanted, .. } => e_value >= wanted,
            Self::Consecutive { .. } | Self::SampleRatio { .. } => false,
        }
    }

    /// True if there are enough requests for a verdict, on each side that is compared.
    #[must_use]
    pub fn is_enough(&self, guardrails: &Guardrails) -> bool {
        let is_enough = |tally: Tally| tally.observed >= guardrails.min_requests;
        match self {
            Self::Share { observed, .. } => is_enough(observed.version),
            Self::Above { observed, .. } => is_enough(*observed),
            Self::Increase { observed, .. } => is_enough(observed.version) && is_enough(observed.stable),
            Self::Consecutive { .. } | Self::SampleRatio { .. } => true,
        }
    }
}

/// Larger values are shown as this: more digits would say nothing.
const MOST_EVIDENCE: f64 = 1e9;

/// As a float, 1 / (1 - 0.9) is a little more than 10. This factor removes the difference.
const ROUNDED: f64 = 1.0 - 1e-8;

/// Prints whole numbers only, because printing a double would add a tenth to the module.
impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share { observed, limit } => {
                let stable = observed.stable;
                write!(out, "{}", Shown(observed.version))?;
                if stable.observed > 0 {
                    write!(out, ", stable {}", Shown(stable))?;
                }
                write!(out, ", limit {} %", Percent::of(*limit))
            }
            Self::Increase { observed, margin, e_value, wanted } => write!(
                out,
                "{}, stable {}, margin {} points, {}",
                Shown(observed.version),
                Shown(observed.stable),
                Percent::of(*margin),
                Evidence([*e_value, *wanted])
            ),
            Self::Above { observed, limit, e_value, wanted } => write!(
                out,
                "{}, allowed {} %, {}",
                Shown(*observed),
                Percent::of(*limit),
                Evidence([*e_value, *wanted])
            ),
            Self::Consecutive { failures, limit } => {
                write!(out, "{failures} failures in a row, limit {limit}")
            }
            Self::SampleRatio { units, share } => {
                write!(out, "units {}, expected {} %", Shown(*units), Percent::of(*share))
            }
        }
    }
}

/// The evidence that was found, and the evidence that condemns.
struct Evidence([f64; 2]);

impl fmt::Display for Evidence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [found, wanted] = self.0;
        let (found, wanted) = (found.min(MOST_EVIDENCE) as u64, (wanted * ROUNDED).ceil() as u64);
        write!(out, "evidence {found}, limit {wanted}")
    }
}

/// A tally as `57 of 1012 (5.6324 %)`.
struct Shown(Tally);

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of {} ({} %)", self.0.bad, self.0.observed, Percent::of(self.0.rate()))
    }
}

/// A share in parts per million, written in percent.
struct Percent(u64);

impl Percent {
    fn of(share: f64) -> Self {
        Self((share * 1e6).round() as u64)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0.div_euclid(10_000), self.0.rem_euclid(10_000));
        write!(out, "{whole}.{rest:04}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_a_sentence_with_its_numbers() {
        let version = Tally { observed: 1_012, bad: 57 };
        let stable = Tally { observed: 9_000, bad: 45 };
        let finding = Finding::Increase {
            observed: Sides { version, stable },
            margin: 0.02,
            e_value: 143.9,
            wanted: 100.0,
        };
        assert_eq!(
            finding.to_string(),
            "57 of 1012 (5.6324 %), stable 45 of 9000 (0.5000 %), margin 2.0000 points, evidence 143, limit 100"
        );
        for (confidence, shown) in [
            (0.9, ", limit 10"),
            (0.8, ", limit 5"),
            (0.99, ", limit 100"),
            (0.97, ", limit 34"),
            (0.999_999_9, ", limit 10000000"),
        ] {
            let wanted = 1.0 / (1.0 - confidence);
            let finding = Finding::Increase { observed: Sides::default(), margin: 0.0, e_value: 0.0, wanted };
            assert!(finding.to_string().ends_with(shown), "{finding} at {confidence}");
        }
        let finding = Finding::Above { observed: version, limit: 0.01, e_value: 143.9, wanted: 100.0 };
        assert_eq!(finding.to_string(), "57 of 1012 (5.6324 %), allowed 1.0000 %, evidence 143, limit 100");
        let share = |stable| Finding::Share { observed: Sides { version, stable }, limit: 0.05 }.to_string();
        assert_eq!(share(Tally::default()), "57 of 1012 (5.6324 %), limit 5.0000 %");
        assert_eq!(share(stable), "57 of 1012 (5.6324 %), stable 45 of 9000 (0.5000 %), limit 5.0000 %");
    }
}
