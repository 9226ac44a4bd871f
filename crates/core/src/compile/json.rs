//! JSON as a tree that keeps everything: duplicate keys stay visible, so that they are reported and not dropped, and numbers are
//! what was written, never a neighbor.
//!
//! The hash of the canonical form identifies a document, no matter how it was delivered. A `Struct` turns every number into
//! a double and loses the order of keys, so the canonical form keeps neither.

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::number::{Number, Written};
use crate::hash::murmur3::murmur3;

/// The largest integer that a double carries exactly together with its neighbours: 2^53 - 1.
pub(crate) const MAX_INTEGER: i64 = 9_007_199_254_740_991;

/// Most fields of one object. The limit protects against slow sorting.
pub(crate) const MAX_FIELDS: usize = 256;

/// Any JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Numeral(Numeral),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// A text of a `Struct` that is a JSON number. It is a text, and it is that number where a number is expected: Envoy's YAML
/// reader makes texts of fractions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Numeral {
    text: String,
    number: Number,
    /// True after the number was asked for. The canonical form then has the number.
    is_number: Cell<bool>,
}

impl Node {
    pub(crate) fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        let mut node: Self = serde_json::from_slice(bytes)?;
        node.read_as_written(&mut Written::of(bytes));
        Ok(node)
    }

    /// The text of a `Struct`.
    pub(crate) fn text_of_struct(text: String) -> Self {
        match Number::read(&text) {
            Some(number) => Self::Numeral(Numeral { text, number, is_number: Cell::new(false) }),
            None => Self::Text(text),
        }
    }

    /// Replaces the numbers by the same numbers without rounding.
    fn read_as_written(&mut self, written: &mut Written<'_>) {
        match self {
            Self::Number(number) => {
                if let Some(exact) = written.next().and_then(Number::read) {
                    *number = exact;
                }
            }
            Self::Array(items) => items.iter_mut().for_each(|item| item.read_as_written(written)),
            Self::Object(entries) => entries.iter_mut().for_each(|(_, node)| node.read_as_written(written)),
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::Numeral(_) => {}
        }
    }

    /// The value as an integer. A double without a fraction counts as one.
    pub(crate) fn integer(&self) -> Option<i64> {
        self.as_number()?.integer()
    }

    /// The value as a number, with or without a fraction. `None` if it is not a number, or has more digits than a double carries.
    pub(crate) fn number(&self) -> Option<f64> {
        self.as_number()?.double()
    }

    fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            Self::Numeral(numeral) => Some(numeral.number()),
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }

    /// True if a number may stand for it.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Numeral(_))
    }

    /// The value as a text.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Numeral(Numeral { text, .. }) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }

    /// A field of an object. `None` if this is not an object or has no such field.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Self::Object(entries) = self else { return None };
        entries.iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }

    /// Number of items of an array. Zero if this is not an array.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Array(items) => items.len(),
            Self::Null
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Numeral(_)
            | Self::Object(_) => 0,
        }
    }

    /// The name of this kind of value in messages: "expected a string, found ...".
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) | Self::Numeral(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// murmur3 of the canonical form.
    pub(crate) fn hash(&self) -> u32 {
        let mut canonical = String::new();
        self.write_canonical(&mut canonical);
        murmur3(0, canonical.as_bytes(), b"")
    }

    /// Writes the canonical form: keys sorted by their UTF-8 bytes, no spaces, integral numbers without a fraction, other
    /// numbers in their shortest form, only quotes, backslashes and control characters escaped.
    fn write_canonical(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => number.write_canonical(out),
            Self::Text(text) => write_text(text, out),
            Self::Numeral(numeral) if numeral.is_number.get() => numeral.number.write_canonical(out),
            Self::Numeral(numeral) => write_text(&numeral.text, out),
            Self::Array(items) => {
                out.push('[');
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    item.write_canonical(out);
                }
                out.push(']');
            }
            Self::Object(entries) => {
                let mut sorted: Vec<&(String, Self)> = Vec::with_capacity(entries.len());
                for entry in entries {
                    let position = sorted.partition_point(|earlier| earlier.0 <= entry.0);
                    sorted.insert(position, entry);
                }
                out.push('{');
                for (position, (key, value)) in sorted.into_iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write_canonical(out);
                }
                out.push('}');
            }
        }
    }
}

impl Numeral {
    fn number(&self) -> &Number {
        self.is_number.set(true);
        &self.number
    }
}

/// Writes a quoted string. serde_json escapes exactly what the canonical form escapes, and writing to a string can't fail.
fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(Number::Unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(Number::Negative(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(Number::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Node::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
            if object.len() > MAX_FIELDS {
                return Err(A::Error::custom(format_args!("an object with more than {MAX_FIELDS} fields")));
            }
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        let mut out = String::new();
        Node::parse(text.as_bytes()).unwrap().write_canonical(&mut out);
        out
    }

    #[test]
    fn the_canonical_form_drops_what_a_struct_drops() {
        let written = r#" {"b": 5, "a": [1.50, -0.0, 2e3, 33.3333], "é": "\u00e9\n\"/"} "#;
        let through_a_struct = r#"{"é":"é\n\"\/","a":[1.5,0,2000.0,33.3333],"b":5.0}"#;
        assert_eq!(canonical(written), r#"{"a":[1.5,0,2000,33.3333],"b":5,"é":"é\n\"/"}"#);
        assert_eq!(canonical(written), canonical(through_a_struct));
    }

    #[test]
    fn an_integral_double_is_an_integer_and_a_fraction_is_not() {
        assert_eq!(Node::parse(b"42.0").unwrap().integer(), Some(42));
        assert_eq!(Node::parse(b"1e+15").unwrap().integer(), Some(1_000_000_000_000_000));
        assert_eq!(Node::parse(b"0.5").unwrap().integer(), None);
        assert_eq!(Node::parse(b"18446744073709551615").unwrap().integer(), None);
        assert_eq!(Node::parse(b"1e300").unwrap().integer(), None);
    }

    #[test]
    fn a_text_of_a_struct_is_the_number_that_was_asked_for_and_otherwise_itself() {
        let written = |node: &Node| {
            let mut out = String::new();
            node.write_canonical(&mut out);
            out
        };
        let numeral = Node::text_of_struct("30.50".to_owned());
        assert_eq!((numeral.text(), written(&numeral).as_str()), (Some("30.50"), r#""30.50""#));
        assert_eq!((numeral.number(), written(&numeral).as_str()), (Some(30.5), "30.5"));
        assert_eq!(Node::text_of_struct("030".to_owned()), Node::Text("030".to_owned()));
    }
}
