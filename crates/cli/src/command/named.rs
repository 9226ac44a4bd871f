//! Finds the rollouts that a caller names.

use std::rc::Rc;

use anyhow::{Context, Result};
use rollout_core::{Plan, Rollout};

use crate::output;

/// The rollout of this name.
pub(super) fn rollout<'p>(plan: &'p Plan, name: &str) -> Result<&'p Rc<Rollout>> {
    plan.rollouts().iter().find(|rollout| rollout.name() == name).with_context(|| {
        let known = plan.rollouts().iter().map(|rollout| rollout.name());
        format!("no rollout `{name}`; the document has {}", output::names(known))
    })
}

/// The rollout of this name, or all of them if none is named.
pub(super) fn rollouts<'p>(plan: &'p Plan, name: Option<&str>) -> Result<Vec<&'p Rc<Rollout>>> {
    match name {
        Some(name) => Ok(vec![rollout(plan, name)?]),
        None => Ok(plan.rollouts().iter().collect()),
    }
}
