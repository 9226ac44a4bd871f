//! Versions whose share a push raises although a guardrail of that Envoy has rolled them back: the latch holds, and nobody would
//! notice that the raised share reaches no one.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use rollout_core::{Plan, Ppm, Rollout, Time, Version};
use serde::Serialize;

use crate::envoy::admin::Admin;
use crate::fleet::{Page, VersionName};
use crate::output::percent::Percent;

/// Longer than a tick of the filter: after it, a latch that the document releases is gone.
const TICK: Duration = Duration::from_millis(300);

/// A version that stays rolled back.
#[derive(Serialize)]
pub(super) struct Latched {
    rollout: String,
    version: String,
    #[serde(skip)]
    from: Percent,
    #[serde(skip)]
    to: Percent,
}

impl Latched {
    pub(super) fn text(&self) -> String {
        let Self { rollout, version, from, to } = self;
        format!(
            "{rollout}: raised {version} from {from} to {to}, but a guardrail of this Envoy has rolled it back: \
             stable keeps serving its units until a greater `rearm` releases the latch"
        )
    }
}

/// The versions whose share is greater in the new document than in the old one, and that this Envoy has rolled back.
pub(super) fn raised(old: Option<&Plan>, new: &Plan, now: Time, admin: &Admin) -> Result<Vec<Latched>> {
    let mut raised: Vec<Latched> =
        new.rollouts().iter().flat_map(|rollout| of_rollout(old, rollout, now)).collect();
    keep_rolled_back(&mut raised, admin)?;
    if !raised.is_empty() {
        thread::sleep(TICK);
        keep_rolled_back(&mut raised, admin)?;
    }
    Ok(raised)
}

fn of_rollout(old: Option<&Plan>, new: &Rollout, now: Time) -> Vec<Latched> {
    let guarded = new.guardrails().into_iter().flat_map(|guardrails| guardrails.guarded());
    let raised = guarded.filter_map(|guarded| {
        let version = &guarded.version;
        let (from, to) = (share(old, new.name(), version, now), new.exposure(version, now));
        (to > from).then(|| Latched {
            rollout: new.name().to_owned(),
            version: version.name().to_owned(),
            from: from.into(),
            to: to.into(),
        })
    });
    raised.collect()
}

/// The share of a version of this name in a plan. Zero if the plan does not have it.
fn share(plan: Option<&Plan>, rollout: &str, version: &Version, now: Time) -> Ppm {
    let known = plan.into_iter().flat_map(Plan::rollouts).find(|known| known.name() == rollout);
    let same = known.and_then(|known| {
        let version = known.versions().iter().find(|known| known.name() == version.name())?;
        Some(known.exposure(version, now))
    });
    same.unwrap_or(Ppm::ZERO)
}

fn keep_rolled_back(raised: &mut Vec<Latched>, admin: &Admin) -> Result<()> {
    if raised.is_empty() {
        return Ok(());
    }
    let page = Page::ask(admin)?;
    let is_rolled_back = |of: &Latched| {
        let seen = page.version(&VersionName::new(&of.rollout, &of.version));
        seen.is_some_and(|seen| seen.is_rolled_back == Some(true))
    };
    raised.retain(is_rolled_back);
    Ok(())
}
