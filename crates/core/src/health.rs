//! What guardrails have decided about versions: the only thing beside document, request and time that a decision depends on.
//!
//! It may only withdraw traffic from a version, never add.

use crate::hash::bucket::Ppm;
use crate::plan::version::Version;
use crate::time::Time;

/// What a guardrail has made of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum State {
    /// It gets what the document gives it.
    #[default]
    Healthy,
    /// It gets no new request but forced ones.
    RolledBack,
    /// It is exposed to no more than this share of all units, whatever the document or the clock says.
    Frozen(Ppm),
}

impl State {
    /// What is left of an exposure. Another product's buckets cannot be given in part, so a freeze leaves them as they are.
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
    /// Every version healthy.
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

/// When a decision is taken, and what is known of the versions then.
#[derive(Debug, Clone, Copy)]
pub struct Now<'h> {
    /// The time.
    pub time: Time,
    /// What guardrails have decided.
    pub health: &'h Health,
}

/// A moment at which every version is healthy.
impl From<Time> for Now<'_> {
    fn from(time: Time) -> Self {
        Self { time, health: Health::HEALTHY }
    }
}
