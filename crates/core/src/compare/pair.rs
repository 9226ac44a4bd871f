//! What becomes of a pair: a live answer, and the answer of a copy of its request.
//!
//! Only a whole answer of the model says anything. Whatever else ends one of the two, ends the pair with the cause.

use crate::guardrail::{Ending, classify_without_response};

/// What becomes of a pair. Every pair ends with exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairResult {
    /// The answers do not differ.
    Match,
    /// They do.
    Mismatch,
    /// The shadow gave no whole answer.
    ShadowError,
    /// Stable gave no whole answer, or a failure.
    LiveError,
    /// An answer is longer than `max_body_bytes`.
    SkippedSize,
    /// An answer is compressed.
    SkippedEncoding,
    /// An answer is a stream of events.
    SkippedStream,
    /// There was no room in the memory for answers.
    SkippedMemory,
    /// The copy is not in the sample.
    SkippedSample,
    /// The client left before its answer was whole.
    SkippedAbandoned,
    /// Another version than stable answered, or another filter did.
    SkippedOther,
}

impl PairResult {
    /// Number of results.
    pub const COUNT: usize = 11;
    /// All results, each at the position of [`PairResult::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Match,
        Self::Mismatch,
        Self::ShadowError,
        Self::LiveError,
        Self::SkippedSize,
        Self::SkippedEncoding,
        Self::SkippedStream,
        Self::SkippedMemory,
        Self::SkippedSample,
        Self::SkippedAbandoned,
        Self::SkippedOther,
    ];

    /// Position in [`PairResult::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// True if both answers were whole and were compared.
    #[must_use]
    pub fn is_compared(self) -> bool {
        matches!(self, Self::Match | Self::Mismatch)
    }

    /// The name in the public API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Mismatch => "mismatch",
            Self::ShadowError => "shadow_error",
            Self::LiveError => "live_error",
            Self::SkippedSize => "skipped_size",
            Self::SkippedEncoding => "skipped_encoding",
            Self::SkippedStream => "skipped_stream",
            Self::SkippedMemory => "skipped_memory",
            Self::SkippedSample => "skipped_sample",
            Self::SkippedAbandoned => "skipped_abandoned",
            Self::SkippedOther => "skipped_other",
        }
    }

    /// What becomes of pairs whose live answer broke off with these flags.
    #[must_use]
    pub fn of_break(flags: u64) -> Self {
        match classify_without_response(flags) {
            Ending::Abandoned => Self::SkippedAbandoned,
            Ending::Answered | Ending::Failed | Ending::Unanswered | Ending::Foreign => Self::LiveError,
        }
    }
}
