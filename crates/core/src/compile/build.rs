//! Builds a rollout from its spec: positions become versions, weights become lanes, decisions become header values.
//!
//! It reads nothing and finds no problems: it runs only if the document has none.

use std::rc::Rc;

use super::context::Context;
use super::overrides;
use super::scheme::Bucketing;
use super::spec::{RolloutSpec, VersionSpec};
use super::strategy::{self, Strategy};
use crate::hash::bucket::{Ppm, Salt};
use crate::header;
use crate::plan::arm::Arm;
use crate::plan::failover::{Failover, Target};
use crate::plan::guardrails::{Guarded, Guardrails, Rule, fingerprint};
use crate::plan::rollout::{Freeze, Override, Rollout};
use crate::plan::scheme::Scheme;
use crate::plan::shadow::Shadow;
use crate::plan::split::Split;
use crate::plan::version::{Timeout, Version};

/// The rollout of a spec without problems. `None` only if a position is out of range.
pub(super) fn build(parts: RolloutSpec<'_>, context: &mut Context) -> Option<Rollout> {
    let mut versions = Vec::with_capacity(parts.versions.len());
    for position in 0..parts.versions.len() {
        versions.push(Rc::new(version(&parts, position, context.shared.versions)?));
        context.shared.versions = context.shared.versions.saturating_add(1);
    }
    let names_features = parts.versions.iter().any(|version| version.features.is_some());
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
    let guardrails = guardrails(&parts, &versions, salt);
    let split = match parts.bucketing {
        None => native(parts.strategy, &parts.freezes, &versions)?,
        Some(bucketing) => Split::Scheme(scheme(bucketing, parts.strategy, &versions)?),
    };
    let overrides: Option<Vec<Override>> = parts
        .overrides
        .into_iter()
        .map(|rule| match rule {
            overrides::Override::Units { units, version } => {
                Some(Override::Units { units, version: at(version)? })
            }
            overrides::Override::Header { name, secret_header, secret } => {
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
            Some(Rc::new(Shadow {
                cluster: shadow.cluster.unwrap_or(version.cluster()).into(),
                version,
                share: shadow.share,
                salt,
                methods: shadow.methods,
                protocol: shadow.protocol,
                headers: shadow.headers,
                limits: shadow.limits,
                compare: shadow.compare,
            }))
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
        layer: parts.layer,
        sessions: parts.sessions,
        freezes: parts.freezes.into(),
        api: parts.api,
        names_features,
        guardrails,
    })
}

/// The guardrails with the versions that they judge: every version that serves, except stable, and those whose copies a signal
/// judges.
fn guardrails(parts: &RolloutSpec<'_>, versions: &[Rc<Version>], salt: &str) -> Option<Guardrails> {
    let rules = parts.guardrails.as_ref()?;
    let stable = versions.get(parts.stable)?;
    let (rearm, hash) = (rules.rearm.to_string(), rules.hash.to_string());
    let common = [parts.strategy.kind(), stable.name(), stable.cluster(), &rearm, &hash];
    let judges_pairs = rules.signals.iter().any(|signal| matches!(signal.rule, Rule::ShadowMismatch { .. }));
    let guarded = versions.iter().enumerate().filter_map(|(position, version)| {
        let compared = parts.compared(position).filter(|_| judges_pairs);
        let is_judged = version.ordinal != stable.ordinal && (!version.is_shadow_only || compared.is_some());
        let how = compared.map(|shadow| {
            let cluster = shadow.cluster.unwrap_or(version.cluster()).to_owned();
            [shadow.compare_hash.unwrap_or(0).to_string(), cluster]
        });
        let words: Vec<&str> = common.into_iter().chain(how.iter().flatten().map(String::as_str)).collect();
        is_judged.then(|| Guarded {
            version: Rc::clone(version),
            identity: fingerprint(&[parts.name, version.name(), version.cluster()]),
            epoch: fingerprint(&words),
            is_compared: compared.is_some(),
            is_named: parts.is_named(position),
        })
    });
    Some(Guardrails {
        window: rules.window,
        min_requests: rules.min_requests,
        warm_up: rules.warm_up,
        action: rules.action,
        dry_run: rules.dry_run,
        rearm: rules.rearm,
        signals: rules.signals.as_slice().into(),
        unit_salt: Salt::new(&format!("guardrail:{salt}")),
        guarded: guarded.collect(),
    })
}

fn weighted(arms: Vec<strategy::Arm>, versions: &[Rc<Version>]) -> Option<Vec<Arm>> {
    let arm = |strategy::Arm { version, weight, is_stopped }| {
        Some(Arm { version: versions.get(version).cloned()?, weight, is_stopped })
    };
    arms.into_iter().map(arm).collect()
}

/// The split of our own buckets.
fn native(strategy: Strategy, freezes: &[Freeze], versions: &[Rc<Version>]) -> Option<Split> {
    let at = |position: usize| versions.get(position).cloned();
    Some(match strategy {
        Strategy::None => Split::Stable,
        Strategy::Canary { version, exposure } | Strategy::BlueGreen { other: version, exposure } => {
            Split::single(at(version)?, exposure)
        }
        Strategy::AbTest { arms, exposure } => Split::weighted(weighted(arms, versions)?, exposure),
        Strategy::Progressive { version, mut ramp } => {
            let (once, weekly) =
                (freezes.iter().filter_map(Freeze::once), freezes.iter().filter_map(Freeze::weekly));
            ramp.stops = ramp.stops.with(once, weekly);
            Split::Ramp(at(version)?, ramp)
        }
    })
}

/// The split of another product's buckets.
fn scheme(bucketing: Bucketing<'_>, strategy: Strategy, versions: &[Rc<Version>]) -> Option<Scheme> {
    let at = |position: usize| versions.get(position).cloned();
    // A canary is one arm that has all of the exposed share.
    let (arms, exposure, share) = match strategy {
        Strategy::AbTest { arms, exposure } => (weighted(arms, versions)?, exposure, None),
        Strategy::Canary { version, exposure } => {
            (vec![Arm { version: at(version)?, weight: 1, is_stopped: false }], exposure, Some(exposure))
        }
        // Only `optimizely` comes here. Its allocation holds the shares.
        Strategy::None | Strategy::BlueGreen { .. } | Strategy::Progressive { .. } => {
            (Vec::new(), Ppm::WHOLE, None)
        }
    };
    let percent = exposure.get().div_euclid(10_000);
    Some(match bucketing {
        Bucketing::Unleash { group } => Scheme::unleash(group, percent, &arms),
        Bucketing::Optimizely { experiment, allocation } => {
            let entry = |(version, end): (Option<usize>, u32)| match version {
                Some(version) => Some((Some(at(version)?), end)),
                None => Some((None, end)),
            };
            let allocation: Option<Vec<_>> = allocation.into_iter().map(entry).collect();
            Scheme::optimizely(experiment, allocation?)
        }
        Bucketing::Split { seed, traffic_seed } => {
            // At 100 % there is no gate, whatever its seed.
            let traffic = traffic_seed.filter(|_| percent < 100).map(|seed| (seed, percent));
            Scheme::split(seed, traffic, &arms)
        }
        Bucketing::Flagd { prefix } => Scheme::flagd(prefix, &arms),
        Bucketing::Growthbook { seed } => Scheme::growthbook(seed, exposure, &arms),
        Bucketing::Featurevisor { feature } => {
            let parts = |weight: u32| share.map_or(weight.saturating_mul(10), Ppm::get);
            let shares: Vec<_> =
                arms.into_iter().map(|arm| Arm { weight: parts(arm.weight), ..arm }).collect();
            Scheme::featurevisor(feature, &shares)
        }
    })
}

fn version(parts: &RolloutSpec<'_>, position: usize, ordinal: usize) -> Option<Version> {
    let version = parts.versions.get(position)?;
    let timeout = parts.timeout_of(position);
    let failover = parts.failover_of(position).map(|retry| {
        let target = |(position, target): (usize, &VersionSpec<'_>)| Target {
            position,
            to: target.name.into(),
            cluster: target.cluster.into(),
            mark: format!("{}>{}", version.name, target.name).into(),
        };
        let targets: Box<[Target]> = parts.targets_of(position).map(target).collect();
        let timeout = retry.per_try_timeout.or(timeout);
        Failover {
            retries: retry.retries.min(targets.len()),
            targets,
            headers: retry.headers(timeout),
            timeout,
        }
    });
    let own = |name: &str, value: &str| (Box::from(name), Box::from(value));
    let mut headers = vec![own(header::CLUSTER, version.cluster), own(header::PICK, "0")];
    headers.extend(version.rewrite.host.as_deref().map(|host| own(header::HOST, host)));
    headers.extend(version.features.map(|features| own(header::FEATURE_SET, features)));
    headers.extend(version.rewrite.headers.iter().cloned());
    Some(Version {
        name: version.name.into(),
        cluster: version.cluster.into(),
        ordinal,
        assignment: format!("{}={}", parts.name, version.name).into(),
        failover,
        timeout: timeout.map(|limit| Timeout { limit, value: limit.as_millis().to_string().into() }),
        headers: headers.into(),
        path_prefix: version.rewrite.path_prefix.clone(),
        accepts: version.accepts.clone(),
        features: version.features.map(Into::into),
        requires: version.requires.clone().into(),
        is_shadow_only: parts.is_shadow_only(position),
    })
}
