//! Counts of good and bad outcomes, for a version and for stable.
//!
//! Counts never overflow: they stop at the largest number.

use super::codec::{Reader, Writer};
use super::outcome::Outcome;

/// The side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The version that is judged.
    Version,
    /// Stable, which the version is compared with.
    Stable,
}

/// The outcomes that a signal takes a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Answers and failures: for failures.
    Requests,
    /// Answers: for statuses and headers.
    Answers,
    /// Answers and abandoned requests, with the time that the client waited: for latencies.
    Waits,
    /// All outcomes: for abandoned requests.
    All,
}

/// A set of bases: those to which an outcome belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bases(u8);

impl Basis {
    /// All bases.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Answers, Self::Waits, Self::All];

    fn bit(self) -> u8 {
        match self {
            Self::Requests => 1,
            Self::Answers => 2,
            Self::Waits => 4,
            Self::All => 8,
        }
    }
}

impl Bases {
    /// The bases to which an outcome belongs.
    #[must_use]
    pub fn of(outcome: Outcome) -> Self {
        let is_in = |basis: &Basis| match basis {
            Basis::Requests => !outcome.is_abandoned(),
            Basis::Answers => outcome.is_answer(),
            Basis::Waits => outcome.waited.is_some(),
            Basis::All => true,
        };
        Self(Basis::ALL.into_iter().filter(is_in).fold(0, |bits, basis| bits | basis.bit()))
    }

    /// Adds a basis.
    pub fn add(&mut self, basis: Basis) {
        self.0 |= basis.bit();
    }

    /// True if the set has this basis.
    #[must_use]
    pub fn has(self, basis: Basis) -> bool {
        self.0 & basis.bit() != 0
    }
}

/// A set with one basis.
impl From<Basis> for Bases {
    fn from(basis: Basis) -> Self {
        Self(basis.bit())
    }
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
