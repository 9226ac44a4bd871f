//! A rollout: the versions of one model, and every rule about them, resolved.
//!
//! It says what the document says about a time: which versions are exposed, how far, and in which window. What that means
//! for a request is in `decide`.

use std::ops::Range;
use std::rc::Rc;

use super::compatibility::Api;
use super::eligibility::Layer;
use super::guardrails::Guardrails;
use super::ramp::Ramp;
use super::session::Sessions;
use super::shadow::Shadow;
use super::split::Split;
use super::stop::{Kind, Stop, Weekly};
use super::unit::Source;
use super::version::Version;
use crate::hash::bucket::{Ppm, Salt};
use crate::hash::secret::Secret;
use crate::request::Slot;
use crate::time::Time;

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
    pub(crate) freezes: Box<[Freeze]>,
    pub(crate) api: Option<Api>,
    /// True if a version names a feature set. Only then does a request's feature set matter.
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

    /// The version that serves every unit without a treatment.
    #[must_use]
    pub fn stable(&self) -> &Version {
        &self.stable
    }

    /// Each treatment of the strategy once, with the share of all buckets that is exposed to it, in document order. The share of
    /// a stopped arm is zero.
    #[must_use]
    pub fn exposures(&self, now: Time) -> Vec<(&Rc<Version>, Ppm)> {
        self.split.exposures(now)
    }

    /// The share of all buckets that is exposed to a version. Zero if the strategy does not name it.
    #[must_use]
    pub fn exposure(&self, version: &Version, now: Time) -> Ppm {
        let mut exposures = self.exposures(now).into_iter();
        let own = exposures.find(|(treatment, _)| treatment.ordinal == version.ordinal);
        own.map_or(Ppm::ZERO, |(_, exposure)| exposure)
    }

    /// The exposed buckets of each lane with their treatment, in document order. Only the stable version may have several
    /// lanes. `None` if another product's scheme assigns the buckets.
    #[must_use]
    pub fn exposed(&self, now: Time) -> Option<Vec<(&Rc<Version>, Range<u32>)>> {
        self.split.exposed(now)
    }

    /// The salt, which makes this rollout's split independent of others.
    #[must_use]
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    /// True if buckets are our own, out of a million. Another product's scheme has its own number of buckets.
    #[must_use]
    pub fn has_native_buckets(&self) -> bool {
        !matches!(self.split, Split::Scheme(_))
    }

    /// The ramp of a progressive rollout, with the version that it exposes. `None` if there is no ramp.
    #[must_use]
    pub fn ramp(&self) -> Option<(&Rc<Version>, &Ramp)> {
        match &self.split {
            Split::Ramp(version, ramp) => Some((version, ramp)),
            Split::Stable | Split::Lanes(_) | Split::Scheme(_) => None,
        }
    }

    /// The guardrails. `None` if there are none.
    #[must_use]
    pub fn guardrails(&self) -> Option<&Guardrails> {
        self.guardrails.as_ref()
    }

    /// What freezes the rollout at this time. `None` if nothing does.
    #[must_use]
    pub fn frozen(&self, now: Time) -> Option<Frozen<'_>> {
        let first = self.freezes.iter().find(|freeze| freeze.end(now).is_some())?;
        let mut until = now;
        // One freeze may take over from another, several times, and those of a week without end.
        for _ in 0..MAX_CHAIN {
            match self.freezes.iter().filter_map(|freeze| freeze.end(until)).max() {
                Some(end) => until = end,
                None => break,
            }
        }
        Some(Frozen { until, reason: first.reason.as_deref() })
    }
}

/// How many freezes that follow each other without a gap are looked through to find the end. Protects against those without one.
const MAX_CHAIN: usize = 64;

/// What freezes a rollout at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frozen<'r> {
    /// The first second at which nothing freezes the rollout. If freezes follow each other for long, a time before that.
    pub until: Time,
    /// The reason, in the author's words.
    pub reason: Option<&'r str>,
}

/// A time in which nothing about a rollout may change, except that traffic may be withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freeze {
    pub(crate) window: Window,
    pub(crate) reason: Option<Box<str>>,
}

/// When a freeze is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    Once { from: Time, until: Time },
    Weekly(Weekly),
}

impl Freeze {
    /// The end of the window that this time is in. `None` outside.
    fn end(&self, now: Time) -> Option<Time> {
        match self.window {
            Window::Once { from, until } => (from <= now && now < until).then_some(until),
            Window::Weekly(weekly) => weekly.end(now),
        }
    }

    /// The stop of a freeze that is in force once.
    pub(crate) fn once(&self) -> Option<Stop> {
        match self.window {
            Window::Once { from, until } => Some(Stop { from, until: Some(until), kind: Kind::Freeze }),
            Window::Weekly(_) => None,
        }
    }

    /// The stop of a freeze that is in force every week.
    pub(crate) fn weekly(&self) -> Option<Weekly> {
        match self.window {
            Window::Once { .. } => None,
            Window::Weekly(weekly) => Some(weekly),
        }
    }
}

/// A rule that applies before the hash.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Override {
    /// These units, sorted, get this version.
    Units { units: Box<[Box<[u8]>]>, version: Rc<Version> },
    /// The request names the version in a header, and knows the secret.
    Header { name: Slot, secret_header: Slot, secret: Secret },
}

/// How much of a decision a rollout shows to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expose {
    /// Nothing.
    #[default]
    None,
    /// The assignment.
    Assignment,
    /// The assignment, its reason, the bucket and the revision.
    Debug,
}
