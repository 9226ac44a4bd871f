//! The exit codes. The numbers are public API.

use std::process::ExitCode;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or the answer is yes.
    Fine = 0,
    /// The command could not be carried out: a file, a connection, wrong usage.
    CouldNot = 1,
    /// The command was carried out, and the answer is no.
    No = 2,
    /// The document has problems.
    Problems = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
