//! Walks two JSON texts side by side, without trees. Members are paired by name, items by position.
//!
//! While both objects have the same members in the same order, each text is read once. Where they do not, the rest of both
//! objects is indexed by name, so its text is read again, level by level. That work has a budget, and so has the
//! matching of arrays without order (`unordered`). A value that the budget or the depth does not reach is compared as bytes:
//! a match is always true, and a difference may be one of form only.

use std::borrow::Cow;

use super::cursor::{Cursor, Invalid, Shape};
use super::difference::Kind;
use super::index::Index;
use super::report::{Found, Part, Report};
use super::{number, text};
use crate::plan::compare::{JsonRules, Pattern};

/// Deepest level whose values are compared by structure. The limit protects the stack.
const MAX_DEPTH: usize = 128;

/// Bytes that any comparison may read again.
const WORK: usize = 1 << 20;

/// The same for each byte of both texts.
const WORK_PER_BYTE: usize = 8;

/// Why a walk ends early.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// A text is not JSON.
    Invalid,
    /// Enough differences were found.
    Enough,
}

impl From<Invalid> for Stop {
    fn from(Invalid: Invalid) -> Self {
        Self::Invalid
    }
}

/// Reports the differences of two texts. If one of them is not JSON, nothing is reported.
pub(super) fn compare(live: &[u8], copy: &[u8], report: &mut Report<'_>) -> Result<(), Invalid> {
    let before = report.length();
    let rules = &report.rules.json;
    let active = Active { ignore: all(&rules.ignore), unordered: all(&rules.unordered) };
    let work = live.len().saturating_add(copy.len()).saturating_mul(WORK_PER_BYTE).saturating_add(WORK);
    let mut walk = Walk { rules, report, path: Vec::new(), is_trial: false, work };
    let (mut one, mut other) = (Cursor::of(live), Cursor::of(copy));
    let end = walk.value(&mut one, &mut other, active).and_then(|()| {
        one.end()?;
        Ok(other.end()?)
    });
    match end {
        Ok(()) | Err(Stop::Enough) => Ok(()),
        Err(Stop::Invalid) => {
            walk.report.cut(before);
            Err(Invalid)
        }
    }
}

/// The patterns whose steps so far agree with the path, as bits.
#[derive(Clone, Copy)]
pub(super) struct Active {
    ignore: u32,
    unordered: u32,
}

fn all(patterns: &[Pattern]) -> u32 {
    patterns.iter().fold(0, |bits, _| bits << 1 | 1)
}

pub(super) struct Walk<'w, 'r, 't> {
    rules: &'r JsonRules,
    report: &'w mut Report<'r>,
    pub(super) path: Vec<Part<'t>>,
    /// True if only the outcome counts: the first difference ends the walk.
    pub(super) is_trial: bool,
    /// Bytes that may still be read again.
    pub(super) work: usize,
}

impl<'t> Walk<'_, '_, 't> {
    /// Compares the values that come next.
    pub(super) fn value(
        &mut self,
        live: &mut Cursor<'t>,
        copy: &mut Cursor<'t>,
        active: Active,
    ) -> Result<(), Stop> {
        if self.is_named(&self.rules.ignore, active.ignore) {
            live.skip()?;
            copy.skip()?;
            return Ok(());
        }
        let shape = live.shape()?;
        if shape != copy.shape()? {
            let (one, other) = (live.skip()?, copy.skip()?);
            return self.differ(Kind::Type, one, other);
        }
        match shape {
            Shape::Number => {
                let (one, other) = (live.number()?, copy.number()?);
                if !number::match_within(self.rules, one, other) {
                    let relative = if self.is_trial { None } else { number::relative(one, other) };
                    let (live, copy) = (Some(one), Some(other));
                    return self.found(Found { kind: Kind::Number, relative, live, copy });
                }
            }
            Shape::Text => {
                let start = (*live, *copy);
                if !text::is_same(live.text()?, copy.text()?) {
                    return self.differ(Kind::Text, live.since(start.0), copy.since(start.1));
                }
            }
            Shape::Boolean => {
                let (one, other) = (live.boolean()?, copy.boolean()?);
                if one != other {
                    let written = |value: bool| if value { b"true".as_slice() } else { b"false" };
                    return self.differ(Kind::Boolean, written(one), written(other));
                }
            }
            Shape::Null => {
                live.null()?;
                copy.null()?;
            }
            Shape::Object | Shape::Array if self.path.len() >= MAX_DEPTH => {
                let (one, other) = (live.skip()?, copy.skip()?);
                if one != other {
                    return self.differ(Kind::Body, one, other);
                }
            }
            Shape::Object => return self.object(live, copy, active),
            Shape::Array if self.is_named(&self.rules.unordered, active.unordered) => {
                return self.unordered(live, copy, active);
            }
            Shape::Array => return self.array(live, copy, active),
        }
        Ok(())
    }

    fn object(&mut self, live: &mut Cursor<'t>, copy: &mut Cursor<'t>, active: Active) -> Result<(), Stop> {
        let start = (*live, *copy);
        live.enter();
        copy.enter();
        let mut is_first = true;
        loop {
            let (one, other) = (live.member(is_first)?, copy.member(is_first)?);
            is_first = false;
            match (one, other) {
                (None, None) => return Ok(()),
                (Some(one), Some(other)) if text::is_same(one, other) => {
                    self.part(Part::Member(one), live, copy, active)?;
                }
                (one, other) => {
                    let (ours, theirs) = (members(one, live)?, members(other, copy)?);
                    let (one, other) = (live.since(start.0), copy.since(start.1));
                    let is_read = self.affords(one.len().saturating_add(other.len()))
                        && self.members(&ours, &theirs, active)?;
                    return if is_read { Ok(()) } else { self.differ(Kind::Body, one, other) };
                }
            }
        }
    }

    /// Compares members that do not come in the same order. False if the work does not suffice to pair them.
    fn members(&mut self, live: &[Member<'t>], copy: &[Member<'t>], active: Active) -> Result<bool, Stop> {
        let name = |position: usize| copy.get(position).map(|member| member.name.as_ref());
        let mut index = Index::new(copy.len(), &name);
        let find = |member: &Member<'t>| index.take(&member.name, &name, &mut self.work);
        let partners: Vec<Option<usize>> = live.iter().map(find).collect();
        if self.work == 0 {
            return Ok(false);
        }
        for (member, partner) in live.iter().zip(partners) {
            match partner.and_then(|position| copy.get(position)) {
                Some(partner) => {
                    let (mut one, mut other) = (Cursor::of(member.value), Cursor::of(partner.value));
                    self.part(Part::Member(member.written), &mut one, &mut other, active)?;
                }
                None => self.lone(Kind::Missing, member, active)?,
            }
        }
        for (position, member) in copy.iter().enumerate() {
            if !index.is_taken(position) {
                self.lone(Kind::Added, member, active)?;
            }
        }
        Ok(true)
    }

    /// Reports a member that only one object has.
    fn lone(&mut self, kind: Kind, member: &Member<'t>, active: Active) -> Result<(), Stop> {
        let part = Part::Member(member.written);
        let active = self.within(active, part);
        self.path.push(part);
        if !self.is_named(&self.rules.ignore, active.ignore) {
            let value = Some(member.value);
            let (live, copy) = if kind == Kind::Missing { (value, None) } else { (None, value) };
            self.found(Found { kind, relative: None, live, copy })?;
        }
        self.path.pop();
        Ok(())
    }

    fn array(&mut self, live: &mut Cursor<'t>, copy: &mut Cursor<'t>, active: Active) -> Result<(), Stop> {
        live.enter();
        copy.enter();
        let before = self.report.length();
        let mut count = 0_usize;
        loop {
            match (live.item(count == 0)?, copy.item(count == 0)?) {
                (true, true) => self.part(Part::Item(count), live, copy, active)?,
                (false, false) => return Ok(()),
                (has_one, has_other) => {
                    let one = if has_one { items(live)?.len() } else { 0 };
                    let other = if has_other { items(copy)?.len() } else { 0 };
                    return self.lengths(before, count.saturating_add(one), count.saturating_add(other));
                }
            }
            count = count.saturating_add(1);
        }
    }

    /// Reports that an array has another number of items, before what differs in it.
    pub(super) fn lengths(&mut self, position: usize, live: usize, copy: usize) -> Result<(), Stop> {
        let (live, copy) = (live.to_string(), copy.to_string());
        let (live, copy) = (Some(live.as_bytes()), Some(copy.as_bytes()));
        self.found_at(position, Found { kind: Kind::Length, relative: None, live, copy })
    }

    /// Compares a part of the value where the walk is.
    pub(super) fn part(
        &mut self,
        part: Part<'t>,
        live: &mut Cursor<'t>,
        copy: &mut Cursor<'t>,
        active: Active,
    ) -> Result<(), Stop> {
        let active = self.within(active, part);
        self.path.push(part);
        self.value(live, copy, active)?;
        self.path.pop();
        Ok(())
    }

    /// The patterns that are still active one step on.
    fn within(&self, active: Active, part: Part<'_>) -> Active {
        let depth = self.path.len();
        let kept = |patterns: &[Pattern], bits: u32| {
            if bits == 0 {
                return 0;
            }
            let agrees = |pattern: &Pattern| pattern.0.get(depth).is_some_and(|step| part.is(step));
            select(patterns, bits, agrees)
        };
        Active {
            ignore: kept(&self.rules.ignore, active.ignore),
            unordered: kept(&self.rules.unordered, active.unordered),
        }
    }

    /// True if one of the active patterns ends where the walk is.
    fn is_named(&self, patterns: &[Pattern], bits: u32) -> bool {
        bits != 0 && select(patterns, bits, |pattern| pattern.0.len() == self.path.len()) != 0
    }

    /// True if so many more bytes may be read again.
    pub(super) fn affords(&mut self, bytes: usize) -> bool {
        let rest = self.work.checked_sub(bytes);
        self.work = rest.unwrap_or(0);
        rest.is_some()
    }

    /// Reports two values that differ.
    pub(super) fn differ(&mut self, kind: Kind, live: &[u8], copy: &[u8]) -> Result<(), Stop> {
        self.found(Found { kind, relative: None, live: Some(live), copy: Some(copy) })
    }

    fn found(&mut self, found: Found<'_>) -> Result<(), Stop> {
        self.found_at(usize::MAX, found)
    }

    fn found_at(&mut self, position: usize, found: Found<'_>) -> Result<(), Stop> {
        if self.is_trial || self.report.is_full() {
            return Err(Stop::Enough);
        }
        self.report.json(position, &self.path, found);
        Ok(())
    }
}

/// The active patterns of which something holds.
fn select(patterns: &[Pattern], bits: u32, holds: impl Fn(&Pattern) -> bool) -> u32 {
    let mut bit = 1_u32;
    let mut kept = 0;
    for pattern in patterns {
        if bits & bit != 0 && holds(pattern) {
            kept |= bit;
        }
        bit <<= 1;
    }
    kept
}

/// A member of an object that is read again.
struct Member<'t> {
    name: Cow<'t, [u8]>,
    /// The name as it is written.
    written: &'t [u8],
    value: &'t [u8],
}

/// The rest of an object, from the member with this name on.
fn members<'t>(name: Option<&'t [u8]>, cursor: &mut Cursor<'t>) -> Result<Vec<Member<'t>>, Invalid> {
    let mut members = Vec::new();
    let mut next = name;
    while let Some(written) = next {
        members.push(Member { name: text::decoded(written), written, value: cursor.skip()? });
        next = cursor.member(false)?;
    }
    Ok(members)
}

/// The rest of an array, from the item before which the cursor is.
pub(super) fn items<'t>(cursor: &mut Cursor<'t>) -> Result<Vec<&'t [u8]>, Invalid> {
    let mut items = Vec::new();
    loop {
        items.push(cursor.skip()?);
        if !cursor.item(false)? {
            return Ok(items);
        }
    }
}
