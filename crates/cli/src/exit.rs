//! What a caller learns from the exit code alone. The numbers are public API.

use std::process::ExitCode;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or the answer is yes.
    Fine = 0,
    /// It could not be done: a file, a connection, the usage.
    CouldNot = 1,
    /// It was done and the answer is no.
    No = 2,
    /// The document has problems.
    Problems = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
