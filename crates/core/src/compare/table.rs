//! The pairs that a VM has open. The table is bounded in calls, in bytes and in age, and every pair leaves it exactly once, with a
//! result.
//!
//! A call opens when the filter decides. It holds the live answer once, and a pair for each of its copies. Answers arrive in pieces
//! and end in any order. The table reads no clock and calls no host: the caller passes the time, and gets the results.

use std::rc::Rc;
use std::time::Duration;

use super::answer;
use super::difference::Difference;
use super::head::Head;
use super::pair::PairResult;
use super::side::Side;
use crate::hash::bucket::Salt;
use crate::plan::shadow::Shadow;

/// Most calls that are open. The limit protects memory if answers are slow.
const MAX_CALLS: usize = 8_192;

/// Most bytes of answers that are held.
const MAX_BYTES: usize = 8 << 20;

/// Bytes that a call takes besides its answers, roughly.
const CALL: usize = 512;

/// How old a pair gets.
const LONGEST: Duration = Duration::from_secs(30);

/// The name of a call, unique in its VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairId {
    serial: u64,
    slot: usize,
}

impl PairId {
    /// The name as text, after the name of its VM.
    #[must_use]
    pub fn text(self, vm: u64) -> String {
        format!("{vm:x}-{:x}-{:x}", self.serial, self.slot)
    }

    /// Reads [`PairId::text`]. `None` if another VM wrote it.
    #[must_use]
    pub fn parse(text: &[u8], vm: u64) -> Option<Self> {
        let mut parts = std::str::from_utf8(text).ok()?.split('-');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (of, serial, slot) = (number()?, number()?, number()?);
        Some(Self { serial, slot: slot.try_into().ok()? }).filter(|_| of == vm)
    }
}

/// Whose answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'c> {
    /// Stable's, which the client gets.
    Live,
    /// That of the copy that went to this cluster.
    Copy(&'c [u8]),
}

/// A pair that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended<T> {
    /// What its call was opened with.
    pub owner: T,
    /// The shadow.
    pub shadow: Rc<Shadow>,
    /// What became of it.
    pub result: PairResult,
    /// How the answers differ, if they do.
    pub differences: Vec<Difference>,
}

/// The pairs of a VM. `T` is what the caller needs to know at the end of a pair.
#[derive(Debug)]
pub struct Pairs<T> {
    calls: Vec<Option<Call<T>>>,
    free: Vec<usize>,
    serial: u64,
    open: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Call<T> {
    serial: u64,
    owner: T,
    began: Duration,
    /// True if answers have no body, as to HEAD. Envoy may end them at their headers, whatever else follows.
    is_bodiless: bool,
    live: Side,
    copies: Vec<Copied>,
}

#[derive(Debug)]
struct Copied {
    shadow: Rc<Shadow>,
    side: Side,
    /// What has become of the pair, until it is taken out.
    ended: Option<(PairResult, Vec<Difference>)>,
}

impl Copied {
    fn new(shadow: Rc<Shadow>) -> Self {
        Self { shadow, side: Side::default(), ended: None }
    }

    fn is_of(&self, origin: Origin<'_>) -> bool {
        match origin {
            Origin::Live => true,
            Origin::Copy(cluster) => self.shadow.cluster().as_bytes() == cluster,
        }
    }

    /// The longest body that is compared.
    fn most(&self) -> u64 {
        self.shadow.compare().map_or(0, |rules| rules.max_body_bytes)
    }

    fn end(&mut self, result: Option<PairResult>) {
        if let Some(result) = result {
            self.ended = Some((result, Vec::new()));
        }
    }

    /// Ends the pair once both answers are whole.
    fn compare(&mut self, live: &mut Side) {
        let Some(rules) = self.shadow.compare().filter(|_| live.is_whole() && self.side.is_whole()) else {
            return;
        };
        let differences = live.with_answer(rules, |live| {
            self.side.with_answer(rules, |copy| answer::compare(rules, live, copy))
        });
        let result = if differences.is_empty() { PairResult::Match } else { PairResult::Mismatch };
        self.ended = Some((result, differences));
    }
}

/// The pairs of a call that an answer belongs to.
fn of<'c>(copies: &'c mut [Copied], origin: Origin<'_>) -> impl Iterator<Item = &'c mut Copied> {
    copies.iter_mut().filter(move |copy| copy.is_of(origin))
}

/// The answer, if a pair waits for more of it.
fn awaited<'c>(live: &'c mut Side, copies: &'c mut [Copied], origin: Origin<'_>) -> Option<&'c mut Side> {
    let side = match origin {
        Origin::Live => live,
        Origin::Copy(_) => &mut of(copies, origin).next()?.side,
    };
    (!side.is_whole()).then_some(side)
}

impl<T> Call<T> {
    fn weight(&self) -> usize {
        let copies = self.copies.iter().map(|copy| copy.side.weight());
        copies.fold(self.live.weight().saturating_add(CALL), usize::saturating_add)
    }
}

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self { calls: Vec::new(), free: Vec::new(), serial: 0, open: 0, bytes: 0 }
    }
}

impl<T: Clone> Pairs<T> {
    /// Number of pairs that are open.
    #[must_use]
    pub fn open_pairs(&self) -> usize {
        self.open
    }

    /// Bytes that are held, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Opens a call with a pair for each of these shadows. Returns its name, and the pairs that ended at once. There is no name if all
    /// of them did. An answer to `HEAD` is whole at its headers.
    pub fn open(
        &mut self,
        owner: T,
        shadows: impl Iterator<Item = Rc<Shadow>>,
        method: &[u8],
        now: Duration,
    ) -> (Option<PairId>, Vec<Ended<T>>) {
        self.serial = self.serial.wrapping_add(1);
        let draw = Salt::new("sample").bucket(&self.serial.to_le_bytes());
        let has_slot = !self.free.is_empty() || self.calls.len() < MAX_CALLS;
        let has_room = has_slot && self.bytes < MAX_BYTES;
        let (mut copies, mut ended) = (Vec::new(), Vec::new());
        for shadow in shadows {
            let is_sampled = shadow.compare().is_some_and(|rules| rules.sample.contains(draw));
            if is_sampled && has_room {
                copies.push(Copied::new(shadow));
                continue;
            }
            let result = if is_sampled { PairResult::SkippedMemory } else { PairResult::SkippedSample };
            ended.push(Ended { owner: owner.clone(), shadow, result, differences: Vec::new() });
        }
        if copies.is_empty() {
            return (None, ended);
        }
        self.open = self.open.saturating_add(copies.len());
        let is_bodiless = method == b"HEAD";
        let call =
            Call { serial: self.serial, owner, began: now, is_bodiless, live: Side::default(), copies };
        self.bytes = self.bytes.saturating_add(call.weight());
        let slot = self.free.pop().unwrap_or(self.calls.len());
        match self.calls.get_mut(slot) {
            Some(place) => *place = Some(call),
            None => self.calls.push(Some(call)),
        }
        (Some(PairId { serial: self.serial, slot }), ended)
    }

    /// True if a pair waits for more of this answer.
    pub fn awaits(&mut self, id: PairId, origin: Origin<'_>) -> bool {
        let call = self.call(id);
        call.is_some_and(|call| awaited(&mut call.live, &mut call.copies, origin).is_some())
    }

    /// The shadow of an open pair with what its call was opened with, and the time since then.
    pub fn waited(
        &mut self,
        id: PairId,
        origin: Origin<'_>,
        now: Duration,
    ) -> Option<(T, Rc<Shadow>, Duration)> {
        let call = self.call(id)?;
        let copy = of(&mut call.copies, origin).next()?;
        Some((call.owner.clone(), Rc::clone(&copy.shadow), now.saturating_sub(call.began)))
    }

    /// Takes the head of an answer.
    pub fn head(&mut self, id: PairId, origin: Origin<'_>, head: Head) -> Vec<Ended<T>> {
        let mut ended = self.update(id, |live, copies| {
            if awaited(live, copies, origin).is_none() {
                return;
            }
            of(copies, origin).for_each(|copy| copy.end(head.skip(copy.most())));
            if let Some(side) = awaited(live, copies, origin) {
                side.begin(head);
            }
        });
        if self.call(id).is_some_and(|call| call.is_bodiless) {
            ended.extend(self.end(id, origin, None));
        }
        ended
    }

    /// Takes a piece of a body.
    pub fn body(&mut self, id: PairId, origin: Origin<'_>, piece: &[u8]) -> Vec<Ended<T>> {
        let has_room = self.bytes.saturating_add(piece.len()) <= MAX_BYTES;
        self.update(id, |live, copies| {
            let Some(side) = awaited(live, copies, origin) else { return };
            let length = side.body_length().saturating_add(piece.len() as u64);
            if has_room {
                side.extend(piece);
            }
            for copy in of(copies, origin) {
                let is_too_long = (length > copy.most()).then_some(PairResult::SkippedSize);
                copy.end(is_too_long.or_else(|| (!has_room).then_some(PairResult::SkippedMemory)));
            }
        })
    }

    /// Takes the end of an answer, with the gRPC status of its trailers. Pairs whose other answer is whole are compared.
    pub fn end(&mut self, id: PairId, origin: Origin<'_>, grpc_status: Option<Vec<u8>>) -> Vec<Ended<T>> {
        self.update(id, |live, copies| {
            if let Some(side) = awaited(live, copies, origin) {
                side.end(grpc_status);
                copies.iter_mut().for_each(|copy| copy.compare(live));
            }
        })
    }

    /// Ends the pairs of an answer that will never be whole, or is not to be compared.
    pub fn fail(&mut self, id: PairId, origin: Origin<'_>, result: PairResult) -> Vec<Ended<T>> {
        self.update(id, |live, copies| {
            if awaited(live, copies, origin).is_some() {
                of(copies, origin).for_each(|copy| copy.end(Some(result)));
            }
        })
    }

    /// Ends the pairs that are too old. An answer that is not whole by then never will be.
    pub fn sweep(&mut self, now: Duration) -> Vec<Ended<T>> {
        let is_old = |call: &Call<T>| now.saturating_sub(call.began) >= LONGEST;
        let of_call = |(slot, call): (usize, &Option<Call<T>>)| {
            let call = call.as_ref().filter(|call| is_old(call))?;
            Some(PairId { serial: call.serial, slot })
        };
        let old: Vec<PairId> = self.calls.iter().enumerate().filter_map(of_call).collect();
        let end = |copies: &mut [Copied]| {
            for copy in copies {
                let is_whole = copy.side.is_whole();
                copy.end(Some(if is_whole { PairResult::LiveError } else { PairResult::ShadowError }));
            }
        };
        old.into_iter().flat_map(|id| self.update(id, |_, copies| end(copies))).collect()
    }

    fn call(&mut self, id: PairId) -> Option<&mut Call<T>> {
        self.calls.get_mut(id.slot)?.as_mut().filter(|call| call.serial == id.serial)
    }

    /// Changes a call, and takes out the pairs that have ended.
    fn update(&mut self, id: PairId, change: impl FnOnce(&mut Side, &mut [Copied])) -> Vec<Ended<T>> {
        let Some(call) = self.call(id) else { return Vec::new() };
        let before = call.weight();
        change(&mut call.live, &mut call.copies);
        let mut ended = Vec::new();
        call.copies.retain_mut(|copy| {
            let Some((result, differences)) = copy.ended.take() else { return true };
            let (owner, shadow) = (call.owner.clone(), Rc::clone(&copy.shadow));
            ended.push(Ended { owner, shadow, result, differences });
            false
        });
        let is_over = call.copies.is_empty();
        let after = if is_over { 0 } else { call.weight() };
        self.open = self.open.saturating_sub(ended.len());
        self.bytes = self.bytes.saturating_sub(before).saturating_add(after);
        if let Some(place) = self.calls.get_mut(id.slot).filter(|_| is_over) {
            *place = None;
            self.free.push(id.slot);
        }
        ended
    }
}
