//! A plan: the compiled document, immutable and valid by construction.
//!
//! A plan that exists can be served: names are resolved to the values they name, lanes cover what they should, header values
//! are legal. Only `compile` makes one.

pub(crate) mod compatibility;
pub(crate) mod condition;
pub(crate) mod eligibility;
pub mod failover;
pub(crate) mod index;
pub mod ramp;
pub(crate) mod scheme;
pub(crate) mod session;
pub mod shadow;
pub(crate) mod split;
pub mod unit;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::rc::Rc;

use crate::decision::Expose;
use crate::guardrail::Guardrails;
use crate::hash::bucket::{BUCKETS, Ppm, Salt};
use crate::hash::secret::Secret;
use crate::health::{Health, State};
use crate::plan::compatibility::{Api, Requirement};
use crate::plan::eligibility::{Holdout, Layer};
use crate::plan::failover::Failover;
use crate::plan::index::Index;
use crate::plan::ramp::{Phase, Ramp, Stop};
use crate::plan::session::Sessions;
use crate::plan::shadow::Shadow;
use crate::plan::split::Split;
use crate::plan::unit::{Issuer, Source};
use crate::request::{Inputs, Slot};
use crate::time::Time;

/// A document, ready to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(crate) revision: u64,
    pub(crate) hash: u32,
    pub(crate) rollouts: Box<[Rc<Rollout>]>,
    pub(crate) index: Index,
    pub(crate) inputs: Inputs,
    pub(crate) versions: usize,
    pub(crate) holdouts: Box<[Holdout]>,
    /// Each issued cookie once.
    pub(crate) issuers: Box<[Rc<Issuer>]>,
}

impl Plan {
    /// The revision that the document names.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// murmur3 of the canonical document.
    #[must_use]
    pub fn hash(&self) -> u32 {
        self.hash
    }

    /// All rollouts, in document order.
    #[must_use]
    pub fn rollouts(&self) -> &[Rc<Rollout>] {
        &self.rollouts
    }

    /// Number of versions in all rollouts; their [`Version::ordinal`]s run from 0 up to it.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.versions
    }

    /// True where some rollout takes its unit from the peer's address, so that [`crate::request::Request::new`] needs it.
    #[must_use]
    pub fn reads_source_address(&self) -> bool {
        self.inputs.source_address
    }
}

/// One rollout: a set of versions and the rule that divides its units among them.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    pub(crate) name: Box<str>,
    pub(crate) unit: Box<[Source]>,
    pub(crate) salt: Salt,
    pub(crate) stable: Rc<Version>,
    pub(crate) versions: Box<[Rc<Version>]>,
    pub(crate) split: Split,
    pub(crate) overrides: Box<[Override]>,
    pub(crate) shadows: Box<[Rc<Shadow>]>,
    pub(crate) expose: Expose,
    pub(crate) expose_failover: bool,
    pub(crate) layer: Option<Layer>,
    pub(crate) sessions: Option<Sessions>,
    pub(crate) freeze: Option<Freeze>,
    pub(crate) api: Option<Api>,
    /// True where a version names a feature set: only then a request's set is looked at.
    pub(crate) names_features: bool,
    pub(crate) guardrails: Option<Guardrails>,
}

impl Rollout {
    /// The name, unique in the document.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All versions, in document order.
    #[must_use]
    pub fn versions(&self) -> &[Rc<Version>] {
        &self.versions
    }

    /// The version that serves whoever has no treatment.
    #[must_use]
    pub fn stable(&self) -> &Version {
        &self.stable
    }

    /// The share of all units that get a version by the hash, holdouts and layer counted, overrides, sessions, dependencies and
    /// compatibility aside.
    #[must_use]
    pub fn expected(&self, plan: &Plan, version: &Version, now: Time) -> Ppm {
        let open = |share: u64, holdout: &Holdout| part(share, MILLION.saturating_sub(holdout.share.into()));
        let slice = self.layer.as_ref().map_or(Ppm::WHOLE, Layer::share);
        let reached = plan.holdouts.iter().fold(slice.into(), open);
        let (mut own, mut treated) = (0_u64, 0_u64);
        for (treatment, exposure) in self.split.exposures(now) {
            let share = part(reached, exposure.into());
            treated = treated.saturating_add(share);
            if treatment.ordinal == version.ordinal {
                own = own.saturating_add(share);
            }
        }
        if version.ordinal == self.stable.ordinal {
            own = own.saturating_add(MILLION.saturating_sub(treated));
        }
        u32::try_from(own).ok().and_then(Ppm::new).unwrap_or(Ppm::WHOLE)
    }

    /// Each treatment of the strategy with the share of all buckets that is exposed to it, in document order.
    #[must_use]
    pub fn exposures(&self, now: Time) -> Vec<(&Rc<Version>, Ppm)> {
        self.split.exposures(now)
    }

    /// The share of all buckets that is exposed to a version; nothing where the strategy does not name it.
    #[must_use]
    pub fn exposure(&self, version: &Version, now: Time) -> Ppm {
        let mut exposures = self.exposures(now).into_iter();
        let own = exposures.find(|(treatment, _)| treatment.ordinal == version.ordinal);
        own.map_or(Ppm::ZERO, |(_, exposure)| exposure)
    }

    /// What a guardrail leaves of a treatment's exposure. Another product's buckets can't be given in part.
    #[must_use]
    pub fn left(&self, exposure: Ppm, state: State) -> Ppm {
        match state {
            State::Frozen(_) if !self.has_native_buckets() => exposure,
            State::Healthy | State::RolledBack | State::Frozen(_) => state.limits(exposure),
        }
    }

    /// The part that a version has of the units that the split draws, without those of versions that are rolled back; none where that
    /// is nobody, where a ramp is changing it, or where a rule behind the split moves some of them away; and a number that changes
    /// whenever lanes, exposures, the layer or a latch do.
    #[must_use]
    pub fn drawn(&self, version: &Version, health: &Health, now: Time) -> (Option<Ppm>, u64) {
        if !self.guardrails.as_ref().is_some_and(Guardrails::counts_units) {
            return (None, 0);
        }
        let exposures: Vec<_> = self
            .exposures(now)
            .into_iter()
            .map(|(treatment, exposure)| (treatment.ordinal, exposure, health.of(treatment)))
            .collect();
        let mut split = DefaultHasher::new();
        (&exposures, &self.layer).hash(&mut split);
        let is_moving = self.ramp().is_some_and(|(_, ramp)| match ramp.phase(now) {
            Phase::Waiting | Phase::Holding | Phase::Rising => true,
            Phase::Paused | Phase::Frozen | Phase::Done => false,
        });
        let moves = |version: &Version| {
            !version.requires.is_empty() || version.accepts.is_some() || version.features.is_some()
        };
        let is_moving = is_moving || self.versions.iter().any(|version| moves(version));
        let (mut own, mut drawn) = (0_u64, MILLION);
        for (ordinal, exposure, state) in exposures {
            if state == State::RolledBack {
                drawn = drawn.saturating_sub(exposure.into());
            } else if ordinal == version.ordinal {
                own = self.left(exposure, state).into();
            }
        }
        let share = own.saturating_mul(MILLION).checked_div(drawn).and_then(|share| share.try_into().ok());
        let share = share.and_then(Ppm::new).filter(|share| *share > Ppm::ZERO && !is_moving);
        (share, split.finish())
    }

    /// The buckets that each treatment of the strategy gets, in document order; none where another product's scheme has the buckets.
    #[must_use]
    pub fn exposed(&self, now: Time) -> Option<Vec<(&Rc<Version>, Range<u32>)>> {
        self.split.exposed(now)
    }

    /// What sets this rollout's split apart from every other.
    #[must_use]
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    /// True where buckets are our own, out of a million; another product's scheme counts as it does.
    #[must_use]
    pub fn has_native_buckets(&self) -> bool {
        !matches!(self.split, Split::Scheme(_))
    }

    /// The ramp of a progressive rollout, with the version that it exposes.
    #[must_use]
    pub fn ramp(&self) -> Option<(&Rc<Version>, &Ramp)> {
        match &self.split {
            Split::Ramp(version, ramp) => Some((version, ramp)),
            Split::Stable | Split::Lanes(_) | Split::Scheme(_) => None,
        }
    }

    /// What the versions are judged by.
    #[must_use]
    pub fn guardrails(&self) -> Option<&Guardrails> {
        self.guardrails.as_ref()
    }

    /// The freeze whose window a moment is in.
    #[must_use]
    pub fn freeze(&self, now: Time) -> Option<&Freeze> {
        self.freeze.as_ref().filter(|freeze| freeze.stop().covers(now))
    }
}

const MILLION: u64 = BUCKETS as u64;

/// A share of a share, both in parts per million, rounded to the nearest.
fn part(of: u64, share: u64) -> u64 {
    let parts = of.saturating_mul(share).saturating_add(MILLION >> 1);
    parts.checked_div(MILLION).unwrap_or(0)
}

/// A window in which nothing about a rollout may change, but that traffic is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Its first second.
    pub from: Time,
    /// The first second after it.
    pub until: Time,
    /// Why, in the author's words.
    pub reason: Option<Box<str>>,
}

impl Freeze {
    pub(crate) fn stop(&self) -> Stop {
        Stop { from: self.from, until: Some(self.until), phase: Phase::Frozen }
    }
}

/// One version of a model, and the headers that send a request to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub(crate) name: Box<str>,
    pub(crate) cluster: Box<str>,
    pub(crate) ordinal: usize,
    /// `<rollout>=<version>`.
    pub(crate) assignment: Box<str>,
    pub(crate) failover: Option<Failover>,
    /// The request headers that depend on nothing but the version.
    pub(crate) headers: Box<[(Box<str>, Box<str>)]>,
    pub(crate) path_prefix: Option<PathPrefix>,
    /// API versions; none: all.
    pub(crate) accepts: Option<Box<[Box<[u8]>]>>,
    pub(crate) features: Option<Box<str>>,
    pub(crate) requires: Box<[Requirement]>,
    /// True where nothing but a shadow names it.
    pub(crate) is_shadow_only: bool,
}

impl Version {
    /// The name, unique in the rollout.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Envoy cluster that serves it.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Number of this version among all versions of the plan.
    #[must_use]
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// True where it gets copies only: a shadow names it and nothing else does.
    #[must_use]
    pub fn is_shadow_only(&self) -> bool {
        self.is_shadow_only
    }

    /// True where a copy for this version is not a second call of what serves already.
    pub(crate) fn differs_from(&self, serving: &Self) -> bool {
        self.name != serving.name && self.cluster != serving.cluster
    }

    /// What happens when a call to this version fails.
    #[must_use]
    pub fn failover(&self) -> Option<&Failover> {
        self.failover.as_ref()
    }
}

/// What the beginning of a path becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathPrefix {
    pub(crate) from: Box<[u8]>,
    pub(crate) to: Box<[u8]>,
}

impl PathPrefix {
    /// The path with its beginning replaced, the rest and the query kept; none where it begins otherwise.
    pub(crate) fn replaced_in(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rest = path.strip_prefix(self.from.as_ref())?;
        Some([&self.to, rest].concat())
    }
}

/// A rule that decides before the hash does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Override {
    /// These units, sorted, get this version.
    Units { units: Box<[Box<[u8]>]>, version: Rc<Version> },
    /// The version that the request names, if it knows the secret.
    Header { name: Slot, secret_header: Slot, secret: Secret },
}
