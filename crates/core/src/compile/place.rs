//! Places in a document, and the author's text in messages.
//!
//! Whatever a document contains, a message has no control characters and a bounded length.

use std::fmt;

/// The place of a value in a document.
pub(super) struct Place<'p> {
    pub(super) parent: Option<&'p Self>,
    pub(super) step: Step<'p>,
}

/// One step of the path to a value.
pub(super) enum Step<'p> {
    Document,
    Field(&'p str),
    Item(usize),
}

impl Place<'_> {
    pub(super) const DOCUMENT: Self = Self { parent: None, step: Step::Document };
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return formatter.write_str("document") };
        let is_top = matches!(parent.step, Step::Document);
        if !is_top {
            parent.fmt(formatter)?;
        }
        let plain = |key: &str| {
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        match self.step {
            Step::Document => Ok(()),
            Step::Item(position) => write!(formatter, "[{position}]"),
            Step::Field(key) if !plain(key) || key.len() > 64 => write!(formatter, "[{}]", shown(key)),
            Step::Field(key) if is_top => formatter.write_str(key),
            Step::Field(key) => write!(formatter, ".{key}"),
        }
    }
}

/// The author's text in a message: in backticks, control characters escaped, cut after 64 characters.
pub(super) fn shown(text: &str) -> String {
    let mut quoted = String::from("`");
    for symbol in text.chars().take(64) {
        if symbol.is_control() {
            quoted.extend(symbol.escape_unicode());
        } else {
            quoted.push(symbol);
        }
    }
    quoted.push_str(if text.chars().nth(64).is_some() { "...`" } else { "`" });
    quoted
}
