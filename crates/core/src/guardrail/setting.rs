//! What a merge depends on besides the counts: the rules, the time, and the current split.
//!
//! Comparisons count a request only if the split that held when it started still holds when it ends. Otherwise, after a push from
//! 50 to 2 %, slow failures of the old half would meet the quick answers of the new 2 %, with nothing similar on stable's side.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::codec::{Reader, Writer};
use crate::hash::bucket::{BUCKETS, Ppm};
use crate::health::{Health, Now, State};
use crate::plan::guardrails::{Guarded, Guardrails};
use crate::plan::ramp::Phase;
use crate::plan::rollout::Rollout;
use crate::plan::version::Version;
use crate::time::Time;

/// Identifies the split at a time: lanes, layer, latches and exposures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SplitMark {
    /// Changes with everything except the exposure of a `linear` ramp.
    pub(crate) id: u64,
    /// The exposure of a `linear` ramp. A rise does not make another split.
    pub(crate) line: Ppm,
}

impl SplitMark {
    /// The split of a rollout at a time.
    #[must_use]
    pub fn of(rollout: &Rollout, health: &Health, now: Time) -> Self {
        let mut id = DefaultHasher::new();
        let mut line = Ppm::ZERO;
        let is_line = rollout.ramp().is_some_and(|(_, ramp)| ramp.is_line());
        for (version, exposure) in rollout.exposures(now) {
            let state = health.of(version);
            let left = state.leaves(exposure, rollout.has_native_buckets());
            (version.name(), state).hash(&mut id);
            if is_line {
                line = left;
            } else {
                left.hash(&mut id);
            }
        }
        if !is_line {
            // Stable may have several lanes, so the shares alone do not tell where they are.
            let lanes = rollout.exposed(now).into_iter().flatten();
            lanes.for_each(|(_, buckets)| buckets.hash(&mut id));
        }
        (rollout.salt(), &rollout.layer).hash(&mut id);
        Self { id: id.finish(), line }
    }

    /// True if a request that started under `earlier` counts now. If a `linear` ramp has risen, the error favours the
    /// version: its slow failures come from a time when it had fewer requests. If a ramp has fallen, because a clock was
    /// set back, the error would blame the version.
    #[must_use]
    pub fn continues(self, earlier: Self) -> bool {
        self.id == earlier.id && earlier.line <= self.line
    }

    pub(crate) fn encode(self, writer: &mut Writer) {
        writer.number(self.id);
        writer.number(self.line.into());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { id: reader.number()?, line: Ppm::new(reader.narrow()?)? })
    }

    /// A number that changes with every exposure, also with that of a `linear` ramp.
    pub(crate) fn fingerprint(self) -> u64 {
        self.id ^ u64::from(self.line).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// What a merge depends on besides the counts.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'p> {
    /// The rules.
    pub guardrails: &'p Guardrails,
    /// The version that is judged.
    pub guarded: &'p Guarded,
    /// Time since 1970-01-01T00:00:00Z.
    pub now: Duration,
    /// The version's share of the units that the split draws. `None` if it is unknown or can't be tested now.
    pub share: Option<Ppm>,
    /// The version's exposure. The action `freeze` keeps it.
    pub exposure: Ppm,
    /// The split that holds now.
    pub split: SplitMark,
    /// True if the split gives units to stable.
    pub gives_stable: bool,
}

impl<'p> Setting<'p> {
    /// The setting of the guarded version at this position. `None` if there is no such version.
    #[must_use]
    pub fn of(rollout: &'p Rollout, position: usize, health: &Health, now: Duration) -> Option<Self> {
        let guardrails = rollout.guardrails()?;
        let guarded = guardrails.guarded().get(position)?;
        let time = Time::from_seconds(now.as_secs());
        let share = drawn(rollout, &guarded.version, health, time);
        let exposure = rollout.exposure(&guarded.version, time);
        let split = SplitMark::of(rollout, health, time);
        let gives_stable = gives_stable(rollout, Now { time, health });
        Some(Self { guardrails, guarded, now, share, exposure, split, gives_stable })
    }

    /// The setting if another document of this rollout serves now: that document's split holds, and the share is unknown.
    #[must_use]
    pub fn replaced_by(self, serving: SplitMark) -> Self {
        let is_replaced = serving != self.split;
        let share = self.share.filter(|_| !is_replaced);
        Self { split: serving, share, gives_stable: self.gives_stable || is_replaced, ..self }
    }
}

/// True if the split gives some units to stable. Those of a version that is rolled back do not count.
#[must_use]
pub fn gives_stable(rollout: &Rollout, now: Now<'_>) -> bool {
    let stable = rollout.stable().ordinal(); // may be an arm itself
    let exposures = rollout.exposures(now.time).into_iter();
    let treatments = exposures.filter(|(version, _)| version.ordinal() != stable);
    let taken = treatments.map(|(treatment, exposure)| match now.health.of(treatment) {
        State::RolledBack => u64::from(exposure),
        state @ (State::Healthy | State::Frozen(_)) => {
            state.leaves(exposure, rollout.has_native_buckets()).into()
        }
    });
    taken.sum::<u64>() < MILLION
}

const MILLION: u64 = BUCKETS as u64;

/// The version's share of the units that the split draws, without the units of versions that are rolled back. `None` if the
/// share is zero, if a ramp is changing it, or if a rule after the split moves some units away.
fn drawn(rollout: &Rollout, version: &Version, health: &Health, now: Time) -> Option<Ppm> {
    if !rollout.guardrails().is_some_and(Guardrails::counts_units) {
        return None;
    }
    let is_moving = rollout.ramp().is_some_and(|(_, ramp)| match ramp.phase(now) {
        Phase::Waiting | Phase::Holding | Phase::Rising => true,
        Phase::Paused | Phase::Frozen | Phase::Done => false,
    });
    let moves = |version: &Version| {
        !version.requires.is_empty() || version.accepts.is_some() || version.features.is_some()
    };
    if is_moving || rollout.versions().iter().any(|version| moves(version)) {
        return None;
    }
    let (mut own, mut drawn) = (0_u64, MILLION);
    for (treatment, exposure) in rollout.exposures(now) {
        let state = health.of(treatment);
        if state == State::RolledBack {
            drawn = drawn.saturating_sub(exposure.into());
        } else if treatment.ordinal() == version.ordinal() {
            own = state.leaves(exposure, rollout.has_native_buckets()).into();
        }
    }
    let share = own.saturating_mul(MILLION).checked_div(drawn)?;
    Ppm::new(u32::try_from(share).ok()?).filter(|share| *share > Ppm::ZERO)
}
