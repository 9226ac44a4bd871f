//! Ramps: an exposure that grows with time, the same on every proxy that has the document and a clock.
//!
//! A ramp counts the seconds since its start, without those in a pause or a freeze, and its shape gives the exposure for
//! that count. There is no state, so proxies need not agree on one: a proxy that restarts, or gets the document late,
//! exposes the same units. If the clock of a proxy is wrong by some seconds, its ramp is early or late by as many. A clock
//! that is set back lowers the exposure.

use super::stop::{Kind, Stops};
use crate::hash::bucket::Ppm;
use crate::time::Time;

/// The most edges of weekly freezes among the turns of a ramp: a thousand years of weeks. Protects memory.
const MAX_EDGES: usize = 100_000;

/// An exposure as a function of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ramp {
    pub(crate) start: Time,
    pub(crate) shape: Shape,
    pub(crate) stops: Stops,
}

/// The exposure by counted milliseconds. It never falls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Steps(Box<[Step]>),
    Linear { from: Ppm, to: Ppm, over: u64 },
}

/// An exposure and its end, in counted milliseconds from the start of the ramp. The last step does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) exposure: Ppm,
    pub(crate) end: u64,
}

/// What a ramp does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not started.
    Waiting,
    /// On a step.
    Holding,
    /// On a straight line.
    Rising,
    /// In a pause.
    Paused,
    /// In a freeze.
    Frozen,
    /// At its last exposure, which does not change any more.
    Done,
}

impl Phase {
    /// The word in outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Holding => "holding",
            Self::Rising => "rising",
            Self::Paused => "paused",
            Self::Frozen => "frozen",
            Self::Done => "done",
        }
    }
}

impl Shape {
    fn exposure(&self, counted: u64) -> Ppm {
        match self {
            Self::Steps(steps) => {
                let step = steps.iter().find(|step| counted < step.end).or(steps.last());
                step.map_or(Ppm::ZERO, |step| step.exposure)
            }
            Self::Linear { from, to, over } => {
                let rise = u64::from(to.get().saturating_sub(from.get()));
                // A million times ten years of milliseconds is far below 2^64.
                let risen = rise.saturating_mul(counted.min(*over)).checked_div(*over).unwrap_or(rise);
                Ppm::new(from.get().saturating_add(u32::try_from(risen).unwrap_or(0))).unwrap_or(*to)
            }
        }
    }

    /// The counted milliseconds at which the exposure jumps, or a line ends.
    fn corners(&self) -> Vec<u64> {
        match self {
            Self::Steps(steps) => steps.iter().map(|step| step.end).filter(|end| *end < u64::MAX).collect(),
            Self::Linear { over, .. } => vec![*over],
        }
    }
}

impl Ramp {
    /// The exposure at a time.
    #[must_use]
    pub fn exposure(&self, now: Time) -> Ppm {
        if now < self.start { Ppm::ZERO } else { self.shape.exposure(self.counted(now)) }
    }

    /// True if the exposure rises in a straight line.
    pub(crate) fn is_line(&self) -> bool {
        matches!(self.shape, Shape::Linear { .. })
    }

    /// What the ramp does at a time.
    #[must_use]
    pub fn phase(&self, now: Time) -> Phase {
        let counted = self.counted(now);
        if now < self.start {
            Phase::Waiting
        } else if self.shape.corners().iter().all(|corner| *corner <= counted) {
            Phase::Done
        } else {
            match (self.stops.kind(now), &self.shape) {
                (Some(Kind::Pause), _) => Phase::Paused,
                (Some(Kind::Freeze), _) => Phase::Frozen,
                (None, Shape::Steps(_)) => Phase::Holding,
                (None, Shape::Linear { .. }) => Phase::Rising,
            }
        }
    }

    /// Every time at which the exposure jumps or the phase changes, in order. Between two of them the exposure is constant
    /// or rises in a straight line. Weekly freezes after the first hundred thousand edges are left out.
    #[must_use]
    pub fn turns(&self) -> Vec<Time> {
        let reached = |corner: u64| self.stops.reaches(corner.div_ceil(1_000));
        let corners = self.shape.corners();
        let end = corners.last().map_or(Some(self.start), |last| reached(*last));
        let within = |turn: &Time| *turn >= self.start && end.is_none_or(|end| *turn <= end);
        let edges = self.stops.edges(end.unwrap_or(Time::LAST), MAX_EDGES).into_iter();
        let corners = corners.into_iter().filter_map(reached);
        let mut turns: Vec<Time> = edges.chain(corners).chain([self.start]).filter(within).collect();
        turns.sort_unstable();
        turns.dedup();
        turns
    }

    /// True if both ramps would be the same without pauses and freezes.
    #[must_use]
    pub fn has_course_of(&self, other: &Self) -> bool {
        self.start == other.start && self.shape == other.shape
    }

    /// Counted milliseconds from the start to this time.
    fn counted(&self, now: Time) -> u64 {
        self.stops.counted(now).saturating_mul(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stop::{Stop, Weekly};
    use super::*;

    fn ppm(parts: u32) -> Ppm {
        Ppm::new(parts).unwrap()
    }

    fn stop(from: u64, until: Option<u64>) -> Stop {
        Stop { from: Time::from_seconds(from), until: until.map(Time::from_seconds), kind: Kind::Pause }
    }

    /// 1 % for 100 s, 10 % for 100 s, then everybody; from second 1,000 on.
    fn steps(stops: &[Stop]) -> Ramp {
        let steps = [(10_000, 100_000), (100_000, 200_000), (1_000_000, u64::MAX)];
        let steps = steps.map(|(exposure, end)| Step { exposure: ppm(exposure), end });
        ramp(Shape::Steps(steps.into()), stops, Vec::new())
    }

    fn line(stops: &[Stop]) -> Ramp {
        ramp(Shape::Linear { from: ppm(100), to: ppm(1_100), over: 100_000 }, stops, Vec::new())
    }

    fn ramp(shape: Shape, stops: &[Stop], weekly: Vec<Weekly>) -> Ramp {
        let start = Time::from_seconds(1_000);
        Ramp { start, shape, stops: Stops::new(start, stops.into(), weekly) }
    }

    fn exposures(ramp: &Ramp, moments: &[u64]) -> Vec<u32> {
        moments.iter().map(|moment| ramp.exposure(Time::from_seconds(*moment)).get()).collect()
    }

    #[test]
    fn steps_hold_as_long_as_they_say() {
        let seen = exposures(&steps(&[]), &[0, 999, 1_000, 1_099, 1_100, 1_199, 1_200, 9_999]);
        assert_eq!(seen, [0, 0, 10_000, 10_000, 100_000, 100_000, 1_000_000, 1_000_000]);
    }

    #[test]
    fn a_line_rises_from_its_first_second_to_its_last() {
        let seen = exposures(&line(&[]), &[999, 1_000, 1_001, 1_050, 1_099, 1_100, 2_000]);
        assert_eq!(seen, [0, 100, 110, 600, 1_090, 1_100, 1_100]);
    }

    #[test]
    fn a_stop_keeps_the_exposure_and_only_delays_what_follows() {
        let paused = line(&[stop(1_020, Some(1_050)), stop(1_040, Some(1_060))]);
        assert_eq!(
            exposures(&paused, &[1_019, 1_020, 1_040, 1_059, 1_060, 1_061]),
            [290, 300, 300, 300, 300, 310]
        );
        assert_eq!(exposures(&paused, &[1_139, 1_140]), [1_090, 1_100]);
        let open = line(&[stop(1_020, None)]);
        assert_eq!(exposures(&open, &[1_020, 999_999]), [300, 300]);
        let before = line(&[stop(900, Some(1_010))]);
        assert_eq!(exposures(&before, &[999, 1_000, 1_010, 1_011]), [0, 100, 100, 110]);
    }

    #[test]
    fn the_turns_are_every_change_of_exposure_and_phase() {
        let turns = |ramp: &Ramp| ramp.turns().into_iter().map(Time::seconds).collect::<Vec<_>>();
        assert_eq!(turns(&steps(&[])), [1_000, 1_100, 1_200]);
        let paused = steps(&[stop(1_020, Some(1_050)), stop(5_000, Some(6_000))]);
        assert_eq!(turns(&paused), [1_000, 1_020, 1_050, 1_130, 1_230]);
        assert_eq!(turns(&steps(&[stop(1_150, None)])), [1_000, 1_100, 1_150]);
        let phase = |moment: u64| paused.phase(Time::from_seconds(moment));
        use Phase::{Done, Holding, Paused, Waiting};
        assert_eq!(
            [999, 1_000, 1_020, 1_049, 1_050, 1_229, 1_230, 5_500].map(phase),
            [Waiting, Holding, Paused, Paused, Holding, Holding, Done, Done]
        );
    }

    #[test]
    fn ten_years_of_weekends_off_are_counted_exactly() {
        // From Friday, 16:00, to Monday, 08:00: 104 hours of each week count.
        let weekly = Weekly { from: 4 * 86_400 + 57_600, until: 28_800, since: Time::default() };
        let hours = 104 * 520;
        let shape = Shape::Linear { from: Ppm::ZERO, to: Ppm::WHOLE, over: hours * 3_600_000 };
        let monday = Time::from_seconds(1_795_420_800); // 2026-11-23T08:00:00Z
        let ramp = Ramp { start: monday, shape, stops: Stops::new(monday, Vec::new(), vec![weekly]) };
        let end = monday.after(520 * 604_800 - 64 * 3_600); // the last weekend comes after it
        let turns = ramp.turns();
        assert_eq!((turns.len(), turns.first(), turns.last()), (1_040, Some(&monday), Some(&end)));
        assert_eq!(ramp.exposure(monday.after(260 * 604_800)).get(), 500_000);
        let exposures = [0, 1, 3_600].map(|after| ramp.exposure(end.after(after)).get());
        assert_eq!(
            (ramp.exposure(Time::from_seconds(end.seconds() - 1)).get(), exposures),
            (999_999, [1_000_000; 3])
        );
    }

    #[test]
    fn a_ramp_that_is_frozen_all_week_never_ends() {
        let day = 86_400;
        let weekly = [(0, 3 * day), (3 * day, 0)].map(|(from, until)| Weekly {
            from,
            until,
            since: Time::from_seconds(1_020),
        });
        let frozen =
            ramp(Shape::Linear { from: ppm(100), to: ppm(1_100), over: 100_000 }, &[], weekly.into());
        assert_eq!(exposures(&frozen, &[1_019, 1_020, 1_021, 999_999_999]), [290, 300, 300, 300]);
        assert_eq!(frozen.turns().into_iter().map(Time::seconds).collect::<Vec<_>>(), [1_000, 1_020]);
        assert_eq!(
            [1_019, 1_020, u64::MAX].map(|at| frozen.phase(Time::from_seconds(at))),
            [Phase::Rising, Phase::Frozen, Phase::Frozen]
        );
    }
}
