//! Reads a tree of JSON field by field. Every value knows its place, every problem is kept, and no field is ignored silently.
//!
//! A reader continues after a problem, so that the author of a document sees all of them at once. It then returns `None`. That is
//! safe, because a document with a problem never becomes a plan.

use std::ops::RangeInclusive;

use super::context::Context;
use super::json::Node;
use super::place::{Place, Step, shown};
use super::problem::Problem;

/// A value and its place.
#[derive(Clone, Copy)]
pub(super) struct At<'n, 'p> {
    pub(super) node: &'n Node,
    pub(super) place: &'p Place<'p>,
}

impl<'n> At<'n, '_> {
    /// Keeps a problem and returns `None`, so that a reader can return it.
    pub(super) fn problem<T>(&self, context: &mut Context, message: &str) -> Option<T> {
        context.problems.keep(self.note(message));
        None
    }

    #[cold]
    pub(super) fn warning(&self, context: &mut Context, message: &str) {
        context.problems.warn(self.note(message));
    }

    #[cold]
    fn note(&self, message: &str) -> Problem {
        Problem { path: self.place.to_string(), message: message.to_owned() }
    }

    #[cold]
    pub(super) fn expected<T>(&self, context: &mut Context, wanted: &str) -> Option<T> {
        self.problem(context, &format!("expected {wanted}, found {}", self.node.kind()))
    }

    #[inline(never)]
    pub(super) fn any_text(&self, context: &mut Context) -> Option<&'n str> {
        match self.node.text() {
            Some(text) => Some(text),
            None => self.expected(context, "a string"),
        }
    }

    /// The text, if it is one of these words.
    pub(super) fn one_word(&self, context: &mut Context, words: &[&'static str]) -> Option<&'static str> {
        let text = self.any_text(context)?;
        match words.iter().find(|word| **word == text) {
            Some(word) => Some(word),
            None => {
                self.problem(context, &format!("expected one of {}, found {}", listing(words), shown(text)))
            }
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.node, Node::Null)
    }

    /// The items of an array that `read` accepts.
    pub(super) fn list<T>(
        &self,
        context: &mut Context,
        lengths: RangeInclusive<usize>,
        mut read: impl FnMut(At<'n, '_>, &mut Context) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.items(context, lengths)?;
        let mut values = Vec::with_capacity(items.len());
        for (position, node) in items.iter().enumerate() {
            values.extend(self.item(position, node, |at| read(at, context)));
        }
        Some(values)
    }

    /// Reads each field of an object whose keys the author chooses.
    pub(super) fn entries(
        &self,
        context: &mut Context,
        lengths: RangeInclusive<usize>,
        mut read: impl FnMut(At<'n, '_>, &'n str, &mut Context) -> Option<()>,
    ) -> Option<()> {
        let Node::Object(entries) = self.node else { return self.expected(context, "an object") };
        if !lengths.contains(&entries.len()) {
            let (least, most, found) = (lengths.start(), lengths.end(), entries.len());
            return self.problem(context, &format!("expected {least} to {most} fields, found {found}"));
        }
        for (key, node) in entries {
            self.enter(key, node, |at| read(at, key, context));
        }
        Some(())
    }

    #[inline(never)]
    fn items(&self, context: &mut Context, lengths: RangeInclusive<usize>) -> Option<&'n [Node]> {
        let Node::Array(items) = self.node else { return self.expected(context, "an array") };
        if !lengths.contains(&items.len()) {
            let (least, most, found) = (lengths.start(), lengths.end(), items.len());
            return self.problem(context, &format!("expected {least} to {most} items, found {found}"));
        }
        Some(items)
    }

    /// Like [`At::list`], for items whose names must be different.
    pub(super) fn named_list<T>(
        &self,
        context: &mut Context,
        lengths: RangeInclusive<usize>,
        mut read: impl FnMut(At<'n, '_>, &mut Context) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut seen = Vec::new();
        self.list(context, lengths, |at, context| {
            if let Some(name) = name_of(at.node).filter(|name| is_duplicate(&mut seen, name)) {
                at.problem::<()>(context, &format!("duplicate name {}", shown(name)));
            }
            read(at, context)
        })
    }

    /// The only entry of an object. Its key must be one of these kinds.
    #[inline(never)]
    pub(super) fn one_of(
        &self,
        context: &mut Context,
        kinds: &[&'static str],
    ) -> Option<(&'static str, &'n Node)> {
        let Node::Object(entries) = self.node else { return self.expected(context, "an object") };
        let [(key, node)] = entries.as_slice() else {
            let found = entries.len();
            return self.problem(
                context,
                &format!("expected exactly one of {}, found {found} fields", listing(kinds)),
            );
        };
        let place = Place { parent: Some(self.place), step: Step::Field(key) };
        let at = At { node, place: &place };
        match kinds.iter().find(|kind| **kind == key) {
            Some(kind) => Some((*kind, node)),
            None => at.problem(context, &format!("unknown field, expected {}", listing(kinds))),
        }
    }

    /// Reads a field of this object at its place.
    pub(super) fn enter<T>(&self, key: &str, node: &'n Node, read: impl FnOnce(At<'n, '_>) -> T) -> T {
        let place = Place { parent: Some(self.place), step: Step::Field(key) };
        read(At { node, place: &place })
    }

    /// Enters the place of an item in a list of this object, to report something about it later.
    pub(super) fn in_list<T>(&self, list: &str, position: usize, tell: impl FnOnce(At<'n, '_>) -> T) -> T {
        self.enter(list, self.node, |at| at.item(position, at.node, tell))
    }

    /// Reads an item of this array at its place.
    pub(super) fn item<T>(&self, position: usize, node: &'n Node, read: impl FnOnce(At<'n, '_>) -> T) -> T {
        let place = Place { parent: Some(self.place), step: Step::Item(position) };
        read(At { node, place: &place })
    }
}

/// Adds a name to the sorted names seen so far. True if it was there before.
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
    match node {
        Node::Object(_) => node.field("name")?.text(),
        text => text.text(),
    }
}

/// The fields of an object, read by name. A field that is never read is a problem.
pub(super) struct Fields<'n, 'p> {
    at: At<'n, 'p>,
    entries: &'n [(String, Node)],
    read: Vec<&'static str>,
}

impl<'n, 'p> Fields<'n, 'p> {
    #[inline(never)]
    pub(super) fn of(at: At<'n, 'p>, context: &mut Context) -> Option<Self> {
        let Node::Object(entries) = at.node else { return at.expected(context, "an object") };
        let mut seen = Vec::new();
        for (key, node) in entries {
            if is_duplicate(&mut seen, key) {
                at.enter(key, node, |at| at.problem::<()>(context, "duplicate field"));
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

    /// The value of a field, without marking it as read.
    pub(super) fn peek(&self, name: &str) -> Option<&'n Node> {
        self.at.node.field(name)
    }

    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        context: &mut Context,
        read: impl FnOnce(At<'n, '_>, &mut Context) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(name)?;
        self.at.enter(name, node, |at| read(at, context))
    }

    #[inline(never)]
    fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.read.push(name);
        self.peek(name)
    }

    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        context: &mut Context,
        read: impl FnOnce(At<'n, '_>, &mut Context) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(name).or_else(|| self.missing(name, context))?;
        self.at.enter(name, node, |at| read(at, context))
    }

    #[cold]
    fn missing(&self, name: &str, context: &mut Context) -> Option<&'n Node> {
        self.at.enter(name, &Node::Null, |at| at.problem(context, "missing"))
    }

    /// Reports fields that are reserved but not supported yet.
    #[inline(never)]
    pub(super) fn later(&mut self, names: &[&'static str], context: &mut Context) {
        for name in names {
            self.optional(name, context, |at, context| at.problem::<()>(context, "not supported yet"));
        }
    }

    #[inline(never)]
    pub(super) fn finish(self, context: &mut Context) {
        for (key, node) in self.entries.iter().filter(|(key, _)| !self.read.contains(&key.as_str())) {
            let expected = listing(&self.read);
            self.at.enter(key, node, |at| {
                at.problem::<()>(context, &format!("unknown field, expected {expected}"))
            });
        }
    }
}
