//! Health: what guardrails have decided about versions. Besides document, request and time, decisions depend only on it.
//!
//! It can only withdraw traffic from a version, never add any.

use crate::hash::bucket::Ppm;
use crate::plan::version::Version;
use crate::time::Time;

/// The state of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum State {
    /// The version gets what the document gives it.
    #[default]
    Healthy,
    /// The version gets no new requests, except forced ones.
    RolledBack,
    /// The version is exposed to at most this share of all units, whatever the document or the clock says.
    Frozen(Ppm),
}

impl State {
    /// What is left of an exposure in this state. Another product's buckets can't be exposed in part, so `Frozen`
    /// does not change them.
    #[must_use]
    pub fn leaves(self, exposure: Ppm, has_native_buckets: bool) -> Ppm {
        match self {
            Self::RolledBack => Ppm::ZERO,
            Self::Frozen(limit) if has_native_buckets => exposure.min(limit),
            Self::Healthy | Self::Frozen(_) => exposure,
        }
    }
}

/// The state of every version of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health(Vec<State>);

impl Health {
    /// The health in which every version is healthy.
    pub const HEALTHY: &'static Self = &Self(Vec::new());

    /// The state of a version of the plan that this health belongs to.
    #[must_use]
    pub fn of(&self, version: &Version) -> State {
        self.0.get(version.ordinal()).copied().unwrap_or_default()
    }

    /// Sets the state of a version.
    pub fn set(&mut self, version: &Version, state: State) {
        let length = self.0.len().max(version.ordinal().saturating_add(1));
        self.0.resize(length, State::Healthy);
        if let Some(known) = self.0.get_mut(version.ordinal()) {
            *known = state;
        }
    }

    pub(crate) fn is_rolled_back(&self, version: &Version) -> bool {
        self.of(version) == State::RolledBack
    }
}

/// The time of a decision, and the health of the versions at that time.
#[derive(Debug, Clone, Copy)]
pub struct Now<'h> {
    /// The time.
    pub time: Time,
    /// What guardrails have decided.
    pub health: &'h Health,
}

/// A time at which every version is healthy.
impl From<Time> for Now<'_> {
    fn from(time: Time) -> Self {
        Self { time, health: Health::HEALTHY }
    }
}
