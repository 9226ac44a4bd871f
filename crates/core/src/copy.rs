//! The answer to a copy: when it is too long to be worth reading.
//!
//! Envoy reads and throws away what a shadow answers. That costs the worker time that its clients miss, so a copy ends when its
//! answer turns out too long.

/// Longest answer of a copy in bytes, as long as the longest that can be compared. The limit protects the worker's time.
pub const MAX_COPY_ANSWER: u64 = 1 << 20;

/// How much of a copy's answer has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopyAnswer {
    length: u64,
}

impl CopyAnswer {
    /// True if the answer says that it is too long. `content_length` is the header's value.
    pub fn declares_too_long(content_length: Option<&[u8]>) -> bool {
        let declared =
            content_length.and_then(|value| str::from_utf8(value).ok()?.trim().parse::<u64>().ok());
        declared.is_some_and(|length| length > MAX_COPY_ANSWER)
    }

    /// Counts a piece of the body. True if the answer has become too long.
    pub fn grows_too_long(&mut self, bytes: usize) -> bool {
        self.length = self.length.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.length > MAX_COPY_ANSWER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_too_long_if_it_says_so() {
        for (declared, expected) in [
            (None, false),
            (Some("0"), false),
            (Some("1048576"), false),
            (Some("1048577"), true),
            (Some("100000000"), true),
            (Some("18446744073709551615"), true),
            (Some("many"), false),
        ] {
            assert_eq!(CopyAnswer::declares_too_long(declared.map(str::as_bytes)), expected, "{declared:?}");
        }
    }

    #[test]
    fn an_answer_of_unknown_length_is_too_long_at_the_byte_that_is_one_too_many() {
        let mut answer = CopyAnswer::default();
        assert!(!answer.grows_too_long(1_048_575));
        assert!(!answer.grows_too_long(0));
        assert!(!answer.grows_too_long(1));
        assert!(answer.grows_too_long(1));
        assert!(answer.grows_too_long(0));
    }
}
