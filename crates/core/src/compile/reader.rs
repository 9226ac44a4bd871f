//! Reading a tree of JSON field by field: every value knows its place, every problem is kept, nothing is dropped in silence.
//!
//! A reader goes on after a problem, so that a document's author sees all of them at once; what it returns then is `None`, and
//! nobody uses it, because a document with a problem never becomes a plan.

use std::fmt;
use std::ops::RangeInclusive;
use std::rc::Rc;

use super::dependency::Dependencies;
use super::eligibility::Taken;
use crate::compile::json::Node;
use crate::compile::problem::Problem;
use crate::plan::unit::Issuer;
use crate::request::Inputs;

/// Protects Envoy's memory: a megabyte of nonsense has a hundred thousand problems.
const MAX_PROBLEMS: usize = 1_000;

/// What compiling gathers on its way.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) inputs: Inputs,
    /// Versions compiled so far, in all rollouts.
    pub(super) versions: usize,
    /// Slices of layers taken so far.
    pub(super) layers: Vec<Taken>,
    /// Cookies issued so far, each once.
    pub(super) issuers: Vec<Rc<Issuer>>,
    /// Names of the cookies that carry sessions so far.
    pub(super) session_cookies: Vec<Box<str>>,
    pub(super) dependencies: Dependencies,
}

impl Draft {
    /// Keeps a problem, unless there are far too many.
    pub(super) fn keep(&mut self, problem: Problem) {
        match self.problems.len() {
            ..MAX_PROBLEMS => self.problems.push(problem),
            MAX_PROBLEMS => {
                let path = Place::DOCUMENT.to_string();
                self.problems.push(Problem { path, message: "and more problems".to_owned() });
            }
            _ => {}
        }
    }
}

/// Where a value stands.
pub(super) struct Place<'p> {
    parent: Option<&'p Self>,
    step: Step<'p>,
}

enum Step<'p> {
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

/// A user's words inside a message: quoted, without control characters, cut where they are long.
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

/// A value and its place.
#[derive(Clone, Copy)]
pub(super) struct At<'n, 'p> {
    pub(super) node: &'n Node,
    pub(super) place: &'p Place<'p>,
}

impl<'n> At<'n, '_> {
    /// Keeps a problem and returns nothing, so that a reader can end with it.
    pub(super) fn problem<T>(&self, draft: &mut Draft, message: &str) -> Option<T> {
        draft.keep(self.note(message));
        None
    }

    #[cold]
    pub(super) fn warning(&self, draft: &mut Draft, message: &str) {
        draft.warnings.push(self.note(message));
    }

    #[cold]
    fn note(&self, message: &str) -> Problem {
        Problem { path: self.place.to_string(), message: message.to_owned() }
    }

    #[cold]
    pub(super) fn expected<T>(&self, draft: &mut Draft, wanted: &str) -> Option<T> {
        self.problem(draft, &format!("expected {wanted}, found {}", self.node.kind()))
    }

    #[inline(never)]
    pub(super) fn any_text(&self, draft: &mut Draft) -> Option<&'n str> {
        match self.node {
            Node::Text(text) => Some(text),
            _ => self.expected(draft, "a string"),
        }
    }

    /// One of a few words.
    pub(super) fn one_word(&self, draft: &mut Draft, words: &[&'static str]) -> Option<&'static str> {
        let text = self.any_text(draft)?;
        match words.iter().find(|word| **word == text) {
            Some(word) => Some(word),
            None => {
                self.problem(draft, &format!("expected one of {}, found {}", listing(words), shown(text)))
            }
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.node, Node::Null)
    }

    /// The items of an array that the reader accepts.
    pub(super) fn list<T>(
        &self,
        draft: &mut Draft,
        lengths: RangeInclusive<usize>,
        mut read: impl FnMut(At<'n, '_>, &mut Draft) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.items(draft, lengths)?;
        let mut values = Vec::with_capacity(items.len());
        for (position, node) in items.iter().enumerate() {
            values.extend(self.item(position, node, |at| read(at, draft)));
        }
        Some(values)
    }

    /// Reads each field of an object whose names are the author's.
    pub(super) fn entries(
        &self,
        draft: &mut Draft,
        lengths: RangeInclusive<usize>,
        mut read: impl FnMut(At<'n, '_>, &'n str, &mut Draft) -> Option<()>,
    ) -> Option<()> {
        let Node::Object(entries) = self.node else { return self.expected(draft, "an object") };
        if !lengths.contains(&entries.len()) {
            let (least, most, found) = (lengths.start(), lengths.end(), entries.len());
            return self.problem(draft, &format!("expected {least} to {most} fields, found {found}"));
        }
        for (key, node) in entries {
            self.enter(key, node, |at| read(at, key, draft));
        }
        Some(())
    }

    #[inline(never)]
    fn items(&self, draft: &mut Draft, lengths: RangeInclusive<usize>) -> Option<&'n [Node]> {
        let Node::Array(items) = self.node else { return self.expected(draft, "an array") };
        if !lengths.contains(&items.len()) {
            let (least, most, found) = (lengths.start(), lengths.end(), items.len());
            return self.problem(draft, &format!("expected {least} to {most} items, found {found}"));
        }
        Some(items)
    }

    /// Like [`At::list`], of names that may not repeat.
    pub(super) fn named_list<T>(
        &self,
        draft: &mut Draft,
        lengths: RangeInclusive<usize>,
        mut read: impl FnMut(At<'n, '_>, &mut Draft) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut seen = Vec::new();
        self.list(draft, lengths, |at, draft| {
            if let Some(name) = name_of(at.node).filter(|name| is_duplicate(&mut seen, name)) {
                at.problem::<()>(draft, &format!("duplicate name {}", shown(name)));
            }
            read(at, draft)
        })
    }

    /// The one entry of an object that says which of several kinds it is.
    #[inline(never)]
    pub(super) fn one_of(
        &self,
        draft: &mut Draft,
        kinds: &[&'static str],
    ) -> Option<(&'static str, &'n Node)> {
        let Node::Object(entries) = self.node else { return self.expected(draft, "an object") };
        let [(key, node)] = entries.as_slice() else {
            let found = entries.len();
            return self.problem(
                draft,
                &format!("expected exactly one of {}, found {found} fields", listing(kinds)),
            );
        };
        let place = Place { parent: Some(self.place), step: Step::Field(key) };
        let at = At { node, place: &place };
        match kinds.iter().find(|kind| **kind == key) {
            Some(kind) => Some((*kind, node)),
            None => at.problem(draft, &format!("unknown field, expected {}", listing(kinds))),
        }
    }

    /// Reads a field of this object with the place that belongs to it.
    pub(super) fn enter<T>(&self, key: &str, node: &'n Node, read: impl FnOnce(At<'n, '_>) -> T) -> T {
        let place = Place { parent: Some(self.place), step: Step::Field(key) };
        read(At { node, place: &place })
    }

    /// A place that was read before: an item of one of this object's lists.
    pub(super) fn in_list<T>(&self, list: &str, position: usize, tell: impl FnOnce(At<'n, '_>) -> T) -> T {
        self.enter(list, self.node, |at| at.item(position, at.node, tell))
    }

    /// Reads an item of this array with the place that belongs to it.
    pub(super) fn item<T>(&self, position: usize, node: &'n Node, read: impl FnOnce(At<'n, '_>) -> T) -> T {
        let place = Place { parent: Some(self.place), step: Step::Item(position) };
        read(At { node, place: &place })
    }
}

/// Keeps a name among those seen before, in order, and says if it was there.
#[inline(never)]
fn is_duplicate<'n>(seen: &mut Vec<&'n str>, name: &'n str) -> bool {
    match seen.binary_search(&name) {
        Ok(_) => true,
        Err(position) => {
            seen.insert(position, name);
            false
        }
    }
}

fn listing(names: &[&'static str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The `name` of an object, or the text itself.
pub(super) fn name_of(node: &Node) -> Option<&str> {
    let named = match node {
        Node::Object(_) => node.field("name")?,
        text => text,
    };
    match named {
        Node::Text(text) => Some(text),
        _ => None,
    }
}

/// The fields of an object, read by name; those that nobody reads are problems.
pub(super) struct Fields<'n, 'p> {
    at: At<'n, 'p>,
    entries: &'n [(String, Node)],
    read: Vec<&'static str>,
}

impl<'n, 'p> Fields<'n, 'p> {
    #[inline(never)]
    pub(super) fn of(at: At<'n, 'p>, draft: &mut Draft) -> Option<Self> {
        let Node::Object(entries) = at.node else { return at.expected(draft, "an object") };
        let mut seen = Vec::new();
        for (key, node) in entries {
            if is_duplicate(&mut seen, key) {
                at.enter(key, node, |at| at.problem::<()>(draft, "duplicate field"));
            }
        }
        Some(Self { at, entries, read: Vec::new() })
    }

    #[inline(never)]
    pub(super) fn has(&self, name: &str) -> bool {
        self.peek(name).is_some()
    }

    /// The object itself.
    pub(super) fn at(&self) -> At<'n, 'p> {
        self.at
    }

    /// A field's value ahead of its turn.
    pub(super) fn peek(&self, name: &str) -> Option<&'n Node> {
        self.at.node.field(name)
    }

    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        draft: &mut Draft,
        read: impl FnOnce(At<'n, '_>, &mut Draft) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(name)?;
        self.at.enter(name, node, |at| read(at, draft))
    }

    #[inline(never)]
    fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.read.push(name);
        self.peek(name)
    }

    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        draft: &mut Draft,
        read: impl FnOnce(At<'n, '_>, &mut Draft) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(name).or_else(|| self.missing(name, draft))?;
        self.at.enter(name, node, |at| read(at, draft))
    }

    #[cold]
    fn missing(&self, name: &str, draft: &mut Draft) -> Option<&'n Node> {
        self.at.enter(name, &Node::Null, |at| at.problem(draft, "missing"))
    }

    /// Fields of the contract that do not work yet.
    #[inline(never)]
    pub(super) fn later(&mut self, names: &[&'static str], draft: &mut Draft) {
        for name in names {
            self.optional(name, draft, |at, draft| at.problem::<()>(draft, "not supported yet"));
        }
    }

    #[inline(never)]
    pub(super) fn finish(self, draft: &mut Draft) {
        for (key, node) in self.entries.iter().filter(|(key, _)| !self.read.contains(&key.as_str())) {
            let expected = listing(&self.read);
            self.at.enter(key, node, |at| {
                at.problem::<()>(draft, &format!("unknown field, expected {expected}"))
            });
        }
    }
}
