//! Why a copy was not sent, or why a pair was not compared, in words.

use rollout_core::compare::PairResult;
use rollout_core::{CopyResult, Shadow};

use crate::fleet::{copy_result, pair_result};

/// The reason that a result stands for. A result that only a newer filter knows stands for itself.
pub(super) fn why(result: &str, shadow: &Shadow) -> String {
    match (copy_result(result), pair_result(result)) {
        (Some(copy), _) => of_copy(copy, shadow),
        (None, Some(pair)) => of_pair(pair, shadow),
        (None, None) => result.to_owned(),
    }
}

fn of_copy(result: CopyResult, shadow: &Shadow) -> String {
    match result {
        CopyResult::Sent => "the copy was sent".to_owned(),
        CopyResult::SkippedBody => {
            format!("the request was longer than `max_body_bytes` ({})", shadow.limits().max_body_bytes)
        }
        CopyResult::SkippedUpgrade => "the request was an upgrade, which is never copied".to_owned(),
        CopyResult::SkippedRate => "the second had had `max_per_second` copies".to_owned(),
    }
}

fn of_pair(result: PairResult, shadow: &Shadow) -> String {
    let reason = match result {
        PairResult::Match => "the answers agree",
        PairResult::Mismatch => "the answers differ",
        PairResult::ShadowError => "the shadow gave no whole answer before the pair ended",
        PairResult::LiveError => "stable failed, or gave no whole answer",
        PairResult::SkippedSize => match shadow.compare() {
            Some(compare) => {
                return format!(
                    "an answer was longer than `compare.max_body_bytes` ({})",
                    compare.max_body_bytes
                );
            }
            None => "an answer was longer than `compare.max_body_bytes`",
        },
        PairResult::SkippedEncoding => "an answer was compressed",
        PairResult::SkippedStream => "an answer was a stream of events",
        PairResult::SkippedMemory => "there was no room in the memory for answers",
        PairResult::SkippedSample => "`compare.sample` did not choose the pair",
        PairResult::SkippedAbandoned => "the client left before its answer was whole",
        PairResult::SkippedOther => "another version than stable answered, or another filter did",
    };
    reason.to_owned()
}
