//! Counts failures in a row, over all workers of a proxy, by ticks of the clock.
//!
//! A failure counts against the version only if stable was well at the time. So the failures of a tick wait until stable's nearest
//! ticks are known: the last one up to it and the first one after it, each with more successes than failures. If stable serves
//! nobody, nothing waits. One unit condemns nobody: it makes up at most a part of a run.
//!
//! A request with good response headers may still fail in its body or trailers. So a tick is settled only after the next one has
//! ended; until then a success can be taken back.

use std::time::Duration;

use super::codec::{Reader, Writer};
use super::spacing::Few;
use crate::time::milliseconds;

/// Length of a tick. Workers merge as often.
const TICK_MS: u64 = 200;

/// Number of ticks after which one is settled.
const SETTLED_AFTER: u64 = 2;

/// Without a request for so long, and with none under way, stable can't say how it is.
const SILENT_MS: u64 = 10_000;

/// A request that has been under way for so long was lost with its worker, if stable has begun no other one since.
const LOST_MS: u64 = 600_000;

/// Most ticks that wait. The limit protects memory if a clock jumps; what comes beyond it is added to the last one.
const MAX_TICKS: usize = 32;

/// The tick of a time.
pub(crate) fn tick(now: Duration) -> u64 {
    milliseconds(now).checked_div(TICK_MS).unwrap_or(0)
}

/// Failures by hash bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Failures(Vec<(u16, u64)>);

impl Failures {
    fn add(&mut self, bucket: u16, count: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == bucket) {
            Some((_, known)) => *known = known.saturating_add(count),
            None => self.0.push((bucket, count)),
        }
    }

    fn extend(&mut self, others: &Self) {
        others.0.iter().for_each(|(bucket, count)| self.add(*bucket, *count));
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    /// Number of failures, of which each bucket has at most `most`.
    fn capped(&self, most: u64) -> u64 {
        self.0.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add((*count).min(most)))
    }

    fn encode(&self, writer: &mut Writer) {
        writer.number(self.0.len() as u64);
        for (bucket, count) in &self.0 {
            writer.number((*bucket).into());
            writer.number(*count);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let length: u16 = reader.narrow()?;
        (0..length).map(|_| Some((reader.narrow()?, reader.number()?))).collect::<Option<_>>().map(Self)
    }
}

/// Successes of a side in a tick. A success may be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Successes {
    pub(crate) given: u64,
    pub(crate) taken_back: u64,
}

impl Successes {
    fn left(self) -> u64 {
        self.given.saturating_sub(self.taken_back)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            given: self.given.saturating_add(other.given),
            taken_back: self.taken_back.saturating_add(other.taken_back),
        }
    }

    fn encode(self, writer: &mut Writer) {
        writer.number(self.given);
        writer.number(self.taken_back);
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { given: reader.number()?, taken_back: reader.number()? })
    }
}

/// What ended in a tick.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tick {
    number: u64,
    /// Successes of the version.
    pub(crate) version: Successes,
    pub(crate) failures: Failures,
    /// Successes of stable.
    pub(crate) stable: Successes,
    pub(crate) stable_failures: u64,
}

impl Tick {
    pub(crate) fn fail(&mut self, bucket: u16) {
        self.failures.add(bucket, 1);
    }

    fn extend(&mut self, other: &Self) {
        self.version = self.version.plus(other.version);
        self.failures.extend(&other.failures);
        self.stable = self.stable.plus(other.stable);
        self.stable_failures = self.stable_failures.saturating_add(other.stable_failures);
    }

    /// True if stable was well, false if it was not. `None` if nothing of it ended.
    fn is_stable_well(&self) -> Option<bool> {
        let (successes, failures) = (self.stable.left(), self.stable_failures);
        (successes > 0 || failures > 0).then_some(successes > failures)
    }

    fn encode(&self, writer: &mut Writer) {
        writer.number(self.number);
        self.version.encode(writer);
        self.failures.encode(writer);
        self.stable.encode(writer);
        writer.number(self.stable_failures);
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            number: reader.number()?,
            version: Successes::decode(reader)?,
            failures: Failures::decode(reader)?,
            stable: Successes::decode(reader)?,
            stable_failures: reader.number()?,
        })
    }
}

/// Ticks in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ticks(Vec<Tick>);

impl Ticks {
    /// The tick with this number.
    pub(crate) fn at(&mut self, number: u64) -> Option<&mut Tick> {
        let found = self.0.binary_search_by_key(&number, |tick| tick.number);
        let place = match found {
            Ok(place) => place,
            Err(place) if self.0.len() >= MAX_TICKS => place.min(self.0.len().saturating_sub(1)),
            Err(place) => {
                self.0.insert(place, Tick { number, ..Tick::default() });
                place
            }
        };
        self.0.get_mut(place)
    }

    fn encode(&self, writer: &mut Writer) {
        writer.number(self.0.len() as u64);
        self.0.iter().for_each(|tick| tick.encode(writer));
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let length = reader.narrow().filter(|length| *length <= MAX_TICKS)?;
        (0..length).map(|_| Tick::decode(reader)).collect::<Option<_>>().map(Self)
    }
}

/// What a worker has seen since its last merge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Recent {
    pub(crate) ticks: Ticks,
    /// The version's units.
    pub(crate) units: Few,
    /// Number of requests of stable that began, that ended, and the time of the last one that began, in milliseconds.
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) begun_ms: u64,
}

/// What a merge knows about the time, the rules and the split.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    pub(crate) now: Duration,
    pub(crate) window: Duration,
    /// True if the split gives units to stable.
    pub(crate) gives_stable: bool,
}

/// The run of failures that all workers know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Streak {
    /// Number of the last tick that is settled.
    settled: u64,
    open: Ticks,
    /// Failures since the last success, each from a time when stable was well.
    run: Failures,
    /// Failures for which stable was well before, and has not been seen since.
    waiting: Failures,
    /// True if stable was well in the last tick in which requests of it ended.
    was_well: bool,
    /// Number of stable's requests under way, and when the last one began.
    under_way: u64,
    begun_ms: u64,
    /// When the epoch began; its windows are counted from there.
    since_ms: u64,
    window: u64,
    /// The version's units of this window and of the last one.
    units: [Few; 2],
}

impl Streak {
    /// Nothing has failed yet.
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            settled: tick(now).saturating_sub(SETTLED_AFTER),
            open: Ticks::default(),
            run: Failures::default(),
            waiting: Failures::default(),
            was_well: false,
            under_way: 0,
            begun_ms: milliseconds(now),
            since_ms: milliseconds(now),
            window: 0,
            units: [Few::default(), Few::default()],
        }
    }

    /// Adds what a worker has seen, and settles the ticks that are old enough.
    pub(crate) fn merge(&mut self, recent: &Recent, circumstances: Circumstances) {
        let now = tick(circumstances.now);
        if self.settled > now {
            // The clock was set back.
            self.settled = now.saturating_sub(SETTLED_AFTER);
            self.begun_ms = self.begun_ms.min(milliseconds(circumstances.now));
            self.open = Ticks::default();
            self.waiting.clear();
        }
        self.under_way = self.under_way.saturating_add(recent.begun).saturating_sub(recent.ended);
        self.begun_ms = self.begun_ms.max(recent.begun_ms);
        self.turn_window(circumstances);
        let [units, _] = &mut self.units;
        units.extend(&recent.units);
        // What comes late belongs to the next tick: both sides of it together.
        let first = self.settled.saturating_add(1);
        for tick in &recent.ticks.0 {
            if let Some(open) = self.open.at(tick.number.max(first)) {
                open.extend(tick);
            }
        }
        let is_stable_out = self.is_stable_out(circumstances);
        let last = now.saturating_sub(SETTLED_AFTER);
        let settled = self.open.0.partition_point(|tick| tick.number <= last);
        let rest = self.open.0.split_off(settled);
        for tick in std::mem::replace(&mut self.open.0, rest) {
            self.settle(&tick, is_stable_out);
        }
        self.settled = self.settled.max(last);
        if is_stable_out {
            self.run.extend(&std::mem::take(&mut self.waiting));
        }
    }

    fn settle(&mut self, tick: &Tick, is_stable_out: bool) {
        if let Some(is_well) = tick.is_stable_well() {
            let waiting = std::mem::take(&mut self.waiting);
            if is_well {
                self.run.extend(&waiting);
            }
            self.was_well = is_well;
        }
        if tick.version.left() > 0 {
            self.run.clear();
            self.waiting.clear();
        } else if is_stable_out {
            self.run.extend(&tick.failures);
        } else if self.was_well {
            self.waiting.extend(&tick.failures);
        }
    }

    /// True if stable can't say how it is: none of its requests is under way, and it gets none or has begun none for long.
    fn is_stable_out(&self, circumstances: Circumstances) -> bool {
        let silent = milliseconds(circumstances.now).saturating_sub(self.begun_ms);
        let is_idle = self.under_way == 0 || silent >= LOST_MS;
        let has_just_ended = self.open.0.iter().any(|tick| tick.is_stable_well().is_some());
        is_idle && !has_just_ended && (!circumstances.gives_stable || silent >= SILENT_MS)
    }

    fn turn_window(&mut self, circumstances: Circumstances) {
        let age = milliseconds(circumstances.now).saturating_sub(self.since_ms);
        let window = age.checked_div(milliseconds(circumstances.window)).unwrap_or(0);
        let [this, last] = std::mem::take(&mut self.units);
        self.units = match window.saturating_sub(self.window) {
            0 => [this, last],
            1 => [Few::default(), this],
            _ => [Few::default(), Few::default()],
        };
        self.window = self.window.max(window);
    }

    /// Number of failures in a row that count against a limit.
    pub(crate) fn run(&self, limit: u64) -> u64 {
        let [this, last] = &self.units;
        let mut units = this.clone();
        units.extend(last);
        let units = if self.window == 0 { 4 } else { units.count().clamp(1, 4) };
        self.run.capped(limit.div_ceil(units))
    }

    /// True if a later merge may find more, even if nothing else is recorded.
    pub(crate) fn is_unsettled(&self) -> bool {
        !self.open.0.is_empty() || self.waiting != Failures::default()
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        for number in
            [self.settled, self.was_well.into(), self.under_way, self.begun_ms, self.since_ms, self.window]
        {
            writer.number(number);
        }
        self.open.encode(writer);
        self.run.encode(writer);
        self.waiting.encode(writer);
        self.units.iter().for_each(|units| units.encode(writer));
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            settled: reader.number()?,
            was_well: reader.number()? != 0,
            under_way: reader.number()?,
            begun_ms: reader.number()?,
            since_ms: reader.number()?,
            window: reader.number()?,
            open: Ticks::decode(reader)?,
            run: Failures::decode(reader)?,
            waiting: Failures::decode(reader)?,
            units: [Few::decode(reader)?, Few::decode(reader)?],
        })
    }
}
