//! Reads one rollout and, where it has no problem, resolves its names and builds it.

use std::rc::Rc;

use super::matching::{self, Alternative};
use super::reader::{At, Draft, Fields, name_of, shown};
use super::strategy::{self, Strategy};
use super::{scalar, traffic};
use crate::bucket::Salt;
use crate::decision::{Expose, header};
use crate::failover::Failover;
use crate::json::Node;
use crate::plan::{Override, Rollout, Version};
use crate::shadow::Shadow;
use crate::split::Split;

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

struct VersionDraft<'n> {
    name: &'n str,
    cluster: &'n str,
    failover: Option<traffic::Failover>,
}

/// All that a rollout says, names not yet resolved to versions.
struct RolloutDraft<'n> {
    name: &'n str,
    unit: Box<[crate::unit::Source]>,
    salt: Option<&'n str>,
    stable: usize,
    versions: Vec<VersionDraft<'n>>,
    strategy: Strategy,
    overrides: Vec<traffic::Override>,
    failover: Option<traffic::Failover>,
    shadows: Vec<traffic::Shadow>,
    idempotent: bool,
    expose: Expose,
    expose_failover: bool,
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
    let shadowed = only_shadowed(&shadows, &overrides, &failovers, names.stable);
    let strategy = fields
        .optional("strategy", draft, |at, draft| strategy::strategy(at, draft, &names, &shadowed))
        .unwrap_or_default();
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
        idempotent,
        expose,
        expose_failover,
    };
    warn(at, draft, &parts, &alternatives);
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

/// Versions that a shadow names, and neither overrides, stable nor a failover; the strategy comes later.
fn only_shadowed(
    shadows: &[traffic::Shadow],
    overrides: &[traffic::Override],
    failovers: &[usize],
    stable: Option<usize>,
) -> Vec<usize> {
    let forced = |wanted: usize| {
        overrides
            .iter()
            .any(|rule| matches!(rule, traffic::Override::Units { version, .. } if *version == wanted))
    };
    let serves =
        |version: &usize| stable == Some(*version) || failovers.contains(version) || forced(*version);
    shadows.iter().map(|shadow| shadow.version).filter(|version| !serves(version)).collect()
}

fn build(parts: RolloutDraft<'_>, draft: &mut Draft) -> Option<Rollout> {
    let mut versions = Vec::with_capacity(parts.versions.len());
    for (position, version) in parts.versions.iter().enumerate() {
        let own =
            version.failover.as_ref().or(parts.failover.as_ref().filter(|failover| failover.to != position));
        let target = own.and_then(|failover| Some((failover, parts.versions.get(failover.to)?)));
        versions.push(Rc::new(build_version(parts.name, version, target, draft.versions)));
        draft.versions = draft.versions.saturating_add(1);
    }
    let at = |position: usize| versions.get(position).cloned();
    let treatments: Vec<&str> = parts
        .strategy
        .treatments()
        .into_iter()
        .filter_map(|version| parts.versions.get(version))
        .map(|of| of.name)
        .collect();
    let default_salt = format!("{}/{}", parts.name, treatments.join(","));
    let salt = parts.salt.unwrap_or(&default_salt);
    let split = match parts.strategy {
        Strategy::None => Split::Stable,
        Strategy::Canary { version, exposure } | Strategy::BlueGreen { other: version, exposure } => {
            Split::single(at(version)?, exposure)
        }
        Strategy::AbTest { arms, exposure } => {
            let arms: Option<Vec<_>> =
                arms.into_iter().map(|(version, weight)| Some((at(version)?, weight))).collect();
            Split::weighted(arms?, exposure)
        }
    };
    let overrides: Option<Vec<Override>> = parts
        .overrides
        .into_iter()
        .map(|rule| match rule {
            traffic::Override::Units { units, version } => {
                Some(Override::Units { units, version: at(version)? })
            }
            traffic::Override::Header { name, secret_header, secret } => {
                Some(Override::Header { name, secret_header, secret })
            }
        })
        .collect();
    let shadows: Option<Vec<Rc<Shadow>>> = parts
        .shadows
        .into_iter()
        .map(|shadow| {
            let version = at(shadow.version)?;
            let salt = Salt::new(&format!("shadow:{salt}:{}", version.name));
            let (methods, headers) = (shadow.methods, shadow.headers);
            Some(Rc::new(Shadow { version, share: shadow.share, salt, methods, headers }))
        })
        .collect();
    Some(Rollout {
        name: parts.name.into(),
        unit: parts.unit,
        salt: Salt::new(salt),
        stable: at(parts.stable)?,
        split,
        overrides: overrides?.into(),
        shadows: shadows?.into(),
        versions: versions.into(),
        expose: parts.expose,
        expose_failover: parts.expose_failover,
    })
}

fn build_version(
    rollout: &str,
    version: &VersionDraft<'_>,
    target: Option<(&traffic::Failover, &VersionDraft<'_>)>,
    ordinal: usize,
) -> Version {
    let fallback = target.map_or(version.cluster, |(_, target)| target.cluster);
    let mut headers: Vec<(&'static str, Box<str>)> = vec![
        (header::CLUSTER, version.cluster.into()),
        (header::FALLBACK, fallback.into()),
        (header::PICK, "0".into()),
    ];
    headers.extend(target.iter().flat_map(|(failover, _)| failover.retry.headers()));
    let failover = target.map(|(_, target)| Failover {
        to: target.name.into(),
        cluster: target.cluster.into(),
        mark: format!("{}>{}", version.name, target.name).into(),
    });
    Version {
        name: version.name.into(),
        cluster: version.cluster.into(),
        ordinal,
        assignment: format!("{rollout}={}", version.name).into(),
        failover,
        headers: headers.into(),
    }
}

/// Names what is allowed and probably not meant.
fn warn(at: At<'_, '_>, draft: &mut Draft, parts: &RolloutDraft<'_>, alternatives: &[Alternative]) {
    let failovers = parts.failovers();
    if !failovers.is_empty() && !parts.idempotent && !alternatives.iter().all(Alternative::is_safe) {
        at.warning(
            draft,
            "failover repeats methods that may write, and the first attempt may have run; say `\"idempotent\": true` if that is harmless",
        );
    }
    let by_header = parts.overrides.iter().any(|rule| matches!(rule, traffic::Override::Header { .. }));
    let treatments = parts.strategy.treatments();
    for (position, version) in parts.versions.iter().enumerate() {
        let forced = parts
            .overrides
            .iter()
            .any(|rule| matches!(rule, traffic::Override::Units { version, .. } if *version == position));
        let serves = position == parts.stable
            || treatments.contains(&position)
            || failovers.contains(&position)
            || forced;
        if !serves && !by_header && !parts.shadows.iter().any(|shadow| shadow.version == position) {
            at.warning(draft, &format!("nothing sends traffic to version {}", shown(version.name)));
        }
        let own =
            version.failover.as_ref().or(parts.failover.as_ref().filter(|failover| failover.to != position));
        let target = own.and_then(|failover| parts.versions.get(failover.to));
        if target.is_some_and(|target| target.cluster == version.cluster) {
            let name = shown(version.name);
            at.warning(draft, &format!("failover of version {name} goes to the cluster that failed"));
        }
    }
}

impl RolloutDraft<'_> {
    fn failovers(&self) -> Vec<usize> {
        let all =
            self.versions.iter().map(|version| version.failover.as_ref()).chain([self.failover.as_ref()]);
        all.flatten().map(|failover| failover.to).collect()
    }
}
