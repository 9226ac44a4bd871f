//! Reads the bucketing of another product that a rollout continues with, and checks that the product supports its strategy.
//!
//! The formulas are in `plan::scheme`.

use super::context::Context;
use super::names::Known;
use super::reader::{At, Fields};
use super::scalar;
use super::strategy::Strategy;
use crate::hash::bucket::Ppm;

/// A scheme with its parameters. Shares and weights come from the strategy.
pub(super) enum Bucketing<'n> {
    Unleash {
        group: &'n str,
    },
    /// Version and end of each entry. An entry without a version is a hole.
    Optimizely {
        experiment: &'n str,
        allocation: Vec<(Option<usize>, u32)>,
    },
    Split {
        seed: i32,
        traffic_seed: Option<i32>,
    },
    Flagd {
        prefix: &'n str,
    },
    Growthbook {
        seed: &'n str,
    },
    Featurevisor {
        feature: &'n str,
    },
}

impl Bucketing<'_> {
    /// The versions that the scheme itself names.
    pub(super) fn treatments(&self) -> Vec<usize> {
        match self {
            Self::Optimizely { allocation, .. } => {
                allocation.iter().filter_map(|(version, _)| *version).collect()
            }
            Self::Unleash { .. }
            | Self::Split { .. }
            | Self::Flagd { .. }
            | Self::Growthbook { .. }
            | Self::Featurevisor { .. } => Vec::new(),
        }
    }
}

const SCHEMES: [&str; 6] = ["unleash", "optimizely", "split", "flagd-v2", "growthbook-v2", "featurevisor"];

pub(super) fn bucketing<'n>(
    at: At<'n, '_>,
    context: &mut Context,
    names: &Known<'_>,
    strategy: Option<&Strategy>,
) -> Option<Bucketing<'n>> {
    let mut fields = Fields::of(at, context)?;
    let scheme = fields.required("scheme", context, |at, context| {
        let scheme = at.one_word(context, &SCHEMES)?;
        if let Some(wanted) = strategy.and_then(|strategy| unfit(scheme, strategy)) {
            at.problem::<()>(context, &format!("`{scheme}` needs {wanted}"));
        }
        Some(scheme)
    });
    let seed = |at: At<'_, '_>, context: &mut Context| {
        let seed = scalar::integer(at, context, i64::from(i32::MIN)..=i64::from(i32::MAX))?;
        i32::try_from(seed).ok()
    };
    let text = |at: At<'n, '_>, context: &mut Context| scalar::text(at, context, 0..=256);
    let scheme = scheme?;
    let bucketing = match scheme {
        "unleash" => fields.required("group_id", context, text).map(|group| Bucketing::Unleash { group }),
        "optimizely" => {
            let experiment = fields.required("experiment_id", context, text);
            let allocation =
                fields.required("allocation", context, |at, context| allocation(at, context, names));
            experiment
                .zip(allocation)
                .map(|(experiment, allocation)| Bucketing::Optimizely { experiment, allocation })
        }
        "split" => {
            let own = fields.required("seed", context, seed);
            let traffic_seed = fields.optional("traffic_allocation_seed", context, seed);
            own.map(|seed| Bucketing::Split { seed, traffic_seed })
        }
        "flagd-v2" => fields.required("prefix", context, text).map(|prefix| Bucketing::Flagd { prefix }),
        "growthbook-v2" => fields.required("seed", context, text).map(|seed| Bucketing::Growthbook { seed }),
        _ => fields.required("feature", context, text).map(|feature| Bucketing::Featurevisor { feature }),
    };
    fields.finish(context);
    let known = strategy.filter(|strategy| unfit(scheme, strategy).is_none());
    let misfit = bucketing.as_ref().zip(known).and_then(|(bucketing, strategy)| misfit(bucketing, strategy));
    match misfit {
        Some(message) => at.problem(context, message),
        None => bucketing,
    }
}

/// What a product needs instead of this strategy. `None` if it supports the strategy.
fn unfit(scheme: &str, strategy: &Strategy) -> Option<&'static str> {
    match (scheme, strategy) {
        ("unleash" | "featurevisor", Strategy::Canary { .. } | Strategy::AbTest { .. })
        | ("split" | "flagd-v2" | "growthbook-v2", Strategy::AbTest { .. })
        | ("optimizely", Strategy::None) => None,
        ("unleash" | "featurevisor", _) => Some("a `canary` or an `ab_test`"),
        ("optimizely", _) => Some("its `allocation` and no `strategy`"),
        _ => Some("an `ab_test`"),
    }
}

/// What is wrong with the numbers of the strategy: a product may allow less than we do. `None` if they are fine.
fn misfit(bucketing: &Bucketing<'_>, strategy: &Strategy) -> Option<&'static str> {
    let (exposure, weights) = match strategy {
        Strategy::Canary { exposure, .. } => (*exposure, None),
        Strategy::AbTest { arms, exposure } => {
            (*exposure, Some(arms.iter().map(|arm| u64::from(arm.weight)).sum::<u64>()))
        }
        Strategy::None | Strategy::BlueGreen { .. } | Strategy::Progressive { .. } => return None,
    };
    let is_alone = matches!(strategy, Strategy::AbTest { arms, .. } if arms.len() < 2);
    let is_whole = exposure.get().is_multiple_of(10_000);
    Some(match bucketing {
        Bucketing::Unleash { .. } if !is_whole => "`unleash` needs a whole `percent`",
        Bucketing::Split { traffic_seed: None, .. } if exposure != Ppm::WHOLE => {
            "below 100 percent, `split` needs a `traffic_allocation_seed`"
        }
        Bucketing::Split { .. } if !is_whole => "`split` needs a whole `percent`",
        Bucketing::Split { .. } if weights != Some(100) => "the weights of `split` must add up to 100",
        Bucketing::Flagd { .. } if exposure != Ppm::WHOLE => "`flagd-v2` does not support `percent`",
        Bucketing::Growthbook { .. } if is_alone => "`growthbook-v2` needs at least two arms",
        Bucketing::Featurevisor { .. } if weights.is_some() && exposure != Ppm::WHOLE => {
            "`featurevisor` does not support `percent` besides weights"
        }
        Bucketing::Featurevisor { .. } if weights.is_some_and(|sum| sum > 100_000) => {
            "the weights of `featurevisor` must add up to at most 100000"
        }
        _ => return None,
    })
}

fn allocation(at: At<'_, '_>, context: &mut Context, names: &Known<'_>) -> Option<Vec<(Option<usize>, u32)>> {
    let mut earlier = 0;
    at.list(context, 1..=100, |at, context| {
        let mut fields = Fields::of(at, context)?;
        let version = fields.required("version", context, |at, context| match at.is_null() {
            true => Some(None),
            false => names.resolve(at, context).map(Some),
        });
        let end = fields.required("end", context, |at, context| {
            let end = scalar::integer(at, context, 0..=10_000)?;
            if end < earlier {
                return at.problem(context, "`end` must not be below the `end` before it");
            }
            earlier = end;
            Some(end)
        });
        fields.finish(context);
        Some((version?, u32::try_from(end?).ok()?))
    })
}
