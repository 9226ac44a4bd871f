//! Pairs the items of two arrays whose order does not matter.
//!
//! Items that are close to several others are paired by augmenting paths (Berge 1957): if all items can be paired, they are. So a
//! larger tolerance never loses a match, and it does not matter which answer is the live one. Each trial costs work; when the
//! budget is spent, the rest is paired as it comes.

use std::collections::VecDeque;

use super::cursor::Cursor;
use super::difference::Kind;
use super::index::Index;
use super::report::Part;
use super::walk::{Active, Stop, Walk, items};

/// What a trial costs in addition to the bytes that it reads.
const TRIAL: usize = 16;

/// The items of both arrays and the pairs found so far, by position.
struct Pairs<'t> {
    live: Vec<&'t [u8]>,
    copy: Vec<&'t [u8]>,
    of_live: Vec<Option<usize>>,
    of_copy: Vec<Option<usize>>,
}

impl<'t> Walk<'_, '_, 't> {
    /// Compares two arrays as multisets.
    pub(super) fn unordered(
        &mut self,
        live: &mut Cursor<'t>,
        copy: &mut Cursor<'t>,
        active: Active,
    ) -> Result<(), Stop> {
        let start = (*live, *copy);
        live.enter();
        copy.enter();
        let ours = if live.item(true)? { items(live)? } else { Vec::new() };
        let theirs = if copy.item(true)? { items(copy)? } else { Vec::new() };
        let (one, other) = (live.since(start.0), copy.since(start.1));
        if one == other {
            return Ok(());
        }
        if !self.affords(one.len().saturating_add(other.len())) {
            return self.differ(Kind::Body, one, other);
        }
        if ours.len() != theirs.len() {
            self.lengths(usize::MAX, ours.len(), theirs.len())?;
        }
        let mut pairs = Pairs::new(ours, theirs);
        self.pair_in_place(&mut pairs, active);
        pairs.pair_equal(&mut self.work);
        for live in (0..pairs.live.len()).filter(|live| pairs.is_lone(*live)).collect::<Vec<usize>>() {
            if !self.affords(pairs.copy.len()) {
                break;
            }
            self.augment(&mut pairs, live, active);
        }
        self.report_lone(&pairs, active)
    }

    /// Pairs items at the same position.
    fn pair_in_place(&mut self, pairs: &mut Pairs<'t>, active: Active) {
        for position in 0..pairs.live.len().min(pairs.copy.len()) {
            if self.is_pair(pairs, position, position, active) {
                pairs.join(position, position);
            }
        }
    }

    /// Finds a partner for a live item, by giving others another partner if that is needed.
    fn augment(&mut self, pairs: &mut Pairs<'t>, root: usize, active: Active) {
        // By which live item each item of the copy was reached, and those that were not yet, lone ones first.
        let mut reached: Vec<Option<usize>> = vec![None; pairs.copy.len()];
        let (mut ahead, paired): (Vec<usize>, Vec<usize>) =
            (0..pairs.copy.len()).partition(|copy| pairs.of_copy.get(*copy) == Some(&None));
        ahead.extend(paired);
        let mut queue = VecDeque::from([root]);
        while let Some(live) = queue.pop_front() {
            let mut apart = Vec::new();
            for copy in ahead {
                if !self.is_pair(pairs, live, copy, active) {
                    apart.push(copy);
                    continue;
                }
                if let Some(by) = reached.get_mut(copy) {
                    *by = Some(live);
                }
                match pairs.of_copy.get(copy).copied().flatten() {
                    Some(partner) => queue.push_back(partner),
                    None => return pairs.flip(&reached, copy),
                }
            }
            ahead = apart;
        }
    }

    /// True if two items match. False if the budget is spent.
    fn is_pair(&mut self, pairs: &Pairs<'t>, live: usize, copy: usize, active: Active) -> bool {
        let (Some(one), Some(other)) = (pairs.live.get(live), pairs.copy.get(copy)) else { return false };
        if !self.affords(TRIAL) {
            return false;
        }
        let depth = self.path.len();
        let is_trial = std::mem::replace(&mut self.is_trial, true);
        let (mut one, mut other) = (Cursor::of(one), Cursor::of(other));
        let before = one.left();
        let outcome = self.part(Part::Unordered(live), &mut one, &mut other, active);
        self.is_trial = is_trial;
        self.path.truncate(depth);
        self.affords(before.saturating_sub(one.left()));
        outcome.is_ok()
    }

    /// Reports what differs in the items without a partner, each against the next one of the other array.
    fn report_lone(&mut self, pairs: &Pairs<'t>, active: Active) -> Result<(), Stop> {
        let mut others = (0..pairs.copy.len()).filter(|copy| pairs.of_copy.get(*copy) == Some(&None));
        for live in (0..pairs.live.len()).filter(|live| pairs.is_lone(*live)) {
            let Some(copy) = others.next() else { break };
            let (Some(one), Some(other)) = (pairs.live.get(live), pairs.copy.get(copy)) else { break };
            self.part(Part::Unordered(live), &mut Cursor::of(one), &mut Cursor::of(other), active)?;
        }
        Ok(())
    }
}

impl<'t> Pairs<'t> {
    fn new(live: Vec<&'t [u8]>, copy: Vec<&'t [u8]>) -> Self {
        let (of_live, of_copy) = (vec![None; live.len()], vec![None; copy.len()]);
        Self { live, copy, of_live, of_copy }
    }

    fn is_lone(&self, live: usize) -> bool {
        self.of_live.get(live) == Some(&None)
    }

    fn join(&mut self, live: usize, copy: usize) {
        if let (Some(ours), Some(theirs)) = (self.of_live.get_mut(live), self.of_copy.get_mut(copy)) {
            (*ours, *theirs) = (Some(copy), Some(live));
        }
    }

    /// Pairs lone items that are written alike.
    fn pair_equal(&mut self, work: &mut usize) {
        let Self { live, copy, of_live, of_copy } = self;
        let text = |position: usize| copy.get(position).copied();
        let lone = |position: usize| text(position).filter(|_| of_copy.get(position) == Some(&None));
        let mut index = Index::new(copy.len(), &lone);
        let mut pairs = Vec::new();
        for (position, (item, _)) in live.iter().zip(of_live).enumerate().filter(|(_, (_, of))| of.is_none())
        {
            pairs.extend(index.take(item, &text, work).map(|copy| (position, copy)));
        }
        for (live, copy) in pairs {
            self.join(live, copy);
        }
    }

    /// Pairs along the path by which an item of the copy was reached.
    fn flip(&mut self, reached: &[Option<usize>], last: usize) {
        let mut next = Some(last);
        while let Some(copy) = next {
            let Some(live) = reached.get(copy).copied().flatten() else { return };
            next = self.of_live.get(live).copied().flatten();
            self.join(live, copy);
        }
    }
}
