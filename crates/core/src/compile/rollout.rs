//! Reads one rollout: its fields become a `RolloutSpec`, which `check` checks and `build` builds.
//!
//! Versions are positions in the rollout until then. If one version could not be read, positions mean nothing, and
//! nothing is built.

use std::rc::Rc;

use super::build::build;
use super::check::Complete;
use super::condition::{self, Alternative};
use super::context::{ChosenSalt, Context};
use super::eligibility::{self, Taker};
use super::json::Node;
use super::names::{Names, position};
use super::overrides::{Override, overrides};
use super::place::shown;
use super::reader::{At, Fields};
use super::scheme::{self, Bucketing};
use super::spec::{RolloutSpec, VersionSpec};
use super::strategy::{self, Strategy};
use super::{compatibility, cookie, failover, freeze, guardrails, rewrite, scalar, shadow};
use crate::plan::rollout::{Expose, Rollout};

/// A rollout, with the alternatives by which a request matches it.
pub(super) fn rollout(
    at: At<'_, '_>,
    context: &mut Context,
    names: Names<'_>,
) -> Option<(Rc<Rollout>, Vec<Alternative>)> {
    let known = names.all.get(names.order)?;
    let mut fields = Fields::of(at, context)?;
    let name = fields.required("name", context, scalar::dns_label);
    let alternatives =
        fields.optional("match", context, condition::alternatives).filter(|list| !list.is_empty());
    let unit = fields.required("unit", context, condition::sources);
    let salt = fields.optional("salt", context, salt);
    let stable = fields.required("stable", context, |at, context| known.resolve(at, context));
    let versions = fields.required("versions", context, |at, context| {
        at.named_list(context, 1..=16, |at, context| version(at, context, names))
    });
    let idempotent = fields.optional("idempotent", context, scalar::boolean).unwrap_or(false);
    let overrides = fields
        .optional("overrides", context, |at, context| overrides(at, context, known))
        .unwrap_or_default();
    let failover =
        fields.optional("failover", context, |at, context| failover::failover(at, context, known, None));
    let timeout = fields.optional("timeout", context, failover::timeout);
    let shadows = fields
        .optional("shadow", context, |at, context| shadow::shadows(at, context, names, idempotent))
        .unwrap_or_default();
    let mut serving: Vec<usize> = known.stable.into_iter().collect();
    serving.extend(failover.iter().flat_map(|failover| failover.to.iter().copied()));
    for version in versions.iter().flatten() {
        let own = position(&known.versions, version.name);
        let to = version.failover.iter().flat_map(|failover| failover.to.iter().copied());
        serving.extend(to.filter(|target| own != Some(*target)));
    }
    serving.extend(overrides.iter().filter_map(Override::version));
    let shadowed: Vec<usize> =
        shadows.iter().map(|shadow| shadow.version).filter(|version| !serving.contains(version)).collect();
    let strategy = match fields.has("strategy") {
        true => fields
            .required("strategy", context, |at, context| strategy::strategy(at, context, known, &shadowed)),
        false => Some(Strategy::None),
    };
    let bucketing = fields.optional("bucketing", context, |at, context| {
        scheme::bucketing(at, context, known, strategy.as_ref())
    });
    serving.extend(strategy.iter().flat_map(Strategy::treatments));
    serving.extend(bucketing.iter().flat_map(Bucketing::treatments));
    let expose = fields.optional("expose", context, expose).unwrap_or_default();
    let expose_failover = fields.optional("expose_failover", context, scalar::boolean).unwrap_or(true);
    let taker = Taker { name, unit: unit.as_deref() };
    let layer = fields.optional("layer", context, |at, context| eligibility::layer(at, context, taker));
    let sources = unit.as_deref().unwrap_or_default();
    let sessions = fields.optional("sessions", context, |at, context| cookie::sessions(at, context, sources));
    let freezes = fields.optional("freeze", context, freeze::freezes).unwrap_or_default();
    let api = fields.optional("api", context, compatibility::api);
    let names_api = fields.has("api");
    if let Some(salt) = salt.filter(|_| !fields.has("bucketing")) {
        let hash = |name: &str| fields.peek(name).map_or(0, Node::hash);
        let (unit, strategy) = (hash("unit"), hash("strategy"));
        let rollout = name.unwrap_or_default().into();
        warn_of_shared_salt(at, context, ChosenSalt { salt: salt.into(), rollout, unit, strategy });
    }
    let lists_all = shadows.len() == fields.peek("shadow").map_or(0, Node::length);
    let is_compared =
        |shadow: &shadow::Shadow<'_>| shadow.compare_hash.is_some() && Some(shadow.version) != known.stable;
    let has_pairs = !lists_all || shadows.iter().any(is_compared);
    let guardrails =
        fields.optional("guardrails", context, |at, context| guardrails::guardrails(at, context, has_pairs));
    fields.finish(context);

    // Positions mean something only if every version could be read. Other gaps are problems, so the defaults below never serve.
    let versions = versions.filter(|versions| versions.len() == known.versions.len())?;
    let parts = RolloutSpec {
        name: name.unwrap_or_default(),
        unit: unit.unwrap_or_default(),
        salt,
        stable: stable.unwrap_or_default(),
        versions,
        strategy: strategy.unwrap_or_default(),
        bucketing,
        overrides,
        failover,
        timeout,
        shadows,
        serving,
        idempotent,
        expose,
        expose_failover,
        layer,
        sessions,
        freezes,
        api,
        guardrails,
    };
    parts.refuse(at, context, Complete { api: names_api, shadows: lists_all });
    if !context.problems.all.is_empty() {
        return None;
    }
    let alternatives = alternatives.unwrap_or_else(|| vec![Alternative::everything()]);
    parts.warn(at, context, &alternatives);
    Some((Rc::new(build(parts, context)?), alternatives))
}

/// What the salts of layers, holdouts, shadows and guardrails begin with: a split with one of them would not be independent of them.
const RESERVED_SALTS: [&str; 4] = ["layer:", "holdout:", "shadow:", "guardrail:"];

fn salt<'n>(at: At<'n, '_>, context: &mut Context) -> Option<&'n str> {
    let salt = scalar::text(at, context, 1..=128)?;
    match RESERVED_SALTS.iter().find(|prefix| salt.starts_with(**prefix)) {
        Some(prefix) => at.problem(context, &format!("salts that begin with `{prefix}` are reserved")),
        None => Some(salt),
    }
}

/// Warns of another rollout that draws with the same salt but differs: its cohorts are not independent of this one's.
fn warn_of_shared_salt(at: At<'_, '_>, context: &mut Context, chosen: ChosenSalt) {
    let differs = |known: &&ChosenSalt| {
        known.salt == chosen.salt && (known.unit, known.strategy) != (chosen.unit, chosen.strategy)
    };
    if let Some(known) = context.shared.salts.iter().find(differs) {
        let other = shown(&known.rollout);
        let field = if known.unit == chosen.unit { "strategy" } else { "unit" };
        let message = format!(
            "rollout {other} has the same salt and another `{field}`: the same units come first in both, so use another salt"
        );
        at.enter("salt", at.node, |at| at.warning(context, &message));
    }
    context.shared.salts.push(chosen);
}

fn version<'n>(at: At<'n, '_>, context: &mut Context, names: Names<'_>) -> Option<VersionSpec<'n>> {
    let known = names.all.get(names.order)?;
    let mut fields = Fields::of(at, context)?;
    let name = fields.required("name", context, |at, context| {
        let name = scalar::version_name(at, context)?;
        if name.ends_with('.') {
            let seen = shown(name.trim_end_matches('.'));
            at.warning(context, &format!("Envoy drops dots at the end of a label: metrics show {seen}"));
        }
        Some(name)
    });
    let own = name.and_then(|name| position(&known.versions, name));
    let cluster = fields.required("cluster", context, scalar::cluster);
    let failover =
        fields.optional("failover", context, |at, context| failover::failover(at, context, known, own));
    let timeout = fields.optional("timeout", context, failover::timeout);
    let accepts = fields.optional("accepts", context, compatibility::accepts);
    let features = fields.optional("features", context, compatibility::features);
    let requires = fields.optional("requires", context, |at, context| {
        let requires = compatibility::requires(at, context, names)?;
        if own.is_some() && own == known.stable && !requires.is_empty() {
            return at.problem(
                context,
                "the stable version can't have `requires`: it serves if no other version does",
            );
        }
        Some(requires)
    });
    let rewrite = fields.optional("request", context, rewrite::rewrite).unwrap_or_default();
    fields.finish(context);
    let requires = requires.unwrap_or_default();
    Some(VersionSpec {
        name: name?,
        cluster: cluster?,
        failover,
        timeout,
        accepts,
        features,
        requires,
        rewrite,
    })
}

fn expose(at: At<'_, '_>, context: &mut Context) -> Option<Expose> {
    match at.any_text(context)? {
        "none" => Some(Expose::None),
        "assignment" => Some(Expose::Assignment),
        "debug" => Some(Expose::Debug),
        other => {
            at.problem(context, &format!("expected `none`, `assignment` or `debug`, found {}", shown(other)))
        }
    }
}
