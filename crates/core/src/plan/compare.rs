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
    /// The member with this name, without escapes, or the item with this index.
    Named(Box<str>),
}

impl Pattern {
    /// Reads a pointer. `None` if it does not begin with `/`, or has an escape other than `~0` and `~1`.
    pub(crate) fn read(pointer: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut symbols = pointer.chars();
        let mut next = symbols.next();
        while next.is_some() {
            if next != Some('/') {
                return None;
            }
            let mut name = String::new();
            next = symbols.next();
            while let Some(symbol) = next.filter(|symbol| *symbol != '/') {
                name.push(match symbol {
                    '~' => match symbols.next()? {
                        '0' => '~',
                        '1' => '/',
                        _ => return None,
                    },
                    symbol => symbol,
                });
                next = symbols.next();
            }
            let is_any = name == "*";
            steps.push(if is_any { Step::Any } else { Step::Named(name.into()) });
        }
        Some(Self(steps.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_pointer_with_stars_for_levels() {
        let step = |name: &str| Step::Named(name.into());
        for (pointer, steps) in [
            ("", Some(vec![])),
            ("/", Some(vec![step("")])),
            ("/a/*/0", Some(vec![step("a"), Step::Any, step("0")])),
            ("/a~1b/~0/~01", Some(vec![step("a/b"), step("~"), step("~1")])),
            ("/**/01/+1", Some(vec![step("**"), step("01"), step("+1")])),
            ("/12", Some(vec![step("12")])),
            ("a", None),
            ("/~", None),
            ("/~2", None),
            ("/a~", None),
        ] {
            assert_eq!(Pattern::read(pointer).map(|pattern| pattern.0.into_vec()), steps, "{pointer}");
        }
    }
}
