//! A verdict: which signal condemns a version, with the numbers that it rests on.

use std::fmt;

use super::tally::{Closed, Tally};

/// A signal's verdict on a version.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Position of the signal.
    pub position: usize,
    /// What it found.
    pub finding: Finding,
}

/// What a signal has found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finding {
    /// A share over the window, and the most that it may be.
    Share {
        /// Of the version.
        observed: Tally,
        /// A share.
        limit: f64,
    },
    /// Both sides since the epoch began.
    Increase {
        /// What counted.
        observed: Closed,
        /// How much worse the version may be.
        margin: f64,
        /// The evidence: under the hypothesis it ever exceeds `x` with a chance of at most `1 / x`.
        e_value: f64,
        /// The evidence that condemns.
        wanted: f64,
    },
    /// Failures since the last merge that contained a success.
    Consecutive {
        /// So many.
        failures: u64,
        /// So many condemn.
        limit: u64,
    },
    /// Distinct units.
    SampleRatio {
        /// Units of the version (`bad`) among all units of the sample (`observed`).
        units: Tally,
        /// The version's share by the document.
        share: f64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share { observed, limit } => {
                write!(out, "{}, limit {:.4} %", Shown(*observed), limit * 100.0)
            }
            Self::Increase { observed, margin, e_value, wanted } => write!(
                out,
                "{}, stable {}, margin {:.4} points, e-value {e_value:.1}, bound {wanted:.1}",
                Shown(observed.version),
                Shown(observed.stable),
                margin * 100.0
            ),
            Self::Consecutive { failures, limit } => {
                write!(out, "{failures} failures in a row, limit {limit}")
            }
            Self::SampleRatio { units, share } => {
                write!(out, "units {}, expected {:.4} %", Shown(*units), share * 100.0)
            }
        }
    }
}

/// A tally as `57 of 1012 (5.632 %)`.
struct Shown(Tally);

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of {} ({:.3} %)", self.0.bad, self.0.observed, self.0.rate() * 100.0)
    }
}
