//! Everything that a rollout says, with versions as positions, and what follows from several of its parts together.
//!
//! `check` finds what is wrong with a spec, and `build` makes a rollout of it.

use std::time::Duration;

use super::failover::Failover;
use super::guardrails::Guardrails;
use super::overrides::Override;
use super::rewrite::Rewrite;
use super::scheme::Bucketing;
use super::shadow::Shadow;
use super::strategy::Strategy;
use crate::plan::compatibility::Api;
use crate::plan::eligibility::Layer;
use crate::plan::failover::Retry;
use crate::plan::rollout::{Expose, Freeze};
use crate::plan::session::Sessions;
use crate::plan::unit::Source;
use crate::plan::version::Requirement;

/// Everything that a version says about itself.
pub(super) struct VersionSpec<'n> {
    pub(super) name: &'n str,
    pub(super) cluster: &'n str,
    pub(super) failover: Option<Failover>,
    pub(super) timeout: Option<Duration>,
    pub(super) accepts: Option<Box<[Box<[u8]>]>>,
    pub(super) features: Option<&'n str>,
    pub(super) requires: Vec<Requirement>,
    pub(super) rewrite: Rewrite,
}

/// Everything that a rollout says, with versions as positions.
pub(super) struct RolloutSpec<'n> {
    pub(super) name: &'n str,
    pub(super) unit: Box<[Source]>,
    pub(super) salt: Option<&'n str>,
    pub(super) stable: usize,
    pub(super) versions: Vec<VersionSpec<'n>>,
    pub(super) strategy: Strategy,
    pub(super) bucketing: Option<Bucketing<'n>>,
    pub(super) overrides: Vec<Override>,
    pub(super) failover: Option<Failover>,
    pub(super) timeout: Option<Duration>,
    pub(super) shadows: Vec<Shadow<'n>>,
    /// The versions that the document names for requests other than copies.
    pub(super) serving: Vec<usize>,
    pub(super) idempotent: bool,
    pub(super) expose: Expose,
    pub(super) expose_failover: bool,
    pub(super) layer: Option<Layer>,
    pub(super) sessions: Option<Sessions>,
    pub(super) freezes: Vec<Freeze>,
    pub(super) api: Option<Api>,
    pub(super) guardrails: Option<Guardrails>,
}

impl RolloutSpec<'_> {
    /// Where failed calls of the version at this position go, in order: the targets of its own failover, or else of the
    /// rollout's without the version itself.
    pub(super) fn targets_of(&self, position: usize) -> impl Iterator<Item = (usize, &VersionSpec<'_>)> {
        let is_own = self.versions.get(position).is_some_and(|version| version.failover.is_some());
        let targets = self.own_failover(position).into_iter().flat_map(|failover| &failover.to);
        let targets = targets.copied().filter(move |target| is_own || *target != position);
        targets.filter_map(|target| Some((target, self.versions.get(target)?)))
    }

    /// When calls of the version at this position are repeated. `None` if it has no target.
    pub(super) fn failover_of(&self, position: usize) -> Option<&Retry> {
        self.targets_of(position).next()?;
        self.own_failover(position).map(|failover| &failover.retry)
    }

    /// How long an attempt of the version at this position may take, if it is not repeated.
    pub(super) fn timeout_of(&self, position: usize) -> Option<Duration> {
        self.versions.get(position)?.timeout.or(self.timeout)
    }

    fn own_failover(&self, position: usize) -> Option<&Failover> {
        self.versions.get(position)?.failover.as_ref().or(self.failover.as_ref())
    }

    /// True if only a shadow names the version at this position.
    pub(super) fn is_shadow_only(&self, position: usize) -> bool {
        let is_shadow = self.shadows.iter().any(|shadow| shadow.version == position);
        is_shadow && !self.serving.contains(&position)
    }

    /// True if the strategy names the version at this position.
    pub(super) fn is_named(&self, position: usize) -> bool {
        let by_buckets = self.bucketing.iter().flat_map(Bucketing::treatments);
        self.strategy.treatments().into_iter().chain(by_buckets).any(|named| named == position)
    }

    /// The shadow whose copies to the version at this position are compared with what stable answers. `None` if none are.
    pub(super) fn compared(&self, position: usize) -> Option<&Shadow<'_>> {
        let mut shadows = self.shadows.iter().filter(|_| position != self.stable);
        shadows.find(|shadow| shadow.version == position && shadow.compare_hash.is_some())
    }

    /// True if requests that another version can't serve may go to this one.
    fn is_fallback(&self, position: usize) -> bool {
        let moves = self.api.is_some() || self.versions.iter().any(|version| version.features.is_some());
        moves && !self.is_shadow_only(position)
    }

    /// True if any rule may send requests to the version at this position.
    pub(super) fn may_serve(&self, position: usize) -> bool {
        let by_header = self.overrides.iter().any(|rule| rule.version().is_none());
        by_header || self.may_be_copied(position)
    }

    /// True if any rule may send requests that may be copied to the version at this position. Forced requests are not copied.
    pub(super) fn may_be_copied(&self, position: usize) -> bool {
        self.sessions.is_some() || self.serving.contains(&position) || self.is_fallback(position)
    }
}
