//! The values of a YAML or JSON file. They keep as much of their form as Envoy needs: a quoted value stays a text, and an unquoted
//! one stays whatever Envoy takes it for.
//!
//! Envoy reads an unquoted `on` as true and `017` as 15; other readers do not. A tree of resolved values could write back neither.

use anyhow::Result;
use serde_json::Value;

/// A value of any kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// A scalar without quotes, as it is written: a number, `true`, a word.
    Plain(String),
    /// A text in quotes or in a block.
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Node {
    /// The value of a key with nothing behind it.
    pub(crate) const NULL: Self = Self::Plain(String::new());

    /// A text, to be written in quotes.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// An object of these fields, in this order.
    pub(crate) fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The text of a scalar. `None` if this is a list or an object.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Plain(text) | Self::Text(text) => Some(text),
            Self::List(_) | Self::Object(_) => None,
        }
    }

    /// The elements of a list. `None` if this is not a list.
    pub(crate) fn as_list_mut(&mut self) -> Option<&mut Vec<Self>> {
        match self {
            Self::List(elements) => Some(elements),
            Self::Plain(_) | Self::Text(_) | Self::Object(_) => None,
        }
    }

    /// True for an object, whatever is in it.
    pub(crate) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// True if nothing is written, or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Plain(text) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// A field of an object. `None` if it is not there, or if this is not an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// A field of an object, to change it.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter_mut().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Sets a field of an object, in its old place if it has one. Does nothing to a node that is not an object.
    pub(crate) fn set(&mut self, name: &str, value: Self) {
        let Self::Object(fields) = self else { return };
        match fields.iter_mut().find(|(key, _)| key == name) {
            Some((_, place)) => *place = value,
            None => fields.push((name.to_owned(), value)),
        }
    }

    /// Removes a field of an object, if it has it.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Self::Object(fields) = self {
            fields.retain(|(key, _)| key != name);
        }
    }

    pub(crate) fn from_json(text: &str) -> Result<Self> {
        Ok(serde_json::from_str::<Value>(text)?.into())
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&Value::from(self))? + "\n")
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Plain(value.to_string()),
            Value::String(text) => Self::Text(text),
            Value::Array(elements) => Self::List(elements.into_iter().map(Self::from).collect()),
            Value::Object(fields) => {
                Self::Object(fields.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

impl From<&Node> for Value {
    fn from(node: &Node) -> Self {
        match node {
            Node::Plain(text) if text.is_empty() => Self::Null,
            Node::Plain(text) => serde_json::from_str(text).unwrap_or_else(|_| Self::String(text.clone())),
            Node::Text(text) => Self::String(text.clone()),
            Node::List(elements) => elements.iter().map(Self::from).collect(),
            Node::Object(fields) => {
                Self::Object(fields.iter().map(|(name, value)| (name.clone(), value.into())).collect())
            }
        }
    }
}
