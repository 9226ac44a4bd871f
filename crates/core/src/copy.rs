//! Lengths of what is copied and compared, and when the answer to a copy is too long to be worth reading.
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
        content_length.is_some_and(|length| is_above(length, MAX_COPY_ANSWER))
    }

    /// Counts a piece of the body. True if the answer has become too long.
    pub fn grows_too_long(&mut self, bytes: usize) -> bool {
        self.length = self.length.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.length > MAX_COPY_ANSWER
    }
}

/// True if a `content-length` is a whole number above the limit, however many digits it has.
pub(crate) fn is_above(length: &[u8], limit: u64) -> bool {
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let number = str::from_utf8(length).ok().and_then(|digits| digits.parse::<u64>().ok());
    number.is_none_or(|number| number > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_number_above_the_limit_is_larger() {
        for (digits, larger) in [
            ("1048576", false),
            ("1048577", true),
            ("99999999999999999999999999", true),
            ("0", false),
            ("", false),
            ("-1", false),
            ("+9999999", false),
            ("9999999, 9999999", false),
        ] {
            assert_eq!(is_above(digits.as_bytes(), 1 << 20), larger, "{digits}");
        }
    }

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
