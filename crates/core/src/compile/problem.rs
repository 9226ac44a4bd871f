//! What is wrong with a document, and where.
//!
//! A document is refused with all its problems at once: whoever wrote it should have to push it again only once.

use std::fmt;

/// One thing to mend in a document: the place and what is wrong there.
///
/// Also the form of a warning, which names something that is allowed and probably not meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where: `rollouts[0].versions[1].cluster`, or `document` for the whole.
    pub path: String,
    /// What: lower case, no full stop, the author's words in backticks.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// A document that can't be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Hash of the canonical document, absent where the bytes are not JSON.
    pub hash: Option<u32>,
    /// All problems, never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}
