//! How a gate ends, and why.

use crate::exit::Exit;

/// The end of a judgement.
pub(super) enum Verdict {
    GoOn,
    No(String),
    CouldNot(String),
}

impl Verdict {
    /// What the caller learns from the exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::GoOn => Exit::Fine,
            Self::No(_) => Exit::No,
            Self::CouldNot(_) => Exit::CouldNot,
        }
    }
}

/// Several reasons as one; `None` if there is none.
pub(super) fn joined(reasons: impl Iterator<Item = String>) -> Option<String> {
    let reasons: Vec<_> = reasons.collect();
    Some(reasons.join("; ")).filter(|text| !text.is_empty())
}
