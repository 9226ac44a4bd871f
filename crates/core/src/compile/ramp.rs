//! Reads ramps: steps or a line, and pauses.
//!
//! A ramp never falls. Pauses and freezes may overlap; `plan::stop` resolves that.

use super::context::Context;
use super::reader::{At, Fields};
use super::scalar;
use crate::hash::bucket::Ppm;
use crate::plan::ramp::{Ramp, Shape, Step};
use crate::plan::stop::{Kind, Stop, Stops};
use crate::time::Time;

/// Longest hold or rise, in milliseconds. It is far beyond any rollout, and keeps the arithmetic of a line within 64 bits.
const LONGEST: u64 = 3_650 * 86_400_000;

/// A ramp with its pauses. The freezes of its rollout are added later.
pub(super) fn ramp(fields: &mut Fields<'_, '_>, context: &mut Context) -> Option<Ramp> {
    let start = fields.required("start", context, scalar::time);
    let shape = match (fields.has("steps"), fields.has("linear")) {
        (true, true) => {
            fields.optional("steps", context, |_, _| Some(())); // reported once, at `linear`
            fields.optional("linear", context, |at, context| {
                at.problem(context, "expected exactly one of `steps`, `linear`")
            })
        }
        (false, true) => fields.optional("linear", context, linear),
        (_, false) => fields.required("steps", context, steps),
    };
    let pauses = fields.optional("pauses", context, |at, context| at.list(context, 0..=64, pause));
    let stops = Stops::new(start?, pauses.unwrap_or_default(), Vec::new());
    Some(Ramp { start: start?, shape: shape?, stops })
}

fn steps(at: At<'_, '_>, context: &mut Context) -> Option<Shape> {
    let mut earlier = Ppm::ZERO;
    let mut end = 0_u64;
    let mut left = at.node.length();
    let steps = at.list(context, 1..=64, |at, context| {
        left = left.saturating_sub(1);
        let mut fields = Fields::of(at, context)?;
        let exposure = fields.required("percent", context, |at, context| no_less(at, context, &mut earlier));
        let hold = |at: At<'_, '_>, context: &mut Context| scalar::duration(at, context, 1_000..=LONGEST);
        if left > 0 {
            end = end.saturating_add(fields.required("hold", context, hold).unwrap_or(0));
        } else {
            end = u64::MAX;
            fields.optional("hold", context, |at, context| {
                at.warning(context, "no effect: the last step never ends");
                hold(at, context)
            });
        }
        fields.finish(context);
        Some(Step { exposure: exposure?, end })
    })?;
    Some(Shape::Steps(steps.into()))
}

fn linear(at: At<'_, '_>, context: &mut Context) -> Option<Shape> {
    let mut fields = Fields::of(at, context)?;
    let mut earlier = Ppm::ZERO;
    let from = fields.required("from", context, |at, context| no_less(at, context, &mut earlier));
    let to = fields.required("to", context, |at, context| no_less(at, context, &mut earlier));
    let over = fields.required("over", context, |at, context| scalar::duration(at, context, 1_000..=LONGEST));
    fields.finish(context);
    Some(Shape::Linear { from: from?, to: to?, over: over? })
}

/// A percentage that is not below the one before it.
fn no_less(at: At<'_, '_>, context: &mut Context, earlier: &mut Ppm) -> Option<Ppm> {
    let exposure = scalar::percent(at, context)?;
    if exposure < *earlier {
        return at.problem(context, "a ramp can't fall: expected no less than the percentage before it");
    }
    *earlier = exposure;
    Some(exposure)
}

fn pause(at: At<'_, '_>, context: &mut Context) -> Option<Stop> {
    let mut fields = Fields::of(at, context)?;
    let from = fields.required("from", context, scalar::time);
    let until = fields.optional("until", context, |at, context| end(at, context, from));
    fields.finish(context);
    Some(Stop { from: from?, until, kind: Kind::Pause })
}

/// A time after `from`.
pub(super) fn end(at: At<'_, '_>, context: &mut Context, from: Option<Time>) -> Option<Time> {
    let until = scalar::time(at, context)?;
    if from.is_some_and(|from| until <= from) {
        return at.problem(context, "`until` must be after `from`");
    }
    Some(until)
}
