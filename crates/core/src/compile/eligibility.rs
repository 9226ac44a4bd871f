//! Reads who takes part: the slice that a rollout has of a layer, and the holdouts of the document.

use super::reader::{At, Draft, Fields, shown};
use super::scalar;
use crate::hash::bucket::Ppm;
use crate::plan::eligibility::{Holdout, Layer};
use crate::plan::unit::Source;

/// A slice that a rollout has taken.
pub(super) struct Taken {
    layer: Box<str>,
    rollout: Box<str>,
    unit: Box<[Source]>,
    from: Ppm,
    to: Ppm,
}

/// The rollout that takes a slice, as far as it could be read.
#[derive(Clone, Copy)]
pub(super) struct Taker<'t> {
    pub(super) name: Option<&'t str>,
    pub(super) unit: Option<&'t [Source]>,
}

/// Slices of one layer are disjoint, and of one kind of unit, or they would not keep rollouts apart.
pub(super) fn layer(at: At<'_, '_>, draft: &mut Draft, taker: Taker<'_>) -> Option<Layer> {
    let mut fields = Fields::of(at, draft)?;
    let name = fields.required("name", draft, scalar::version_name);
    let from = fields.required("from", draft, scalar::percent);
    let to = fields.required("to", draft, |at, draft| {
        let to = scalar::percent(at, draft)?;
        if from.is_some_and(|from| to <= from) {
            return at.problem(draft, "the slice is empty: `to` is not above `from`");
        }
        Some(to)
    });
    fields.finish(draft);
    let (name, from, to) = (name?, from?, to?);
    let unit = taker.unit?;
    let mut problems = Vec::new();
    for other in draft.layers.iter().filter(|other| *other.layer == *name) {
        if other.from < to && from < other.to {
            problems.push(format!("overlaps the slice of rollout {}", shown(&other.rollout)));
        }
        if *other.unit != *unit {
            problems.push(format!(
                "rollout {} of this layer takes its unit from other sources",
                shown(&other.rollout)
            ));
        }
    }
    for problem in problems {
        at.problem::<()>(draft, &problem);
    }
    let rollout = taker.name.unwrap_or_default().into();
    draft.layers.push(Taken { layer: name.into(), rollout, unit: unit.into(), from, to });
    Some(Layer::of(name, from, to))
}

pub(super) fn holdouts(at: At<'_, '_>, draft: &mut Draft) -> Option<Vec<Holdout>> {
    at.named_list(draft, 0..=8, |at, draft| {
        let mut fields = Fields::of(at, draft)?;
        let name = fields.required("name", draft, scalar::version_name);
        let share = fields.required("percent", draft, scalar::percent);
        fields.finish(draft);
        Some(Holdout::of(name?, share?))
    })
}
