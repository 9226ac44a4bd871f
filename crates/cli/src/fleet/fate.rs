//! What the results in `rollout_shadow_total` mean for the comparison of answers.

use rollout_core::CopyResult;
use rollout_core::compare::PairResult;

/// What became of copies, or of their pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The copy was sent. If answers are compared, the pair has one of the last three fates later.
    Sent,
    /// No copy was sent.
    NotSent,
    /// Both answers were compared.
    Compared,
    /// They were to be compared, and were not. What was not looked at does not count as a match.
    Missed,
    /// They were not to be compared: `sample` left them out, or another version than stable answered.
    LeftOut,
}

impl Fate {
    /// The fate that a result stands for. One that only a newer filter knows counts as missed.
    pub(crate) fn of(result: &str) -> Self {
        match (copy_result(result), pair_result(result)) {
            (Some(copy), _) => Self::of_copy(copy),
            (None, Some(pair)) => Self::of_pair(pair),
            (None, None) => Self::Missed,
        }
    }

    fn of_copy(result: CopyResult) -> Self {
        match result {
            CopyResult::Sent => Self::Sent,
            CopyResult::SkippedBody | CopyResult::SkippedUpgrade | CopyResult::SkippedRate => Self::NotSent,
        }
    }

    fn of_pair(result: PairResult) -> Self {
        match result {
            PairResult::Match | PairResult::Mismatch => Self::Compared,
            PairResult::ShadowError
            | PairResult::LiveError
            | PairResult::SkippedSize
            | PairResult::SkippedEncoding
            | PairResult::SkippedStream
            | PairResult::SkippedMemory
            | PairResult::SkippedAbandoned => Self::Missed,
            PairResult::SkippedSample | PairResult::SkippedOther => Self::LeftOut,
        }
    }
}

/// The result of a copy with this name.
pub(crate) fn copy_result(name: &str) -> Option<CopyResult> {
    CopyResult::ALL.into_iter().find(|result| result.name() == name)
}

/// The result of a pair with this name.
pub(crate) fn pair_result(name: &str) -> Option<PairResult> {
    PairResult::ALL.into_iter().find(|result| result.name() == name)
}
