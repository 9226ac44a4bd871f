//! From a unit to its treatment: the bucket space is divided into lanes, one per treatment, and the first part of
//! each lane is exposed.
//!
//! The ends of the lanes depend only on weights, and exposure grows from the start of a lane. So raising an exposure moves units
//! into that treatment and nowhere else, with any number of arms. A rollout with another product's bucketing uses
//! `scheme` instead.

use std::ops::Range;
use std::rc::Rc;

use super::arm::Arm;
use super::ramp::Ramp;
use super::scheme::Scheme;
use super::version::Version;
use crate::hash::bucket::{BUCKETS, Bucket, Ppm, Salt};
use crate::time::Time;

/// How a rollout divides its units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Split {
    /// No strategy: every request gets the stable version, and there is no bucket.
    Stable,
    /// Treatments, each with its lane.
    Lanes(Box<[Lane]>),
    /// One lane over the whole space, exposed by the clock.
    Ramp(Rc<Version>, Ramp),
    /// Another product's rule.
    Scheme(Scheme),
}

/// The part of the bucket space that belongs to one treatment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lane {
    version: Rc<Version>,
    start: u32,
    exposed_end: u32,
    end: u32,
}

/// Where a unit falls, and the treatment there.
#[derive(Clone, Copy)]
pub(crate) struct Placement<'s> {
    pub(crate) bucket: Bucket,
    pub(crate) treatment: Option<&'s Rc<Version>>,
    /// How far into its lane the unit falls, in buckets. Zero if another product's scheme assigns the buckets.
    pub(crate) depth: u32,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn exposed(&self) -> Ppm {
        Ppm::new(self.exposed_end.saturating_sub(self.start)).unwrap_or(Ppm::WHOLE)
    }
}

impl Split {
    /// One lane over the whole space.
    pub(crate) fn single(version: Rc<Version>, exposure: Ppm) -> Self {
        Self::Lanes([Lane { version, start: 0, exposed_end: exposure.get(), end: BUCKETS }].into())
    }

    /// Lanes in the order and proportion of the weights, each exposed by the same share.
    /// A stopped arm has its lane and exposes nothing of it.
    pub(crate) fn weighted(arms: Vec<Arm>, exposure: Ppm) -> Self {
        let total: u64 = arms.iter().map(|arm| u64::from(arm.weight)).sum();
        let mut sum = 0_u64;
        let mut start = 0;
        let mut lanes = Vec::with_capacity(arms.len());
        for Arm { version, weight, is_stopped } in arms {
            sum = sum.saturating_add(u64::from(weight));
            let end = share(u64::from(BUCKETS), sum, total);
            let width = u64::from(end.saturating_sub(start));
            let exposure = if is_stopped { Ppm::ZERO } else { exposure };
            let exposed = share(width, u64::from(exposure.get()), u64::from(BUCKETS));
            lanes.push(Lane { version, start, exposed_end: start.saturating_add(exposed), end });
            start = end;
        }
        Self::Lanes(lanes.into())
    }

    /// Where a unit falls. `None` if there is no strategy.
    pub(crate) fn place(&self, salt: &Salt, unit: &[u8], now: Time) -> Option<Placement<'_>> {
        let (bucket, treatment, depth) = match self {
            Self::Stable => return None,
            Self::Lanes(lanes) => {
                let bucket = salt.bucket(unit);
                let lane = lanes.iter().find(|lane| bucket.get() < lane.end);
                let exposed = lane.filter(|lane| bucket.get() < lane.exposed_end);
                let start = lane.map_or(0, |lane| lane.start);
                (bucket, exposed.map(|lane| &lane.version), bucket.get().saturating_sub(start))
            }
            Self::Ramp(version, ramp) => {
                let bucket = salt.bucket(unit);
                (bucket, Some(version).filter(|_| ramp.exposure(now).contains(bucket)), bucket.get())
            }
            Self::Scheme(scheme) => {
                let (bucket, treatment) = scheme.place(unit);
                (bucket, treatment, 0)
            }
        };
        Some(Placement { bucket, treatment, depth })
    }

    /// What every unit gets, if all get the same: `Some(None)` is stable. So a request without a unit can be decided too.
    /// That is the case for a single lane that is exposed to no unit or to all.
    pub(crate) fn settled(&self, now: Time) -> Option<Option<&Rc<Version>>> {
        let lanes = match self {
            Self::Stable => 0,
            Self::Lanes(lanes) => lanes.iter().filter(|lane| !lane.is_empty()).count(),
            Self::Ramp(..) => 1,
            Self::Scheme(scheme) => scheme.lanes(),
        };
        let (version, exposure) = self.exposures(now).into_iter().max_by_key(|(_, exposure)| *exposure)?;
        match exposure {
            _ if lanes != 1 => None,
            Ppm::ZERO => Some(None),
            Ppm::WHOLE => Some(Some(version)),
            _ => None,
        }
    }

    /// Each treatment once, with the share of all units that gets it, in document order.
    pub(crate) fn exposures(&self, now: Time) -> Vec<(&Rc<Version>, Ppm)> {
        match self {
            Self::Stable => Vec::new(),
            Self::Lanes(lanes) => added_up(lanes),
            Self::Ramp(version, ramp) => vec![(version, ramp.exposure(now))],
            Self::Scheme(scheme) => scheme.exposures(),
        }
    }

    /// Each lane with its treatment and the buckets that get it, in document order. `None` if the buckets are another product's.
    pub(crate) fn exposed(&self, now: Time) -> Option<Vec<(&Rc<Version>, Range<u32>)>> {
        match self {
            Self::Stable => Some(Vec::new()),
            Self::Lanes(lanes) => {
                Some(lanes.iter().map(|lane| (&lane.version, lane.start..lane.exposed_end)).collect())
            }
            Self::Ramp(version, ramp) => Some(vec![(version, 0..ramp.exposure(now).get())]),
            Self::Scheme(_) => None,
        }
    }
}

/// Each version of the lanes once, with the sum of what they expose to it.
fn added_up(lanes: &[Lane]) -> Vec<(&Rc<Version>, Ppm)> {
    let mut sums: Vec<(&Rc<Version>, Ppm)> = Vec::with_capacity(lanes.len());
    for lane in lanes {
        match sums.iter_mut().find(|(known, _)| known.ordinal == lane.version.ordinal) {
            Some((_, sum)) => *sum = sum.plus(lane.exposed()),
            None => sums.push((&lane.version, lane.exposed())),
        }
    }
    sums
}

/// `floor(whole * part / total)`. Values stay far below 2^64, and a total of zero gives zero.
fn share(whole: u64, part: u64, total: u64) -> u32 {
    let share = whole.saturating_mul(part).checked_div(total).unwrap_or(0);
    u32::try_from(share).unwrap_or(u32::MAX)
}
