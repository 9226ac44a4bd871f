//! Reads one rollout: what it says, with the versions it names as positions, and what in it is probably not meant.

use std::rc::Rc;

use super::build::build;
use super::matching::{self, Alternative};
use super::reader::{At, Draft, Fields, name_of, shown};
use super::strategy::{self, Strategy};
use super::{scalar, traffic};
use crate::decision::Expose;
use crate::json::Node;
use crate::plan::Rollout;

/// The version names of a rollout, known before anything that refers to them is read.
pub(super) struct Names<'n> {
    pub(super) known: Vec<&'n str>,
    pub(super) stable: Option<usize>,
}

impl<'n> Names<'n> {
    fn of(rollout: &'n Node) -> Self {
        let field = |name: &str| match rollout {
            Node::Object(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, node)| node),
            _ => None,
        };
        let known: Vec<&str> = match field("versions") {
            Some(Node::Array(items)) => items.iter().map(|item| name_of(item).unwrap_or_default()).collect(),
            _ => Vec::new(),
        };
        let stable = field("stable").and_then(name_of).and_then(|stable| position(&known, stable));
        Self { known, stable }
    }

    /// The position of the version that the text at hand names.
    pub(super) fn resolve(&self, at: At<'_, '_>, draft: &mut Draft) -> Option<usize> {
        let name = at.any_text(draft)?;
        match position(&self.known, name) {
            Some(position) => Some(position),
            None => at.problem(draft, &format!("no version is named {}", shown(name))),
        }
    }
}

fn position(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|known| *known == name && !name.is_empty())
}

pub(super) struct VersionDraft<'n> {
    pub(super) name: &'n str,
    pub(super) cluster: &'n str,
    pub(super) failover: Option<traffic::Failover>,
}

/// All that a rollout says, names not yet resolved to versions.
pub(super) struct RolloutDraft<'n> {
    pub(super) name: &'n str,
    pub(super) unit: Box<[crate::unit::Source]>,
    pub(super) salt: Option<&'n str>,
    pub(super) stable: usize,
    pub(super) versions: Vec<VersionDraft<'n>>,
    pub(super) strategy: Strategy,
    pub(super) overrides: Vec<traffic::Override>,
    pub(super) failover: Option<traffic::Failover>,
    pub(super) shadows: Vec<traffic::Shadow>,
    /// Whoever gets requests other than copies, as far as the document says by name.
    serving: Vec<usize>,
    idempotent: bool,
    pub(super) expose: Expose,
    pub(super) expose_failover: bool,
}

/// A rollout, and the ways in which a request comes to it.
pub(super) fn rollout(at: At<'_, '_>, draft: &mut Draft) -> Option<(Rc<Rollout>, Vec<Alternative>)> {
    let names = Names::of(at.node);
    let mut fields = Fields::of(at, draft)?;
    let name = fields.required("name", draft, scalar::dns_label);
    let alternatives =
        fields.optional("match", draft, matching::alternatives).filter(|list| !list.is_empty());
    let unit = fields.required("unit", draft, matching::sources);
    let salt = fields.optional("salt", draft, |at, draft| scalar::text(at, draft, 1..=128));
    let stable = fields.required("stable", draft, |at, draft| names.resolve(at, draft));
    let versions = fields.required("versions", draft, |at, draft| {
        at.named_list(draft, 1..=16, |at, draft| version(at, draft, &names))
    });
    let idempotent = fields.optional("idempotent", draft, scalar::boolean).unwrap_or(false);
    let overrides = fields
        .optional("overrides", draft, |at, draft| traffic::overrides(at, draft, &names))
        .unwrap_or_default();
    let failover = fields.optional("failover", draft, |at, draft| traffic::failover(at, draft, &names));
    let shadows = fields
        .optional("shadow", draft, |at, draft| traffic::shadows(at, draft, &names, idempotent))
        .unwrap_or_default();
    let own = versions.iter().flatten().map(|version| version.failover.as_ref());
    let failovers: Vec<usize> =
        own.chain([failover.as_ref()]).flatten().map(|failover| failover.to).collect();
    let mut serving: Vec<usize> = names.stable.into_iter().chain(failovers.iter().copied()).collect();
    serving.extend(overrides.iter().filter_map(traffic::Override::version));
    let shadowed: Vec<usize> =
        shadows.iter().map(|shadow| shadow.version).filter(|version| !serving.contains(version)).collect();
    let strategy = fields
        .optional("strategy", draft, |at, draft| strategy::strategy(at, draft, &names, &shadowed))
        .unwrap_or_default();
    serving.extend(strategy.treatments());
    let expose = fields.optional("expose", draft, expose).unwrap_or_default();
    let expose_failover = fields.optional("expose_failover", draft, scalar::boolean).unwrap_or(true);
    fields.later(&["guardrails", "bucketing", "layer", "sessions", "freeze", "api"], draft);
    fields.finish(draft);
    if !draft.problems.is_empty() {
        return None;
    }

    let alternatives = alternatives.unwrap_or_else(|| vec![Alternative::everything()]);
    let parts = RolloutDraft {
        name: name?,
        unit: unit?,
        salt,
        stable: stable?,
        versions: versions?,
        strategy,
        overrides,
        failover,
        shadows,
        serving,
        idempotent,
        expose,
        expose_failover,
    };
    parts.warn(at, draft, &alternatives);
    Some((Rc::new(build(parts, draft)?), alternatives))
}

fn version<'n>(at: At<'n, '_>, draft: &mut Draft, names: &Names<'_>) -> Option<VersionDraft<'n>> {
    let mut fields = Fields::of(at, draft)?;
    let name = fields.required("name", draft, scalar::version_name);
    let cluster = fields.required("cluster", draft, scalar::cluster);
    let failover = fields.optional("failover", draft, |at, draft| {
        let failover = traffic::failover(at, draft, names)?;
        if name.and_then(|name| position(&names.known, name)) == Some(failover.to) {
            return at.problem(draft, "a version can't fail over to itself");
        }
        Some(failover)
    });
    fields.later(&["accepts", "features", "requires", "request"], draft);
    fields.finish(draft);
    Some(VersionDraft { name: name?, cluster: cluster?, failover })
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

impl RolloutDraft<'_> {
    /// The failover of the version at this position: its own, or else the rollout's unless that leads back to it.
    pub(super) fn failover_of(&self, position: usize) -> Option<(&traffic::Failover, &VersionDraft<'_>)> {
        let own = self.versions.get(position)?.failover.as_ref();
        let failover = own.or(self.failover.as_ref().filter(|failover| failover.to != position))?;
        Some((failover, self.versions.get(failover.to)?))
    }

    /// Names what is allowed and probably not meant.
    fn warn(&self, at: At<'_, '_>, draft: &mut Draft, alternatives: &[Alternative]) {
        let fails_over = (0..self.versions.len()).any(|position| self.failover_of(position).is_some());
        if fails_over && !self.idempotent && !alternatives.iter().all(Alternative::is_safe) {
            at.warning(
                draft,
                "failover repeats methods that may write, and the first attempt may have run; \
                 say `\"idempotent\": true` if that is harmless",
            );
        }
        let by_header = self.overrides.iter().any(|rule| rule.version().is_none());
        for (position, version) in self.versions.iter().enumerate() {
            let shadowed = self.shadows.iter().any(|shadow| shadow.version == position);
            if !self.serving.contains(&position) && !by_header && !shadowed {
                at.warning(draft, &format!("nothing sends traffic to version {}", shown(version.name)));
            }
            if self.failover_of(position).is_some_and(|(_, target)| target.cluster == version.cluster) {
                let name = shown(version.name);
                at.warning(draft, &format!("failover of version {name} goes to the cluster that failed"));
            }
        }
    }
}
