//! Eligibility: layers keep rollouts apart, and holdouts keep units out of all rollouts.
//!
//! Both hash with salts of their own, so they are independent of every split.

use crate::hash::bucket::{Ppm, Salt};

/// A rollout's slice of a layer. Rollouts with disjoint slices of one layer never share a unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Layer {
    salt: Salt,
    from: Ppm,
    to: Ppm,
}

impl Layer {
    pub(crate) fn of(name: &str, from: Ppm, to: Ppm) -> Self {
        Self { salt: Salt::new(&format!("layer:{name}")), from, to }
    }

    pub(crate) fn contains(&self, unit: &[u8]) -> bool {
        let bucket = self.salt.bucket(unit);
        self.to.contains(bucket) && !self.from.contains(bucket)
    }

    /// The share of all units in the slice.
    pub(crate) fn share(&self) -> Ppm {
        Ppm::new(self.to.get().saturating_sub(self.from.get())).unwrap_or(Ppm::WHOLE)
    }
}

/// Units that get the stable version everywhere, so that the effect of all rollouts together can be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holdout {
    salt: Salt,
    pub(crate) share: Ppm,
}

impl Holdout {
    pub(crate) fn of(name: &str, share: Ppm) -> Self {
        Self { salt: Salt::new(&format!("holdout:{name}")), share }
    }

    pub(crate) fn contains(&self, unit: &[u8]) -> bool {
        self.share.contains(self.salt.bucket(unit))
    }
}
