//! Stops: the times at which a ramp stands still, once or every week, and the seconds that count in between.
//!
//! Time is divided into stretches in which the same weekly stops apply, so that years of weeks cost a division and not a loop:
//! the seconds that count in a week are the same for every week of a stretch.

use std::ops::Range;

use crate::time::Time;

/// What a ramp does in a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pause,
    Freeze,
}

/// A time that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) from: Time,
    /// `None` if only another document ends it.
    pub(crate) until: Option<Time>,
    pub(crate) kind: Kind,
}

impl Stop {
    pub(crate) fn covers(&self, now: Time) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }
}

/// A part of every week that does not count, in seconds of the week. It wraps if it ends before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weekly {
    pub(crate) from: u32,
    /// Other than `from`.
    pub(crate) until: u32,
    /// Its first second, even in the middle of the part.
    pub(crate) since: Time,
}

/// Seconds of a week.
pub(crate) const WEEK: u32 = 604_800;
/// Seconds from the Monday before 1970-01-01, a Thursday, to that day.
const THURSDAY: u64 = 3 * 86_400;

/// The second of the week, from Monday on in UTC.
fn second_of_week(now: Time) -> u32 {
    let second = now.seconds().saturating_add(THURSDAY).checked_rem(WEEK.into()).unwrap_or(0);
    u32::try_from(second).unwrap_or(0)
}

impl Weekly {
    /// The end of the part that this time is in. `None` outside.
    pub(crate) fn end(&self, now: Time) -> Option<Time> {
        let second = second_of_week(now);
        let part =
            self.parts().into_iter().find(|part| part.contains(&second)).filter(|_| self.since <= now)?;
        let rest = part.end.saturating_sub(second);
        // A part that wraps continues on Monday.
        let continued = if part.end == WEEK && self.until < self.from { self.until } else { 0 };
        Some(now.after(rest.saturating_add(continued).into()))
    }

    /// The part, cut at the end of the week.
    fn parts(&self) -> [Range<u32>; 2] {
        match self.from < self.until {
            true => [self.from..self.until, 0..0],
            false => [0..self.until, self.from..WEEK],
        }
    }
}

/// The stops of a ramp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stops {
    /// Sorted by their start. They may overlap.
    once: Vec<Stop>,
    weekly: Vec<Weekly>,
    /// In order, without gaps, the first from the start of the ramp.
    stretches: Vec<Stretch>,
}

/// A time in which the same stops apply.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretch {
    from: Time,
    /// Seconds that count before it.
    counted: u64,
    week: Week,
}

/// The parts of a week that do not count: sorted, disjoint, and none touches the next.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Week(Vec<Range<u32>>);

impl Stops {
    /// The stops of a ramp that starts at this time.
    pub(crate) fn new(start: Time, mut once: Vec<Stop>, weekly: Vec<Weekly>) -> Self {
        once.sort_by_key(|stop| stop.from);
        let bounds = once.iter().flat_map(|stop| [Some(stop.from), stop.until]).flatten();
        let bounds = bounds.chain(weekly.iter().map(|weekly| weekly.since)).filter(|bound| *bound > start);
        let mut bounds: Vec<Time> = bounds.chain([start]).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let mut stretches: Vec<Stretch> = Vec::with_capacity(bounds.len());
        for from in bounds {
            let counted = stretches.last().map_or(0, |last| last.counted_until(from));
            let applying = weekly.iter().filter(|weekly| weekly.since <= from);
            let week = match once.iter().any(|stop| stop.covers(from)) {
                true => Week::whole(),
                false => Week::of(applying.flat_map(Weekly::parts)),
            };
            stretches.push(Stretch { from, counted, week });
        }
        Self { once, weekly, stretches }
    }

    /// The same ramp with more stops.
    pub(crate) fn with(
        &self,
        once: impl Iterator<Item = Stop>,
        weekly: impl Iterator<Item = Weekly>,
    ) -> Self {
        let start = self.stretches.first().map_or_else(Time::default, |first| first.from);
        let once = self.once.iter().copied().chain(once).collect();
        Self::new(start, once, self.weekly.iter().copied().chain(weekly).collect())
    }

    /// Seconds that count from the start of the ramp to this time.
    pub(crate) fn counted(&self, now: Time) -> u64 {
        let after = self.stretches.partition_point(|stretch| stretch.from <= now);
        let current = after.checked_sub(1).and_then(|position| self.stretches.get(position));
        current.map_or(0, |current| current.counted_until(now))
    }

    /// The first time at which this many seconds have counted. `None` if a stop without an end comes first.
    pub(crate) fn reaches(&self, seconds: u64) -> Option<Time> {
        let before = self.stretches.partition_point(|stretch| stretch.counted < seconds);
        let stretch = self.stretches.get(before.saturating_sub(1))?;
        let left = seconds.saturating_sub(stretch.counted);
        if left == 0 {
            return Some(stretch.from);
        }
        stretch.week.reaches(stretch.week.counted(stretch.from).saturating_add(left))
    }

    /// The kind of the stop that this time is in. `None` outside.
    pub(crate) fn kind(&self, now: Time) -> Option<Kind> {
        let once = self.once.iter().find(|stop| stop.covers(now)).map(|stop| stop.kind);
        let is_weekly = || self.weekly.iter().any(|weekly| weekly.end(now).is_some());
        once.or_else(|| is_weekly().then_some(Kind::Freeze))
    }

    /// Every time up to `end` at which a stop begins or ends, in no order. If there are more than `most` of weekly stops, the
    /// latest are left out.
    pub(crate) fn edges(&self, end: Time, most: usize) -> Vec<Time> {
        let once = self.once.iter().flat_map(|stop| [Some(stop.from), stop.until]).flatten();
        let since = self.weekly.iter().map(|weekly| weekly.since);
        let ends = self.stretches.iter().skip(1).map(|next| next.from).chain([end]);
        let weekly = self.stretches.iter().zip(ends).flat_map(|(stretch, next)| {
            let end = next.min(end);
            stretch.week.edges(stretch.from).take_while(move |edge| *edge <= end)
        });
        once.chain(since).chain(weekly.take(most)).collect()
    }
}

impl Stretch {
    /// Seconds that count from the start of the ramp to a time in this stretch.
    fn counted_until(&self, now: Time) -> u64 {
        let within = self.week.counted(now).saturating_sub(self.week.counted(self.from));
        self.counted.saturating_add(within)
    }
}

impl Week {
    fn whole() -> Self {
        Self::of(std::iter::once(0..WEEK))
    }

    fn of(parts: impl Iterator<Item = Range<u32>>) -> Self {
        let mut parts: Vec<Range<u32>> = parts.filter(|part| !part.is_empty()).collect();
        parts.sort_unstable_by_key(|part| part.start);
        let mut union: Vec<Range<u32>> = Vec::with_capacity(parts.len());
        for part in parts {
            match union.last_mut() {
                Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
                Some(_) | None => union.push(part),
            }
        }
        Self(union)
    }

    /// Seconds of a week that count.
    fn length(&self) -> u64 {
        let still =
            self.0.iter().fold(0_u32, |sum, part| sum.saturating_add(part.end.saturating_sub(part.start)));
        WEEK.saturating_sub(still).into()
    }

    /// Seconds that count from the Monday before 1970 to this time, if every week were this one.
    fn counted(&self, now: Time) -> u64 {
        let second = second_of_week(now);
        let before = |part: &Range<u32>| part.end.min(second).saturating_sub(part.start);
        let still = self.0.iter().fold(0_u32, |sum, part| sum.saturating_add(before(part)));
        let weeks = now.seconds().saturating_add(THURSDAY).checked_div(WEEK.into()).unwrap_or(0);
        weeks.saturating_mul(self.length()).saturating_add(second.saturating_sub(still).into())
    }

    /// The first time at which this many seconds, at least one, have counted since the Monday before 1970. `None` if none count.
    fn reaches(&self, seconds: u64) -> Option<Time> {
        let full = seconds.saturating_sub(1);
        let weeks = full.checked_div(self.length())?;
        let mut left = seconds.saturating_sub(weeks.saturating_mul(self.length()));
        let mut position = 0_u64;
        for part in &self.0 {
            let gap = u64::from(part.start).saturating_sub(position);
            if left <= gap {
                break;
            }
            left = left.saturating_sub(gap);
            position = part.end.into();
        }
        let second = weeks.saturating_mul(WEEK.into()).saturating_add(position).saturating_add(left);
        Some(Time::from_seconds(second.saturating_sub(THURSDAY)))
    }

    /// The times from this one on at which a part begins or ends, in order, without end if there are any.
    fn edges(&self, from: Time) -> impl Iterator<Item = Time> {
        let wraps = self.0.first().is_some_and(|first| first.start == 0)
            && self.0.last().is_some_and(|last| last.end == WEEK);
        let edges = self.0.iter().flat_map(|part| [part.start, part.end]);
        let edges: Vec<u32> = edges.filter(|edge| !wraps || !matches!(*edge, 0 | WEEK)).collect();
        let monday = from.seconds().saturating_add(THURSDAY).saturating_sub(second_of_week(from).into());
        let weeks = if edges.is_empty() { 0 } else { u64::MAX };
        let weeks = (0..weeks).map(move |week| monday.saturating_add(week.saturating_mul(WEEK.into())));
        let all = weeks.flat_map(move |monday| {
            edges
                .clone()
                .into_iter()
                .map(move |edge| monday.saturating_add(edge.into()).saturating_sub(THURSDAY))
        });
        all.map(Time::from_seconds).filter(move |edge| *edge >= from)
    }
}
