//! Reads which units take part: the slice of a layer that a rollout has, and the holdouts of the document.
//!
//! Slices of one layer never overlap, and their rollouts have the same unit.

use super::context::{Context, Slice};
use super::place::shown;
use super::reader::{At, Fields};
use super::scalar;
use crate::plan::eligibility::{Holdout, Layer};
use crate::plan::unit::Source;

/// The rollout that takes a slice. A field is `None` if it could not be read.
#[derive(Clone, Copy)]
pub(super) struct Taker<'t> {
    pub(super) name: Option<&'t str>,
    pub(super) unit: Option<&'t [Source]>,
}

/// The slice of a rollout. Slices of a layer must be disjoint and have one kind of unit; otherwise two rollouts could
/// share a unit.
pub(super) fn layer(at: At<'_, '_>, context: &mut Context, taker: Taker<'_>) -> Option<Layer> {
    let mut fields = Fields::of(at, context)?;
    let name = fields.required("name", context, scalar::version_name);
    let from = fields.required("from", context, scalar::percent);
    let to = fields.required("to", context, |at, context| {
        let to = scalar::percent(at, context)?;
        if from.is_some_and(|from| to <= from) {
            return at.problem(context, "the slice is empty: `to` must be above `from`");
        }
        Some(to)
    });
    fields.finish(context);
    let (name, from, to) = (name?, from?, to?);
    let unit = taker.unit?;
    let mut problems = Vec::new();
    for other in context.shared.slices.iter().filter(|other| *other.layer == *name) {
        if other.from < to && from < other.to {
            problems.push(format!("overlaps the slice of rollout {}", shown(&other.rollout)));
        }
        if *other.unit != *unit {
            problems.push(format!(
                "rollout {} of this layer takes its unit from other sources: use the same",
                shown(&other.rollout)
            ));
        }
    }
    for problem in problems {
        at.problem::<()>(context, &problem);
    }
    let rollout = taker.name.unwrap_or_default().into();
    context.shared.slices.push(Slice { layer: name.into(), rollout, unit: unit.into(), from, to });
    Some(Layer::of(name, from, to))
}

pub(super) fn holdouts(at: At<'_, '_>, context: &mut Context) -> Option<Vec<Holdout>> {
    at.named_list(context, 0..=8, |at, context| {
        let mut fields = Fields::of(at, context)?;
        let name = fields.required("name", context, scalar::version_name);
        let share = fields.required("percent", context, scalar::percent);
        fields.finish(context);
        Some(Holdout::of(name?, share?))
    })
}
