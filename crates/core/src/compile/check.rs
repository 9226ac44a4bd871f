//! Checks the parts of a rollout against each other: problems of valid parts together, and warnings about what is
//! probably not meant.
//!
//! It runs if all versions of a rollout could be read, even if there are other problems, so that an author sees all
//! problems at once.

use super::condition::Alternative;
use super::context::Context;
use super::place::shown;
use super::reader::At;
use super::shadow::Shadow;
use super::spec::{RolloutSpec, VersionSpec};
use super::strategy::Strategy;
use crate::hash::bucket::Ppm;
use crate::plan::guardrails::{Action, Limit, Measure, Rule, Signal};
use crate::plan::unit::Source;

/// Which parts of a rollout are complete: read without a problem, or absent.
#[derive(Clone, Copy)]
pub(super) struct Complete {
    /// True if the document has `api`, valid or not.
    pub(super) api: bool,
    /// True if every shadow could be read, so that positions are those of the document.
    pub(super) shadows: bool,
}

impl RolloutSpec<'_> {
    /// Reports valid parts that do not fit together.
    pub(super) fn refuse(&self, at: At<'_, '_>, context: &mut Context, complete: Complete) {
        if !complete.api {
            self.refuse_accepts(at, context);
        }
        self.refuse_failover(at, context);
        if complete.shadows {
            self.refuse_shadows(at, context);
        }
    }

    fn refuse_accepts(&self, at: At<'_, '_>, context: &mut Context) {
        for (position, _) in self.versions.iter().enumerate().filter(|(_, version)| version.accepts.is_some())
        {
            at.in_list("versions", position, |at| {
                at.enter("accepts", at.node, |at| {
                    let message = "needs `api` on the rollout, to say where a request names its API version";
                    at.problem::<()>(context, message)
                })
            });
        }
    }

    /// A version may fail over only to versions with the same `request`: a repeated call carries the host, the path and the
    /// headers of the first.
    fn refuse_failover(&self, at: At<'_, '_>, context: &mut Context) {
        for (position, version) in self.versions.iter().enumerate() {
            let mut targets = self.targets_of(position).filter(|_| self.may_serve(position));
            let Some((_, target)) = targets.find(|(_, target)| target.rewrite != version.rewrite) else {
                continue;
            };
            let message = format!(
                "version {} fails over to {}, whose `request` differs, and a repeated call keeps the first: make both equal, or let \
                 the clusters rewrite it (envoy/providers.yaml)",
                shown(version.name),
                shown(target.name)
            );
            at.in_list("versions", position, |at| {
                at.enter("request", at.node, |at| at.problem::<()>(context, &message))
            });
        }
    }

    /// A copy carries the host, the path and the headers of the request that it copies, so its version needs the same `request`.
    fn refuse_shadows(&self, at: At<'_, '_>, context: &mut Context) {
        for (number, shadow) in self.shadows.iter().enumerate() {
            let Some(version) = self.beside(shadow, |version, copied| version.rewrite != copied.rewrite)
            else {
                continue;
            };
            let message = format!(
                "a copy keeps the `request` of version {}, which differs: make both equal, or let the clusters rewrite it \
                 (envoy/providers.yaml)",
                shown(version.name)
            );
            at.in_list("shadow", number, |at| at.problem::<()>(context, &message));
        }
    }

    /// The first version whose requests the shadow may copy and that differs from the version of the shadow.
    fn beside(
        &self,
        shadow: &Shadow<'_>,
        differ: impl Fn(&VersionSpec<'_>, &VersionSpec<'_>) -> bool,
    ) -> Option<&VersionSpec<'_>> {
        let copied = self.versions.get(shadow.version)?;
        let others = self.versions.iter().enumerate().filter(|(position, _)| *position != shadow.version);
        let mut copyable = others.filter(|(position, _)| self.may_be_copied(*position));
        copyable.find(|(_, version)| differ(version, copied)).map(|(_, version)| version)
    }

    /// Warns about what is allowed and probably not meant.
    pub(super) fn warn(&self, at: At<'_, '_>, context: &mut Context, alternatives: &[Alternative]) {
        let fails_over = (0..self.versions.len()).any(|position| self.failover_of(position).is_some());
        if fails_over && !self.idempotent && !alternatives.iter().all(Alternative::is_safe) {
            at.warning(
                context,
                "failover repeats methods that may write, and the first attempt may have run: \
                 set `\"idempotent\": true` if that is harmless",
            );
        }
        for (position, version) in self.versions.iter().enumerate() {
            let name = shown(version.name);
            let is_shadow = self.shadows.iter().any(|shadow| shadow.version == position);
            if !self.may_serve(position) && !is_shadow {
                at.warning(
                    context,
                    &format!(
                        "no traffic goes to version {name}: name it in `strategy` or `shadow`, or remove it"
                    ),
                );
            }
            let mut failed = vec![version.cluster];
            for (_, target) in self.targets_of(position).filter(|(target, _)| *target != position) {
                if failed.contains(&target.cluster) {
                    at.warning(
                        context,
                        &format!("failover of version {name} returns to a cluster that failed"),
                    );
                }
                failed.push(target.cluster);
                if target.features != version.features && self.may_serve(position) {
                    let target = shown(target.name);
                    at.warning(
                        context,
                        &format!(
                            "failover sends the feature set of version {name} to {target}, whose `features` differ"
                        ),
                    );
                }
            }
        }
        for shadow in &self.shadows {
            let beside = self.beside(shadow, |version, copied| version.features != copied.features);
            let copied = self.versions.get(shadow.version);
            if let Some((version, copied)) = beside.zip(copied) {
                let (name, copied) = (shown(version.name), shown(copied.name));
                at.warning(
                    context,
                    &format!(
                        "a copy sends the feature set of version {name} to {copied}, whose `features` differ"
                    ),
                );
            }
        }
        self.warn_of_shared_clusters(at, context);
        self.warn_of_missing_units(at, context);
        if matches!(self.strategy, Strategy::AbTest { .. }) && self.salt.is_none() && self.bucketing.is_none()
        {
            at.warning(
                context,
                "`ab_test` without a `salt`: a change of its arms draws every unit again, also those of the other arms",
            );
        }
        self.warn_of_guardrails(at, context);
        let accepted = self.versions.iter().any(|version| version.accepts.is_some());
        if self.api.is_some() && !accepted {
            at.warning(context, "`api` has no effect: no version has `accepts`");
        }
    }

    /// Copies that hang take connections of their cluster, so it should be the cluster of no version that serves.
    fn warn_of_shared_clusters(&self, at: At<'_, '_>, context: &mut Context) {
        for (number, shadow) in self.shadows.iter().enumerate() {
            let own = self.versions.get(shadow.version).map(|version| version.cluster);
            let Some(cluster) = shadow.cluster.or(own) else { continue };
            let mut versions = self.versions.iter().enumerate();
            let serving = versions.find(|(position, version)| {
                version.cluster == cluster && self.may_serve(*position) && !self.is_shadow_only(*position)
            });
            let Some((_, version)) = serving else { continue };
            let message = format!(
                "copies go to the cluster of version {}, which serves, and may take its connections: \
                 set `cluster` to one of their own, like {}",
                shown(version.name),
                shown(&format!("{cluster}-copies"))
            );
            at.in_list("shadow", number, |at| at.warning(context, &message));
        }
    }

    /// A request without a unit has no bucket, so no share contains it, not even a whole one.
    fn warn_of_missing_units(&self, at: At<'_, '_>, context: &mut Context) {
        let always_there = |source: &Source| matches!(source, Source::Issued(_) | Source::PeerAddress);
        if self.unit.iter().any(always_there) {
            return;
        }
        for (number, _) in self.shadows.iter().enumerate().filter(|(_, shadow)| shadow.share == Ppm::WHOLE) {
            let message = "100 percent leaves out requests without a unit: let `unit` end with `issued_cookie` or `source_ip`";
            at.in_list("shadow", number, |at| at.warning(context, message));
        }
    }

    /// What hangs is neither an answer nor a failure, so no signal sees it.
    fn warn_of_hanging(&self, at: At<'_, '_>, context: &mut Context) {
        let is_limited = |position: usize| {
            let attempt = self.failover_of(position).and_then(|retry| retry.per_try_timeout);
            self.timeout_of(position).is_some() || attempt.is_some()
        };
        let mut judged = self
            .versions
            .iter()
            .enumerate()
            .filter(|(position, _)| *position != self.stable && self.may_serve(*position));
        if let Some((_, version)) = judged.find(|(position, _)| !is_limited(*position)) {
            let name = shown(version.name);
            at.warning(context, &format!("guardrails can't see that version {name} hangs: set a `timeout`"));
        }
    }

    /// Clients leave and send what a version must refuse for reasons of their own. A comparison with stable does not blame the
    /// version for that.
    fn warn_of_blame(&self, at: At<'_, '_>, context: &mut Context, signals: &[Signal]) {
        let of_clients = |measure: &Measure| match measure {
            Measure::Abandoned => Some("abandon_rate"),
            Measure::Status(statuses) if statuses.has_any(400..=499) => Some("status"),
            Measure::Failure
            | Measure::LongerThan(_)
            | Measure::LongerThanStable { .. }
            | Measure::Header(_)
            | Measure::Status(_) => None,
        };
        let compared = |kind: &str| {
            signals.iter().any(|signal| match &signal.rule {
                Rule::Rate(measure, Limit::Increase { .. }) => of_clients(measure) == Some(kind),
                Rule::Rate(_, Limit::Share(_))
                | Rule::SampleRatio { .. }
                | Rule::ConsecutiveFailures(_)
                | Rule::ShadowMismatch { .. } => false,
            })
        };
        for (number, signal) in signals.iter().enumerate() {
            let Rule::Rate(measure, Limit::Share(_)) = &signal.rule else { continue };
            let Some(kind) = of_clients(measure).filter(|kind| !compared(kind)) else { continue };
            let message = format!(
                "clients may cause this by themselves: compare with stable, with `max_increase_percent` of `{kind}`"
            );
            at.enter("guardrails", at.node, |at| {
                at.in_list("signals", number, |at| at.warning(context, &message));
            });
        }
    }

    fn warn_of_guardrails(&self, at: At<'_, '_>, context: &mut Context) {
        let Some(guardrails) = &self.guardrails else { return };
        let judges_pairs =
            guardrails.signals.iter().any(|signal| matches!(signal.rule, Rule::ShadowMismatch { .. }));
        let compared = |position: &usize| judges_pairs && self.compared(*position).is_some();
        let mut judged = (0..self.versions.len()).filter(|position| *position != self.stable);
        if !judged.any(|position| self.may_serve(position) || compared(&position)) {
            at.warning(context, "`guardrails` have no effect: no version except stable gets requests");
        }
        if guardrails.names_action && guardrails.action != Action::Warn {
            let compared = (0..self.versions.len()).filter(compared);
            for position in compared.filter(|position| !self.is_named(*position)) {
                let name = shown(self.versions.get(position).map_or("", |version| version.name));
                let message = format!(
                    "`shadow_mismatch` only warns about version {name}, because the strategy does not name it"
                );
                at.enter("guardrails", at.node, |at| {
                    at.enter("action", at.node, |at| at.warning(context, &message));
                });
            }
        }
        self.warn_of_hanging(at, context);
        self.warn_of_blame(at, context, &guardrails.signals);
        let compares = |rule: &Rule| match rule {
            Rule::Rate(_, Limit::Increase { .. })
            | Rule::SampleRatio { .. }
            | Rule::ShadowMismatch { .. } => true,
            Rule::Rate(_, Limit::Share(_)) | Rule::ConsecutiveFailures(_) => false,
        };
        let only_compares = guardrails.signals.iter().all(|signal| compares(&signal.rule));
        if only_compares && self.sessions.is_none() && self.strategy.leaves_nobody_on(self.stable) {
            at.warning(
                context,
                "every signal compares with the stable version, but the strategy sends it no requests",
            );
        }
        let counts_units =
            guardrails.signals.iter().any(|signal| matches!(signal.rule, Rule::SampleRatio { .. }));
        let moves = |version: &VersionSpec<'_>| {
            !version.requires.is_empty() || version.accepts.is_some() || version.features.is_some()
        };
        if counts_units && self.versions.iter().any(moves) {
            at.warning(
                context,
                "`sample_ratio` has no effect: `requires`, `accepts` or `features` may move requests",
            );
        }
        if guardrails.action == Action::Freeze && self.bucketing.is_some() {
            at.warning(
                context,
                "action `freeze` can't keep the exposure with `bucketing`: a push still changes it",
            );
        }
        if matches!(self.strategy, Strategy::Progressive { .. }) {
            if guardrails.action == Action::Warn {
                at.warning(context, "the ramp continues after a verdict, because the action is `warn`");
            }
            let counts_in_a_row = |rule: &Rule| matches!(rule, Rule::ConsecutiveFailures(_));
            if !guardrails.signals.iter().any(|signal| counts_in_a_row(&signal.rule)) {
                at.warning(
                    context,
                    "with little traffic the ramp ends before a rate has `min_requests`: add `consecutive_failures`",
                );
            }
        }
    }
}
