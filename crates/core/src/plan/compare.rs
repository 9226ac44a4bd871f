//! How the answers of a shadow are compared with the live ones: the rules, and the patterns that name places in JSON.
//!
//! The comparison itself is the room `compare`.

use super::decimal::Decimal;
use crate::hash::bucket::Ppm;

/// Most headers that are compared.
pub(crate) const MAX_HEADERS: usize = 16;

/// Most patterns in a list. A comparison keeps a bit for each.
pub(crate) const MAX_PATTERNS: usize = 32;

/// Longest pattern, in bytes of UTF-8.
pub(crate) const MAX_PATTERN_BYTES: usize = 256;

/// Largest body that is compared if the document does not say.
pub(crate) const DEFAULT_BODY_BYTES: u64 = 64 << 10;

/// Largest `max_body_bytes`. The limit protects the memory of the VM and the time of a worker.
pub(crate) const MAX_BODY_BYTES: u64 = 1 << 20;

/// What is compared of a shadow's answers, and what is told about differences.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// True if the HTTP status is compared.
    pub status: bool,
    /// Names of the headers that are compared, in lower case.
    pub headers: Box<[Box<str>]>,
    /// How JSON is compared.
    pub json: JsonRules,
    /// Largest body that is compared, in bytes after decompression.
    pub max_body_bytes: u64,
    /// Share of the copies whose answers are compared.
    pub sample: Ppm,
    /// True if log lines have the values that differ.
    pub logs_values: bool,
    /// Places in JSON whose values are never logged.
    pub redact: Box<[Pattern]>,
}

/// How JSON is compared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JsonRules {
    /// Places that are not compared.
    pub ignore: Box<[Pattern]>,
    /// Arrays whose items may come in any order.
    pub unordered: Box<[Pattern]>,
    /// Numbers match if they differ by at most this.
    pub abs_tolerance: Decimal,
    /// Numbers match if they differ by at most this share of the larger one.
    pub rel_tolerance: Decimal,
}

/// A JSON Pointer (RFC 6901) in which a step `*` stands for any member or item of one level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(pub(crate) Box<[Step]>);

/// One step of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Any member or item.
    Any,
    /// The member with this name, or the item with this index.
    Named {
        /// The name, without escapes.
        name: Box<str>,
        /// The index that the name is, if it is one.
        index: Option<usize>,
    },
}

impl Pattern {
    /// Reads a pointer. `None` if it does not begin with `/`, or has an escape other than `~0` and `~1`.
    pub(crate) fn read(pointer: &str) -> Option<Self> {
        if pointer.is_empty() {
            return Some(Self(Box::default()));
        }
        pointer.strip_prefix('/')?.split('/').map(Step::read).collect::<Option<_>>().map(Self)
    }
}

impl Step {
    fn read(step: &str) -> Option<Self> {
        if step == "*" {
            return Some(Self::Any);
        }
        let mut parts = step.split('~');
        let mut name = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (escaped, rest) = match part.strip_prefix('0') {
                Some(rest) => ('~', rest),
                None => ('/', part.strip_prefix('1')?),
            };
            name.push(escaped);
            name.push_str(rest);
        }
        let is_index = name == "0" || !name.starts_with(['0', '+']);
        let index = if is_index { name.parse().ok() } else { None };
        Some(Self::Named { name: name.into(), index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_pointer_with_stars_for_levels() {
        let step = |name: &str, index| Step::Named { name: name.into(), index };
        for (pointer, steps) in [
            ("", Some(vec![])),
            ("/", Some(vec![step("", None)])),
            ("/a/*/0", Some(vec![step("a", None), Step::Any, step("0", Some(0))])),
            ("/a~1b/~0/~01", Some(vec![step("a/b", None), step("~", None), step("~1", None)])),
            ("/**/01/+1", Some(vec![step("**", None), step("01", None), step("+1", None)])),
            ("/12", Some(vec![step("12", Some(12))])),
            ("a", None),
            ("/~", None),
            ("/~2", None),
            ("/a~", None),
        ] {
            assert_eq!(Pattern::read(pointer).map(|pattern| pattern.0.into_vec()), steps, "{pointer}");
        }
    }
}
