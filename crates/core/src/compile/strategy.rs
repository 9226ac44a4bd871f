//! Reads the strategy of a rollout: which versions get traffic by the hash, and how much.
//!
//! Versions are positions here; lanes are cut in `build`.

use super::context::Context;
use super::names::Known;
use super::reader::{At, Fields};
use super::{ramp, scalar};
use crate::hash::bucket::Ppm;
use crate::plan::ramp::Ramp;

/// A strategy with its versions as positions in the rollout.
#[derive(Default)]
pub(super) enum Strategy {
    #[default]
    None,
    Canary {
        version: usize,
        exposure: Ppm,
    },
    BlueGreen {
        other: usize,
        exposure: Ppm,
    },
    AbTest {
        arms: Vec<Arm>,
        exposure: Ppm,
    },
    Progressive {
        version: usize,
        ramp: Ramp,
    },
}

/// An arm with its version as a position in the rollout.
#[derive(Clone, Copy)]
pub(super) struct Arm {
    pub(super) version: usize,
    pub(super) weight: u32,
    pub(super) is_stopped: bool,
}

impl Strategy {
    /// The word that the document uses for it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Canary { .. } => "canary",
            Self::BlueGreen { .. } => "blue_green",
            Self::AbTest { .. } => "ab_test",
            Self::Progressive { .. } => "progressive",
        }
    }

    /// True if every unit gets another version than stable, permanently.
    pub(super) fn leaves_nobody_on(&self, stable: usize) -> bool {
        match self {
            Self::None | Self::Progressive { .. } => false,
            Self::Canary { exposure, .. } | Self::BlueGreen { exposure, .. } => *exposure == Ppm::WHOLE,
            Self::AbTest { arms, exposure } => {
                let leaves_stable = |arm: &Arm| arm.version == stable || arm.is_stopped;
                *exposure == Ppm::WHOLE && !arms.iter().any(|arm| leaves_stable(arm) && arm.weight > 0)
            }
        }
    }

    /// The treatments. The default salt contains their names.
    pub(super) fn treatments(&self) -> Vec<usize> {
        match self {
            Self::None => Vec::new(),
            Self::Canary { version, .. }
            | Self::BlueGreen { other: version, .. }
            | Self::Progressive { version, .. } => vec![*version],
            Self::AbTest { arms, .. } => arms.iter().map(|arm| arm.version).collect(),
        }
    }
}

/// The strategy. `shadowed` are the versions that only a shadow names.
pub(super) fn strategy(
    at: At<'_, '_>,
    context: &mut Context,
    names: &Known<'_>,
    shadowed: &[usize],
) -> Option<Strategy> {
    let (kind, node) = at.one_of(context, &["canary", "blue_green", "ab_test", "progressive"])?;
    at.enter(kind, node, |at| match kind {
        "canary" => canary(at, context, names),
        "progressive" => progressive(at, context, names),
        "blue_green" => blue_green(at, context, names, shadowed),
        _ => ab_test(at, context, names),
    })
}

fn canary(at: At<'_, '_>, context: &mut Context, names: &Known<'_>) -> Option<Strategy> {
    let mut fields = Fields::of(at, context)?;
    let version = fields.required("version", context, |at, context| treatment(at, context, names));
    let exposure = fields.required("percent", context, scalar::percent);
    fields.finish(context);
    Some(Strategy::Canary { version: version?, exposure: exposure? })
}

fn progressive(at: At<'_, '_>, context: &mut Context, names: &Known<'_>) -> Option<Strategy> {
    let mut fields = Fields::of(at, context)?;
    let version = fields.required("version", context, |at, context| treatment(at, context, names));
    let ramp = ramp::ramp(&mut fields, context);
    fields.finish(context);
    Some(Strategy::Progressive { version: version?, ramp: ramp? })
}

/// A version other than stable.
fn treatment(at: At<'_, '_>, context: &mut Context, names: &Known<'_>) -> Option<usize> {
    let version = names.resolve(at, context)?;
    if names.stable == Some(version) {
        return at.problem(context, "the treatment can't be the stable version");
    }
    Some(version)
}

fn blue_green(
    at: At<'_, '_>,
    context: &mut Context,
    names: &Known<'_>,
    shadowed: &[usize],
) -> Option<Strategy> {
    let mut fields = Fields::of(at, context)?;
    let active = fields.required("active", context, |at, context| names.resolve(at, context));
    fields.finish(context);
    let (active, stable) = (active?, names.stable?);
    let all: Vec<usize> = (0..names.versions.len()).collect();
    let serving: Vec<usize> =
        all.iter().copied().filter(|version| *version == active || !shadowed.contains(version)).collect();
    // Green may be shadowed before the switch: if there are two versions, both are meant.
    let pair = if all.len() == 2 { all } else { serving };
    let other = pair.iter().copied().find(|version| *version != stable);
    match other.filter(|other| pair.len() == 2 && (active == stable || active == *other)) {
        Some(other) => {
            let exposure = if active == stable { Ppm::ZERO } else { Ppm::WHOLE };
            Some(Strategy::BlueGreen { other, exposure })
        }
        None => {
            let found = pair.len();
            at.problem(
                context,
                &format!(
                    "blue-green needs exactly two versions besides those that only get copies, found {found}"
                ),
            )
        }
    }
}

fn ab_test(at: At<'_, '_>, context: &mut Context, names: &Known<'_>) -> Option<Strategy> {
    let mut fields = Fields::of(at, context)?;
    let arms = fields.required("arms", context, |at, context| {
        let mut seen = Vec::new();
        let arms = at.list(context, 1..=16, |at, context| arm(at, context, names, &mut seen))?;
        let is_empty = !arms.is_empty() && arms.iter().all(|arm| arm.weight == 0);
        if is_empty { at.problem(context, "at least one weight must be above 0") } else { Some(arms) }
    });
    let exposure = fields.optional("percent", context, scalar::percent).unwrap_or(Ppm::WHOLE);
    fields.finish(context);
    Some(Strategy::AbTest { arms: arms?, exposure })
}

/// An arm. Only the stable version may stand in several.
fn arm(at: At<'_, '_>, context: &mut Context, names: &Known<'_>, seen: &mut Vec<usize>) -> Option<Arm> {
    let mut fields = Fields::of(at, context)?;
    let version = fields.required("version", context, |at, context| {
        let version = names.resolve(at, context)?;
        if seen.contains(&version) && names.stable != Some(version) {
            return at.problem(context, "duplicate arm: only the stable version may stand in several");
        }
        seen.push(version);
        Some(version)
    });
    let weight =
        fields.required("weight", context, |at, context| scalar::integer(at, context, 0..=1_000_000));
    let is_stopped = fields.optional("stopped", context, scalar::boolean).unwrap_or(false);
    fields.finish(context);
    Some(Arm { version: version?, weight: u32::try_from(weight?).ok()?, is_stopped })
}
