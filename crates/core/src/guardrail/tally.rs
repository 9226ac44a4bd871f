//! Counts of good and bad outcomes, for a version and for stable.
//!
//! Counts never overflow: they stop at the largest number.

use super::codec::{Reader, Writer};

/// The side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The version that is judged.
    Version,
    /// Stable, which the version is compared with.
    Stable,
}

/// The requests that a signal takes a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// All requests: failures.
    Requests,
    /// Answered requests: latencies and headers.
    Answers,
}

/// Outcomes of one side in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Outcomes that count.
    pub observed: u64,
    /// The bad ones among them.
    pub bad: u64,
}

/// Both sides of one signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sides {
    /// The version that is judged.
    pub version: Tally,
    /// Stable, which the version is compared with.
    pub stable: Tally,
}

impl Tally {
    /// The share of bad outcomes. Zero if there are no outcomes.
    #[must_use]
    pub fn rate(self) -> f64 {
        self.bad as f64 / self.observed.max(1) as f64
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            observed: self.observed.saturating_add(other.observed),
            bad: self.bad.saturating_add(other.bad),
        }
    }

    pub(crate) fn encode(self, writer: &mut Writer) {
        writer.number(self.observed);
        writer.number(self.bad);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { observed: reader.number()?, bad: reader.number()? })
    }
}

impl Sides {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { version: self.version.plus(other.version), stable: self.stable.plus(other.stable) }
    }

    pub(crate) fn encode(self, writer: &mut Writer) {
        self.version.encode(writer);
        self.stable.encode(writer);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let mut tally = || Tally::decode(reader).filter(|tally| tally.bad <= tally.observed);
        Some(Self { version: tally()?, stable: tally()? })
    }
}
