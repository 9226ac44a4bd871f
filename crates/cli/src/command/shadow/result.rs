//! What became of copies and of pairs, in words.

use rollout_core::{CopyResult, Shadow};

/// The results of pairs that were compared.
pub(super) const MATCH: &str = "match";
pub(super) const MISMATCH: &str = "mismatch";

/// What a result in `rollout_shadow_total` means for the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The copy was sent. If answers are compared, the pair has one of the last three fates later.
    Sent,
    /// No copy was sent.
    NotSent,
    /// Both answers were compared.
    Compared,
    /// They were to be compared, and were not.
    Missed,
    /// They were not to be compared: `sample` left them out, or another version than stable answered.
    LeftOut,
}

impl Fate {
    pub(super) fn of(result: &str) -> Self {
        if let Some(copy) = CopyResult::ALL.iter().find(|copy| copy.name() == result) {
            return if *copy == CopyResult::Sent { Self::Sent } else { Self::NotSent };
        }
        match result {
            MATCH | MISMATCH => Self::Compared,
            "skipped_sample" | "skipped_other" => Self::LeftOut,
            _ => Self::Missed, // a result that a newer filter counts must not count as good
        }
    }
}

/// Why a copy was not sent, or why a pair was not compared.
pub(super) fn why(result: &str, shadow: &Shadow) -> String {
    let limits = shadow.limits();
    match result {
        "skipped_body" => format!("the request was longer than `max_body_bytes` ({})", limits.max_body_bytes),
        "skipped_upgrade" => "the request was an upgrade, which is never copied".to_owned(),
        "skipped_rate" => "the second had had `max_per_second` copies".to_owned(),
        "shadow_error" => "the shadow failed, or had not answered when the pair ended".to_owned(),
        "live_error" => "the live answer was an error of the proxy, or broke off".to_owned(),
        "skipped_size" => match shadow.compare() {
            Some(compare) => {
                format!("an answer was longer than `compare.max_body_bytes` ({})", compare.max_body_bytes)
            }
            None => "an answer was longer than `compare.max_body_bytes`".to_owned(),
        },
        "skipped_encoding" => "an answer had a `content-encoding` that is not decoded".to_owned(),
        "skipped_stream" => "an answer was a stream".to_owned(),
        "skipped_memory" => "the proxy held as many pairs or bytes as it may".to_owned(),
        "skipped_sample" => "`compare.sample` did not choose the pair".to_owned(),
        "skipped_abandoned" => "the client had left".to_owned(),
        "skipped_other" => "a version other than stable answered the client".to_owned(),
        unknown => unknown.to_owned(),
    }
}
