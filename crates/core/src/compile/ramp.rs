//! Reads what a ramp is made of: its steps or its line, its pauses, and the freeze of a rollout.

use super::reader::{At, Draft, Fields};
use super::scalar;
use crate::hash::bucket::Ppm;
use crate::plan::Freeze;
use crate::plan::ramp::{Phase, Ramp, Shape, Step, Stop};
use crate::time::Time;

/// Longest hold or rise: far beyond any rollout, and it keeps the arithmetic of a line within 64 bits.
const LONGEST: u64 = 3_650 * 86_400_000;

/// A ramp, its pauses sorted; the freeze of its rollout comes later.
pub(super) fn ramp(fields: &mut Fields<'_, '_>, draft: &mut Draft) -> Option<Ramp> {
    let start = fields.required("start", draft, scalar::time);
    let shape = match (fields.has("steps"), fields.has("linear")) {
        (true, true) => {
            fields.optional("steps", draft, |_, _| Some(())); // told once, at `linear`
            fields
                .optional("linear", draft, |at, draft| at.problem(draft, "a ramp has `steps` or is `linear`"))
        }
        (false, true) => fields.optional("linear", draft, linear),
        (_, false) => fields.required("steps", draft, steps),
    };
    let pauses = fields.optional("pauses", draft, |at, draft| at.list(draft, 0..=64, pause));
    let mut ramp = Ramp { start: start?, shape: shape?, stops: Vec::new() };
    pauses.into_iter().flatten().for_each(|pause| ramp.add_stop(pause));
    Some(ramp)
}

fn steps(at: At<'_, '_>, draft: &mut Draft) -> Option<Shape> {
    let mut earlier = Ppm::ZERO;
    let mut end = 0_u64;
    let mut left = at.node.length();
    let steps = at.list(draft, 1..=64, |at, draft| {
        left = left.saturating_sub(1);
        let mut fields = Fields::of(at, draft)?;
        let exposure = fields.required("percent", draft, |at, draft| no_less(at, draft, &mut earlier));
        let hold = |at: At<'_, '_>, draft: &mut Draft| scalar::duration(at, draft, 1_000..=LONGEST);
        if left > 0 {
            end = end.saturating_add(fields.required("hold", draft, hold).unwrap_or(0));
        } else {
            end = u64::MAX;
            fields.optional("hold", draft, |at, draft| {
                at.warning(draft, "the last step holds for good");
                hold(at, draft)
            });
        }
        fields.finish(draft);
        Some(Step { exposure: exposure?, end })
    })?;
    Some(Shape::Steps(steps.into()))
}

fn linear(at: At<'_, '_>, draft: &mut Draft) -> Option<Shape> {
    let mut fields = Fields::of(at, draft)?;
    let mut earlier = Ppm::ZERO;
    let from = fields.required("from", draft, |at, draft| no_less(at, draft, &mut earlier));
    let to = fields.required("to", draft, |at, draft| no_less(at, draft, &mut earlier));
    let over = fields.required("over", draft, |at, draft| scalar::duration(at, draft, 1_000..=LONGEST));
    fields.finish(draft);
    Some(Shape::Linear { from: from?, to: to?, over: over? })
}

/// A percentage that keeps a ramp from falling.
fn no_less(at: At<'_, '_>, draft: &mut Draft, earlier: &mut Ppm) -> Option<Ppm> {
    let exposure = scalar::percent(at, draft)?;
    if exposure < *earlier {
        return at.problem(draft, "a ramp never falls");
    }
    *earlier = exposure;
    Some(exposure)
}

fn pause(at: At<'_, '_>, draft: &mut Draft) -> Option<Stop> {
    let mut fields = Fields::of(at, draft)?;
    let from = fields.required("from", draft, scalar::time);
    let until = fields.optional("until", draft, |at, draft| end(at, draft, from));
    fields.finish(draft);
    Some(Stop { from: from?, until, phase: Phase::Paused })
}

pub(super) fn freeze(at: At<'_, '_>, draft: &mut Draft) -> Option<Freeze> {
    let mut fields = Fields::of(at, draft)?;
    let from = fields.required("from", draft, scalar::time);
    let until = fields.required("until", draft, |at, draft| end(at, draft, from));
    let reason = fields.optional("reason", draft, |at, draft| scalar::text(at, draft, 1..=256));
    fields.finish(draft);
    Some(Freeze { from: from?, until: until?, reason: reason.map(Into::into) })
}

fn end(at: At<'_, '_>, draft: &mut Draft, from: Option<Time>) -> Option<Time> {
    let until = scalar::time(at, draft)?;
    if from.is_some_and(|from| until <= from) {
        return at.problem(draft, "ends before it begins");
    }
    Some(until)
}
