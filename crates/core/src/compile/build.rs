//! Builds a rollout from what was read of it: positions become versions, weights become lanes, decisions become header values.

use std::rc::Rc;

use super::reader::Draft;
use super::rollout::{RolloutDraft, VersionDraft};
use super::strategy::Strategy;
use super::traffic;
use crate::bucket::Salt;
use crate::decision::header;
use crate::failover::Failover;
use crate::plan::{Override, Rollout, Version};
use crate::shadow::Shadow;
use crate::split::Split;

/// The rollout of a draft without problems; none only if a position were out of range.
pub(super) fn build(parts: RolloutDraft<'_>, draft: &mut Draft) -> Option<Rollout> {
    let mut versions = Vec::with_capacity(parts.versions.len());
    for (position, version) in parts.versions.iter().enumerate() {
        let target = parts.failover_of(position);
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
