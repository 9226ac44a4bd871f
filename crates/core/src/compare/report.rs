//! Collects differences, up to a limit, with their places and, if the document says so, with the values.

use super::difference::{Difference, Kind, MAX_DIFFERENCES};
use super::text::decoded;
use crate::plan::compare::{Compare, Pattern, Step};

/// Longest value in a difference, in characters.
const MAX_VALUE: usize = 200;

/// Longest pointer, in bytes. Names of members are what a model chooses.
const MAX_POINTER: usize = 1_024;

/// What stands for a value that is redacted.
const REDACTED: &str = "***";

/// A step from a value to a part of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'t> {
    /// A member, by its name as it is written.
    Member(&'t [u8]),
    /// An item of an array.
    Item(usize),
    /// An item of an array whose items may come in any order. The index is that in the live answer.
    Unordered(usize),
}

impl Part<'_> {
    /// True if a step of a pattern names this part.
    pub(super) fn is(self, step: &Step) -> bool {
        match (step, self) {
            (Step::Any, _) => true,
            (Step::Named(name), Part::Member(written)) => {
                name.as_bytes() == written || name.as_bytes() == decoded(written).as_ref()
            }
            (Step::Named(name), Part::Item(position)) => is_index(name, position),
            (Step::Named(_), Part::Unordered(_)) => false,
        }
    }

    /// True if a step of a pattern may name this part, or the one that it is compared with.
    fn may_be(self, step: &Step) -> bool {
        match (step, self) {
            (Step::Named(name), Part::Unordered(_)) => name.bytes().all(|byte| byte.is_ascii_digit()),
            (Step::Any | Step::Named(_), _) => self.is(step),
        }
    }
}

/// True if this is the index, as a pointer has it: without zeros in front.
fn is_index(name: &str, position: usize) -> bool {
    let mut rest = position;
    let digits = name.bytes().rev().all(|byte| {
        let digit = rest % 10;
        rest /= 10;
        usize::from(byte) == digit.saturating_add(usize::from(b'0'))
    });
    digits && rest == 0 && (name == "0" || !(name.is_empty() || name.starts_with('0')))
}

/// The differences found so far.
pub(super) struct Report<'r> {
    pub(super) rules: &'r Compare,
    found: Vec<Difference>,
}

impl<'r> Report<'r> {
    pub(super) fn new(rules: &'r Compare) -> Self {
        Self { rules, found: Vec::new() }
    }

    pub(super) fn into_differences(self) -> Vec<Difference> {
        self.found
    }

    /// Number of differences so far.
    pub(super) fn length(&self) -> usize {
        self.found.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MAX_DIFFERENCES
    }

    /// Forgets the differences after the first ones.
    pub(super) fn cut(&mut self, length: usize) {
        self.found.truncate(length);
    }

    /// A difference outside of JSON.
    pub(super) fn named(&mut self, place: &str, kind: Kind, live: Option<&[u8]>, copy: Option<&[u8]>) {
        let (live, copy) = (self.value(live, false), self.value(copy, false));
        self.found.push(Difference { pointer: place.to_owned(), kind, relative: None, live, copy });
    }

    /// A difference of whole bodies. They may contain what is redacted.
    pub(super) fn body(&mut self, kind: Kind, live: &[u8], copy: &[u8]) {
        let is_redacted = !self.rules.redact.is_empty();
        let (live, copy) = (self.value(Some(live), is_redacted), self.value(Some(copy), is_redacted));
        self.found.push(Difference { pointer: "body".to_owned(), kind, relative: None, live, copy });
    }

    /// A difference in JSON, at this position among those found.
    pub(super) fn json(&mut self, position: usize, path: &[Part<'_>], difference: Found<'_>) {
        let is_redacted = self.rules.redact.iter().any(|pattern| overlaps(pattern, path));
        let Found { kind, relative, live, copy } = difference;
        let (live, copy) = (self.value(live, is_redacted), self.value(copy, is_redacted));
        let difference = Difference { pointer: pointer(path), kind, relative, live, copy };
        self.found.insert(position.min(self.found.len()), difference);
    }

    fn value(&self, value: Option<&[u8]>, is_redacted: bool) -> Option<String> {
        let value = value.filter(|_| self.rules.logs_values)?;
        if is_redacted {
            return Some(REDACTED.to_owned());
        }
        let most = value.get(..MAX_VALUE << 2).unwrap_or(value); // a character has at most four bytes
        Some(String::from_utf8_lossy(most).chars().take(MAX_VALUE).collect())
    }
}

/// A difference in JSON without its place.
#[derive(Clone, Copy)]
pub(super) struct Found<'t> {
    pub(super) kind: Kind,
    pub(super) relative: Option<f64>,
    pub(super) live: Option<&'t [u8]>,
    pub(super) copy: Option<&'t [u8]>,
}

/// True if the pattern names the place, one above it, or one inside it.
fn overlaps(pattern: &Pattern, path: &[Part<'_>]) -> bool {
    pattern.0.iter().zip(path).all(|(step, part)| part.may_be(step))
}

/// The path as a JSON Pointer (RFC 6901).
fn pointer(path: &[Part<'_>]) -> String {
    let mut pointer = String::new();
    for part in path {
        pointer.push('/');
        match part {
            Part::Item(position) | Part::Unordered(position) => pointer.push_str(&position.to_string()),
            Part::Member(written) => {
                let written = written.get(..MAX_POINTER).unwrap_or(written);
                for symbol in String::from_utf8_lossy(&decoded(written)).chars() {
                    match symbol {
                        '~' => pointer.push_str("~0"),
                        '/' => pointer.push_str("~1"),
                        symbol => pointer.push(symbol),
                    }
                }
            }
        }
        if pointer.len() > MAX_POINTER {
            let end = (0..=MAX_POINTER).rev().find(|end| pointer.is_char_boundary(*end));
            pointer.truncate(end.unwrap_or(0));
            break;
        }
    }
    pointer
}
