//! What is wrong with a document, and where.
//!
//! A document is rejected with all its problems at once, so that its author has to push it again only once.

use std::fmt;

/// One problem of a document: the place, and what is wrong there.
///
/// A warning has the same form. It names something that is allowed but probably not meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The place, like `rollouts[0].versions[1].cluster`, or `document` for the whole document.
    pub path: String,
    /// What is wrong: lower case, no full stop, the author's text in backticks.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// The reasons why a document was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Hash of the canonical document. `None` if the bytes are not JSON.
    pub hash: Option<u32>,
    /// All problems. Never empty.
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
