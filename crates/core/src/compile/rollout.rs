//! Reads one rollout: what it says, with the versions it names as positions, and what in it is probably not meant.

use std::rc::Rc;

use super::bucketing::{self, Bucketing};
use super::build::build;
use super::cohort::{self, Taker};
use super::compatibility::{self, Rewrite};
use super::matching::{self, Alternative};
use super::reader::{At, Draft, Fields, name_of, shown};
use super::strategy::{self, Strategy};
use super::{cookie, ramp, scalar, traffic};
use crate::cohort::Layer;
use crate::compatibility::{Api, Requirement};
use crate::decision::Expose;
use crate::json::Node;
use crate::plan::{Freeze, Rollout};
use crate::session::Sessions;
use crate::unit::Source;

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
        let field = |name: &str| match rollout {
            Node::Object(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, node)| node),
            _ => None,
        };
        let versions: Vec<&str> = match field("versions") {
            Some(Node::Array(items)) => items.iter().map(|item| name_of(item).unwrap_or_default()).collect(),
            _ => Vec::new(),
        };
        let stable = field("stable").and_then(name_of).and_then(|stable| position(&versions, stable));
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
    serving: Vec<usize>,
    idempotent: bool,
    pub(super) expose: Expose,
    pub(super) expose_failover: bool,
    pub(super) layer: Option<Layer>,
    pub(super) sessions: Option<Sessions>,
    pub(super) freeze: Option<Freeze>,
    pub(super) api: Option<Api>,
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
        fields.optional("match", draft, matching::alternatives).filter(|list| !list.is_empty());
    let unit = fields.required("unit", draft, matching::sources);
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
        own.chain([failover.as_ref()]).flatten().map(|failover| failover.to).collect();
    let mut serving: Vec<usize> = known.stable.into_iter().chain(failovers.iter().copied()).collect();
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
        .optional("bucketing", draft, |at, draft| bucketing::bucketing(at, draft, known, strategy.as_ref()));
    serving.extend(strategy.iter().flat_map(Strategy::treatments));
    serving.extend(bucketing.iter().flat_map(Bucketing::treatments));
    let expose = fields.optional("expose", draft, expose).unwrap_or_default();
    let expose_failover = fields.optional("expose_failover", draft, scalar::boolean).unwrap_or(true);
    let taker = Taker { name, unit: unit.as_deref() };
    let layer = fields.optional("layer", draft, |at, draft| cohort::layer(at, draft, taker));
    let sources = unit.as_deref().unwrap_or_default();
    let sessions = fields.optional("sessions", draft, |at, draft| cookie::sessions(at, draft, sources));
    let freeze = fields.optional("freeze", draft, ramp::freeze);
    let api = fields.optional("api", draft, compatibility::api);
    fields.later(&["guardrails"], draft);
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
        strategy: strategy?,
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
    };
    parts.refuse(at, draft);
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
        if own == Some(failover.to) {
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
    let rewrite = fields.optional("request", draft, compatibility::rewrite).unwrap_or_default();
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

impl RolloutDraft<'_> {
    /// The failover of the version at this position: its own, or else the rollout's unless that leads back to it.
    pub(super) fn failover_of(&self, position: usize) -> Option<(&traffic::Failover, &VersionDraft<'_>)> {
        let own = self.versions.get(position)?.failover.as_ref();
        let failover = own.or(self.failover.as_ref().filter(|failover| failover.to != position))?;
        Some((failover, self.versions.get(failover.to)?))
    }

    /// True where nothing but a shadow names the version at this position.
    pub(super) fn is_shadow_only(&self, position: usize) -> bool {
        let is_shadow = self.shadows.iter().any(|shadow| shadow.version == position);
        is_shadow && !self.serving.contains(&position)
    }

    /// True where a request that the document does not name a version for may still go to this one.
    fn is_fallback(&self, position: usize) -> bool {
        let moves = self.api.is_some() || self.versions.iter().any(|version| version.features.is_some());
        moves && !self.is_shadow_only(position)
    }

    /// True where requests may be sent to the version at this position, by whatever rule.
    fn may_serve(&self, position: usize) -> bool {
        let by_header = self.overrides.iter().any(|rule| rule.version().is_none());
        by_header || self.may_be_copied(position)
    }

    /// The same, of requests that may be copied: forced ones are not.
    fn may_be_copied(&self, position: usize) -> bool {
        self.sessions.is_some() || self.serving.contains(&position) || self.is_fallback(position)
    }

    /// Refuses what each version says for itself and can't say together. Copies and repeated calls carry the host, the path and the
    /// headers of the original, so they fit only versions that make the same of a request.
    fn refuse(&self, at: At<'_, '_>, draft: &mut Draft) {
        for (position, version) in self.versions.iter().enumerate() {
            let place = |at: At<'_, '_>, field: &str, draft: &mut Draft, message: &str| {
                at.enter("versions", at.node, |at| {
                    at.item(position, at.node, |at| {
                        at.enter(field, at.node, |at| at.problem::<()>(draft, message));
                    });
                });
            };
            if version.accepts.is_some() && self.api.is_none() {
                place(
                    at,
                    "accepts",
                    draft,
                    "needs `api` on the rollout, which says where a request names its API version",
                );
            }
            let Some((_, target)) = self.failover_of(position).filter(|_| self.may_serve(position)) else {
                continue;
            };
            if target.rewrite != version.rewrite {
                let message = format!(
                    "version {} fails over to {}, whose `request` differs: the repeated call would carry the wrong one",
                    shown(version.name),
                    shown(target.name)
                );
                place(at, "request", draft, &message);
            }
        }
        for (number, shadow) in self.shadows.iter().enumerate() {
            let Some(copied) = self.versions.get(shadow.version) else { continue };
            let beside = self.versions.iter().enumerate().find(|(position, version)| {
                *position != shadow.version
                    && self.may_be_copied(*position)
                    && version.rewrite != copied.rewrite
            });
            if let Some((_, version)) = beside {
                let message =
                    format!("a copy carries the `request` of version {}, which differs", shown(version.name));
                at.enter("shadow", at.node, |at| {
                    at.item(number, at.node, |at| at.problem::<()>(draft, &message))
                });
            }
        }
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
        for (position, version) in self.versions.iter().enumerate() {
            let name = shown(version.name);
            let is_shadow = self.shadows.iter().any(|shadow| shadow.version == position);
            if !self.may_serve(position) && !is_shadow {
                at.warning(draft, &format!("nothing sends traffic to version {name}"));
            }
            let Some((_, target)) = self.failover_of(position) else { continue };
            if target.cluster == version.cluster {
                at.warning(draft, &format!("failover of version {name} goes to the cluster that failed"));
            }
            if target.features != version.features && self.may_serve(position) {
                let target = shown(target.name);
                at.warning(
                    draft,
                    &format!(
                        "failover sends the feature set of version {name} to {target}, which has another"
                    ),
                );
            }
        }
        for shadow in &self.shadows {
            let Some(copied) = self.versions.get(shadow.version) else { continue };
            let beside = self.versions.iter().enumerate().find(|(position, version)| {
                *position != shadow.version
                    && self.may_be_copied(*position)
                    && version.features != copied.features
            });
            if let Some((_, version)) = beside {
                let (name, copied) = (shown(version.name), shown(copied.name));
                at.warning(
                    draft,
                    &format!("a copy sends the feature set of version {name} to {copied}, which has another"),
                );
            }
        }
        let accepted = self.versions.iter().any(|version| version.accepts.is_some());
        if self.api.is_some() && !accepted {
            at.warning(draft, "`api` without a version that says what it `accepts` changes nothing");
        }
    }
}
