//! An index from host and path to rollouts, so that a thousand rollouts do not cost a thousand comparisons per request.
//!
//! Each alternative of each rollout is posted under its hosts and its path. A request looks up its own host and path, and
//! only the postings found there test their conditions. The first rollout in document order wins.

use std::rc::Rc;

use super::condition::Conditions;
use crate::request::Request;

/// One alternative of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Posting {
    /// Position of the rollout in the document.
    pub(crate) order: usize,
    pub(crate) conditions: Rc<Conditions>,
}

/// The path of an alternative, without the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathPattern {
    Any,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
}

/// The host of an alternative, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostPattern {
    Any,
    Exact(Box<[u8]>),
    /// Any name with one or more labels before this name.
    Below(Box<[u8]>),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Index {
    exact: Table<Paths>,
    below: Table<Paths>,
    any: Paths,
}

impl Index {
    /// Adds a posting. Postings must come in document order, and [`Index::finish`] must come last.
    pub(crate) fn add(&mut self, host: &HostPattern, path: &PathPattern, posting: Posting) {
        let paths = match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name),
            HostPattern::Below(name) => self.below.entry(name),
        };
        paths.add(path, posting);
    }

    pub(crate) fn finish(&mut self) {
        self.any.finish();
        for (_, paths) in self.exact.0.iter_mut().chain(&mut self.below.0) {
            paths.finish();
        }
    }

    /// The position of the first rollout in document order that matches.
    pub(crate) fn find(&self, request: &Request<'_>) -> Option<usize> {
        let mut search = Search { request, best: None };
        if let Some(paths) = self.exact.get(&request.host) {
            paths.visit(&mut search);
        }
        if !self.below.0.is_empty() {
            let mut rest = request.host.as_ref();
            while let Some(dot) = rest.iter().position(|byte| *byte == b'.') {
                let label = rest.get(..dot).unwrap_or_default();
                rest = rest.get(dot..).and_then(|tail| tail.get(1..)).unwrap_or_default();
                let paths = self.below.get(rest).filter(|_| !label.is_empty());
                paths.into_iter().for_each(|paths| paths.visit(&mut search));
            }
        }
        self.any.visit(&mut search);
        search.best.map(|posting| posting.order)
    }
}

/// The best posting so far.
struct Search<'i, 'r> {
    request: &'r Request<'r>,
    best: Option<&'i Posting>,
}

impl<'i> Search<'i, '_> {
    /// Tests postings. They are in document order, so the first one that holds is the best of its list.
    fn consider(&mut self, postings: &'i [Posting]) {
        let limit = self.best.map_or(usize::MAX, |best| best.order);
        let earlier = postings.iter().take_while(|posting| posting.order < limit);
        if let Some(better) = earlier.into_iter().find(|posting| posting.conditions.hold(self.request)) {
            self.best = Some(better);
        }
    }
}

/// The postings of one host, by path.
#[derive(Debug, Clone, PartialEq, Default)]
struct Paths {
    any: Vec<Posting>,
    exact: Table<Vec<Posting>>,
    prefix: Prefixes,
    /// Suffixes as prefixes: keys and paths are reversed.
    suffix: Prefixes,
}

impl Paths {
    fn add(&mut self, path: &PathPattern, posting: Posting) {
        match path {
            PathPattern::Any => self.any.push(posting),
            PathPattern::Exact(text) => self.exact.entry(text).push(posting),
            PathPattern::Prefix(text) => self.prefix.table.entry(text).push(posting),
            PathPattern::Suffix(text) => self.suffix.table.entry(&reversed(text)).push(posting),
        }
    }

    fn finish(&mut self) {
        self.prefix.finish();
        self.suffix.finish();
    }

    fn visit<'i>(&'i self, search: &mut Search<'i, '_>) {
        let path = search.request.path;
        if let Some(postings) = self.exact.get(path) {
            search.consider(postings);
        }
        self.prefix.visit(path, search);
        if !self.suffix.table.0.is_empty() {
            self.suffix.visit(&reversed(path), search);
        }
        search.consider(&self.any);
    }
}

fn reversed(text: &[u8]) -> Vec<u8> {
    text.iter().rev().copied().collect()
}

/// Keys that may be prefixes of each other. All keys that are prefixes of a text are on one chain: the last key that sorts
/// at or before the text starts with each of them. So one binary search and a walk over shorter and shorter keys finds them
/// all.
#[derive(Debug, Clone, PartialEq, Default)]
struct Prefixes {
    table: Table<Vec<Posting>>,
    /// For each key, the position of the longest other key that is a prefix of it.
    shorter: Vec<Option<usize>>,
}

impl Prefixes {
    fn finish(&mut self) {
        let mut chain: Vec<(usize, &[u8])> = Vec::new();
        self.shorter = Vec::with_capacity(self.table.0.len());
        for (position, (key, _)) in self.table.0.iter().enumerate() {
            while chain.last().is_some_and(|(_, shorter)| !key.starts_with(shorter)) {
                chain.pop();
            }
            self.shorter.push(chain.last().map(|(position, _)| *position));
            chain.push((position, key));
        }
    }

    fn visit<'i>(&'i self, text: &[u8], search: &mut Search<'i, '_>) {
        let after = self.table.0.partition_point(|(key, _)| key.as_ref() <= text);
        let mut position = after.checked_sub(1);
        while let Some((key, postings)) = position.and_then(|position| self.table.0.get(position)) {
            if text.starts_with(key) {
                search.consider(postings);
            }
            position = position.and_then(|position| *self.shorter.get(position)?);
        }
    }
}

/// A map as a sorted array: small, printable, and fast enough to search.
#[derive(Debug, Clone, PartialEq)]
struct Table<V>(Vec<(Box<[u8]>, V)>);

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: Default> Table<V> {
    fn get(&self, key: &[u8]) -> Option<&V> {
        let position = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(key)).ok()?;
        self.0.get(position).map(|(_, value)| value)
    }

    #[expect(clippy::indexing_slicing, reason = "the position was just found or filled")]
    fn entry(&mut self, key: &[u8]) -> &mut V {
        let found = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(key));
        let position = found.unwrap_or_else(|position| {
            self.0.insert(position, (key.into(), V::default()));
            position
        });
        &mut self.0[position].1
    }
}
