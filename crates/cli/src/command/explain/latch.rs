//! Rollbacks that a caller names as `<rollout>=<version>`, as if a guardrail had decided them.

use anyhow::{Context, Result, bail};
use rollout_core::{Health, Plan, State};

use crate::command::named;
use crate::output;

/// The health of a plan's versions if these are rolled back.
pub(crate) fn health(plan: &Plan, rolled_back: &[String]) -> Result<Health> {
    let mut health = Health::default();
    for text in rolled_back {
        roll_back(plan, text, &mut health)?;
    }
    Ok(health)
}

fn roll_back(plan: &Plan, text: &str, health: &mut Health) -> Result<()> {
    let (rollout, version) =
        text.split_once('=').with_context(|| format!("expected `ROLLOUT=VERSION`, found `{text}`"))?;
    let rollout = named::rollout(plan, rollout)?;
    let Some(version) = rollout.versions().iter().find(|known| known.name() == version) else {
        let known = rollout.versions().iter().map(|known| known.name());
        bail!("no version `{version}`; rollout `{}` has {}", rollout.name(), output::names(known));
    };
    if version.name() == rollout.stable().name() {
        bail!("`{text}` names the stable version, which is never rolled back");
    }
    health.set(version, State::RolledBack);
    Ok(())
}
