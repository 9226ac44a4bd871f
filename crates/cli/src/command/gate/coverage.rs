//! Whether enough of the copies of a version were compared. A mismatch that was not looked for does not count as a match.

use std::fmt;

use serde::Serialize;

use super::candidate::Candidate;
use crate::fleet::{Fate, VersionName};

/// Least share of the copies, in percent.
const LEAST_PERCENT: u64 = 90;

/// How many copies were compared since the start.
#[derive(Serialize)]
pub(super) struct Coverage {
    compared: u64,
    /// Those that should have been compared, whether or not they were.
    meant: u64,
    /// The results of the others, with their numbers.
    #[serde(skip)]
    missed: Vec<(String, u64)>,
}

impl Candidate<'_> {
    /// How many copies to the version were compared. `None` if no signal judges that.
    pub(super) fn coverage(&self) -> Option<Coverage> {
        self.positions().find(|position| self.is_of_copies(*position))?;
        let with = |fate| {
            let all = self.counts.copies.iter().filter(move |(result, _)| Fate::of(result) == fate);
            all.filter(|(_, count)| **count > 0).map(|(result, count)| (result.clone(), *count))
        };
        let compared = with(Fate::Compared).fold(0, |sum: u64, (_, count)| sum.saturating_add(count));
        let missed: Vec<_> = with(Fate::Missed).collect();
        let meant = missed.iter().fold(compared, |sum, (_, count)| sum.saturating_add(*count));
        Some(Coverage { compared, meant, missed })
    }
}

impl Coverage {
    /// What was compared and what is needed, if that is too little.
    pub(super) fn too_little(&self, name: &VersionName) -> Option<String> {
        let has_enough = self.compared.saturating_mul(100) >= self.meant.saturating_mul(LEAST_PERCENT);
        (!has_enough).then(|| format!("copies to {name}: {self}, needs {LEAST_PERCENT} %"))
    }
}

/// As `compared 41 of 100 (shadow_error 30, skipped_size 29)`.
impl fmt::Display for Coverage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "compared {} of {}", self.compared, self.meant)?;
        let missed: Vec<_> = self.missed.iter().map(|(result, count)| format!("{result} {count}")).collect();
        if missed.is_empty() { Ok(()) } else { write!(out, " ({})", missed.join(", ")) }
    }
}
