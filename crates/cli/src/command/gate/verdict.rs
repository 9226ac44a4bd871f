//! How a gate ends, and why.

use crate::exit::Exit;

/// The end of a judgement.
pub(super) struct End {
    pub(super) verdict: Verdict,
    /// The signals that could not be judged, and do not make the answer a no.
    pub(super) unjudged: Vec<String>,
}

/// The answer.
pub(super) enum Verdict {
    GoOn,
    No(String),
    CouldNot(String),
}

impl From<Verdict> for End {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, unjudged: Vec::new() }
    }
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
