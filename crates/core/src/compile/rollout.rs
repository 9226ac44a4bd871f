//! Reads one rollout: what it says, with the versions it names as positions, and what in it is probably not meant.

use std::rc::Rc;

use super::build::build;
use super::coherence::Complete;
use super::condition::{self, Alternative};
use super::eligibility::{self, Taker};
use super::reader::{At, Draft, Fields, name_of, shown};
use super::rewrite::{self, Rewrite};
use super::scheme::{self, Bucketing};
use super::strategy::{self, Strategy};
use super::{compatibility, cookie, guardrails, ramp, scalar, traffic};
use crate::compile::json::Node;
use crate::decision::Expose;
use crate::plan::compatibility::{Api, Requirement};
use crate::plan::eligibility::Layer;
use crate::plan::session::Sessions;
use crate::plan::unit::Source;
use crate::plan::{Freeze, Rollout};

/// A rollout's name and those of its versions, known before anything that refers to them is read.
#[derive(Default)]
pub(super) struct Known<'n> {
    pub(super) name: &'n str,
    pub(super) versions: Vec<&'n str>,
    pub(super) stable: Option<usize>,
    /// Ordinal of its first version.
    pub(super) first: usize,
}

/// The names of all rollouts, in document order.
pub(super) fn peek(rollouts: &Node) -> Vec<Known<'_>> {
    let Node::Array(items) = rollouts else { return Vec::new() };
    let mut first = 0_usize;
    let known = items.iter().map(|item| {
        let known = Known { first, ..Known::of(item) };
        first = first.saturating_add(known.versions.len());
        known
    });
    known.collect()
}

impl<'n> Known<'n> {
    fn of(rollout: &'n Node) -> Self {
        let versions: Vec<&str> = match rollout.field("versions") {
            Some(Node::Array(items)) => items.iter().map(|item| name_of(item).unwrap_or_default()).collect(),
            _ => Vec::new(),
        };
        let stable = rollout.field("stable").and_then(name_of).and_then(|stable| position(&versions, stable));
        Self { name: name_of(rollout).unwrap_or_default(), versions, stable, first: 0 }
    }

    /// The position of the version that the text at hand names.
    pub(super) fn resolve(&self, at: At<'_, '_>, draft: &mut Draft) -> Option<usize> {
        let name = at.any_text(draft)?;
        match position(&self.versions, name) {
            Some(position) => Some(position),
            None => at.problem(draft, &format!("no version is named {}", shown(name))),
        }
    }
}

fn position(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|known| *known == name && !name.is_empty())
}

/// The names that the parts of one rollout may refer to.
#[derive(Clone, Copy)]
pub(super) struct Names<'n> {
    pub(super) all: &'n [Known<'n>],
    /// Position of the rollout at hand.
    pub(super) order: usize,
}

/// What a version says of itself.
pub(super) struct VersionDraft<'n> {
    pub(super) name: &'n str,
    pub(super) cluster: &'n str,
    pub(super) failover: Option<traffic::Failover>,
    pub(super) accepts: Option<Box<[Box<[u8]>]>>,
    pub(super) features: Option<&'n str>,
    pub(super) requires: Vec<Requirement>,
    pub(super) rewrite: Rewrite,
}

/// All that a rollout says, versions as positions.
pub(super) struct RolloutDraft<'n> {
    pub(super) name: &'n str,
    pub(super) unit: Box<[Source]>,
    pub(super) salt: Option<&'n str>,
    pub(super) stable: usize,
    pub(super) versions: Vec<VersionDraft<'n>>,
    pub(super) strategy: Strategy,
    pub(super) bucketing: Option<Bucketing<'n>>,
    pub(super) overrides: Vec<traffic::Override>,
    pub(super) failover: Option<traffic::Failover>,
    pub(super) shadows: Vec<traffic::Shadow>,
    /// Whoever gets requests other than copies, as far as the document says by name.
    pub(super) serving: Vec<usize>,
    pub(super) idempotent: bool,
    pub(super) expose: Expose,
    pub(super) expose_failover: bool,
    pub(super) layer: Option<Layer>,
    pub(super) sessions: Option<Sessions>,
    pub(super) freeze: Option<Freeze>,
    pub(super) api: Option<Api>,
    pub(super) guardrails: Option<guardrails::Guardrails>,
}

/// A rollout, and the ways in which a request comes to it.
pub(super) fn rollout(
    at: At<'_, '_>,
    draft: &mut Draft,
    names: Names<'_>,
) -> Option<(Rc<Rollout>, Vec<Alternative>)> {
    let known = names.all.get(names.order)?;
    let mut fields = Fields::of(at, draft)?;
    let name = fields.required("name", draft, scalar::dns_label);
    let alternatives =
        fields.optional("match", draft, condition::alternatives).filter(|list| !list.is_empty());
    let unit = fields.required("unit", draft, condition::sources);
    let salt = fields.optional("salt", draft, |at, draft| scalar::text(at, draft, 1..=128));
    let stable = fields.required("stable", draft, |at, draft| known.resolve(at, draft));
    let versions = fields.required("versions", draft, |at, draft| {
        at.named_list(draft, 1..=16, |at, draft| version(at, draft, names))
    });
    let idempotent = fields.optional("idempotent", draft, scalar::boolean).unwrap_or(false);
    let overrides = fields
        .optional("overrides", draft, |at, draft| traffic::overrides(at, draft, known))
        .unwrap_or_default();
    let failover = fields.optional("failover", draft, |at, draft| traffic::failover(at, draft, known));
    let shadows = fields
        .optional("shadow", draft, |at, draft| traffic::shadows(at, draft, known, idempotent))
        .unwrap_or_default();
    let own = versions.iter().flatten().map(|version| version.failover.as_ref());
    let failovers: Vec<usize> =
        own.chain([failover.as_ref()]).flatten().flat_map(|failover| failover.to.iter().copied()).collect();
    let mut serving: Vec<usize> = known.stable.into_iter().chain(failovers).collect();
    serving.extend(overrides.iter().filter_map(traffic::Override::version));
    let shadowed: Vec<usize> =
        shadows.iter().map(|shadow| shadow.version).filter(|version| !serving.contains(version)).collect();
    let strategy = match fields.has("strategy") {
        true => {
            fields.required("strategy", draft, |at, draft| strategy::strategy(at, draft, known, &shadowed))
        }
        false => Some(Strategy::None),
    };
    let bucketing = fields
        .optional("bucketing", draft, |at, draft| scheme::bucketing(at, draft, known, strategy.as_ref()));
    serving.extend(strategy.iter().flat_map(Strategy::treatments));
    serving.extend(bucketing.iter().flat_map(Bucketing::treatments));
    let expose = fields.optional("expose", draft, expose).unwrap_or_default();
    let expose_failover = fields.optional("expose_failover", draft, scalar::boolean).unwrap_or(true);
    let taker = Taker { name, unit: unit.as_deref() };
    let layer = fields.optional("layer", draft, |at, draft| eligibility::layer(at, draft, taker));
    let sources = unit.as_deref().unwrap_or_default();
    let sessions = fields.optional("sessions", draft, |at, draft| cookie::sessions(at, draft, sources));
    let freeze = fields.optional("freeze", draft, ramp::freeze);
    let api = fields.optional("api", draft, compatibility::api);
    let names_api = fields.has("api");
    let lists_all = shadows.len() == fields.peek("shadow").map_or(0, Node::length);
    let guardrails = fields.optional("guardrails", draft, guardrails::guardrails);
    fields.finish(draft);

    // Positions only mean something where every version could be read. What else is missing is a problem, so nobody serves it.
    let versions = versions.filter(|versions| versions.len() == known.versions.len())?;
    let parts = RolloutDraft {
        name: name.unwrap_or_default(),
        unit: unit.unwrap_or_default(),
        salt,
        stable: stable.unwrap_or_default(),
        versions,
        strategy: strategy.unwrap_or_default(),
        bucketing,
        overrides,
        failover,
        shadows,
        serving,
        idempotent,
        expose,
        expose_failover,
        layer,
        sessions,
        freeze,
        api,
        guardrails,
    };
    parts.refuse(at, draft, Complete { api: names_api, shadows: lists_all });
    if !draft.problems.is_empty() {
        return None;
    }
    let alternatives = alternatives.unwrap_or_else(|| vec![Alternative::everything()]);
    parts.warn(at, draft, &alternatives);
    Some((Rc::new(build(parts, draft)?), alternatives))
}

fn version<'n>(at: At<'n, '_>, draft: &mut Draft, names: Names<'_>) -> Option<VersionDraft<'n>> {
    let known = names.all.get(names.order)?;
    let mut fields = Fields::of(at, draft)?;
    let name = fields.required("name", draft, scalar::version_name);
    let own = name.and_then(|name| position(&known.versions, name));
    let cluster = fields.required("cluster", draft, scalar::cluster);
    let failover = fields.optional("failover", draft, |at, draft| {
        let failover = traffic::failover(at, draft, known)?;
        if own.is_some_and(|own| failover.to.contains(&own)) {
            return at.problem(draft, "a version can't fail over to itself");
        }
        Some(failover)
    });
    let accepts = fields.optional("accepts", draft, compatibility::accepts);
    let features = fields.optional("features", draft, compatibility::features);
    let requires = fields.optional("requires", draft, |at, draft| {
        let requires = compatibility::requires(at, draft, names)?;
        if own.is_some() && own == known.stable && !requires.is_empty() {
            return at.problem(
                draft,
                "the stable version can't require anything: it serves whoever gets nothing else",
            );
        }
        Some(requires)
    });
    let rewrite = fields.optional("request", draft, rewrite::rewrite).unwrap_or_default();
    fields.finish(draft);
    let requires = requires.unwrap_or_default();
    Some(VersionDraft { name: name?, cluster: cluster?, failover, accepts, features, requires, rewrite })
}

fn expose(at: At<'_, '_>, draft: &mut Draft) -> Option<Expose> {
    match at.any_text(draft)? {
        "none" => Some(Expose::None),
        "assignment" => Some(Expose::Assignment),
        "debug" => Some(Expose::Debug),
        other => {
            at.problem(draft, &format!("expected `none`, `assignment` or `debug`, found {}", shown(other)))
        }
    }
}
