//! From bucket to version: the bucket space is cut into lanes, one per treatment, and the first part of each lane is exposed.
//!
//! The ends of the lanes depend on weights only and exposure only grows from a lane's start, so raising an exposure moves units
//! into that treatment and nowhere else, with any number of arms.

use std::rc::Rc;

use crate::bucket::{BUCKETS, Bucket, Ppm};
use crate::plan::Version;

/// How a rollout divides its units.
#[derive(Debug, Clone, PartialEq)]
pub enum Split {
    /// No strategy: every request gets the stable version, and there is no bucket.
    Stable,
    /// Treatments, each with its lane.
    Lanes(Box<[Lane]>),
}

/// The part of the bucket space that belongs to one treatment.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// The treatment.
    pub version: Rc<Version>,
    start: u32,
    exposed_end: u32,
    end: u32,
}

impl Lane {
    /// Width of the part whose units get the treatment, in ppm of all units.
    #[must_use]
    pub fn exposed(&self) -> Ppm {
        Ppm::new(self.exposed_end.saturating_sub(self.start)).unwrap_or(Ppm::WHOLE)
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn is_settled(&self) -> bool {
        self.exposed_end == self.start || self.exposed_end == self.end
    }
}

impl Split {
    /// One lane over the whole space.
    pub(crate) fn single(version: Rc<Version>, exposure: Ppm) -> Self {
        Self::Lanes([Lane { version, start: 0, exposed_end: exposure.get(), end: BUCKETS }].into())
    }

    /// Lanes in the order and proportion of the weights, each exposed by the same share.
    pub(crate) fn weighted(arms: Vec<(Rc<Version>, u32)>, exposure: Ppm) -> Self {
        let total: u64 = arms.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut sum = 0_u64;
        let mut start = 0;
        let mut lanes = Vec::with_capacity(arms.len());
        for (version, weight) in arms {
            sum = sum.saturating_add(u64::from(weight));
            let end = share(u64::from(BUCKETS), sum, total);
            let width = u64::from(end.saturating_sub(start));
            let exposed = share(width, u64::from(exposure.get()), u64::from(BUCKETS));
            lanes.push(Lane { version, start, exposed_end: start.saturating_add(exposed), end });
            start = end;
        }
        Self::Lanes(lanes.into())
    }

    /// The treatment of a bucket; none where the bucket is not exposed.
    #[must_use]
    pub fn treatment(&self, bucket: Bucket) -> Option<&Rc<Version>> {
        let Self::Lanes(lanes) = self else { return None };
        let lane = lanes.iter().find(|lane| bucket.get() < lane.end)?;
        (bucket.get() < lane.exposed_end).then_some(&lane.version)
    }

    /// The one lane that decides alike for every unit, so that a request without a unit can be decided too.
    #[must_use]
    pub fn settled(&self) -> Option<&Lane> {
        let Self::Lanes(lanes) = self else { return None };
        let mut filled = lanes.iter().filter(|lane| !lane.is_empty());
        let lane = filled.next()?;
        (filled.next().is_none() && lane.is_settled()).then_some(lane)
    }
}

/// `floor(whole * part / total)`; the values at hand stay far below 2^64, and a total of zero gives nothing.
fn share(whole: u64, part: u64, total: u64) -> u32 {
    let share = whole.saturating_mul(part).checked_div(total).unwrap_or(0);
    u32::try_from(share).unwrap_or(u32::MAX)
}
