//! A version: one model behind a cluster, and the headers that send a request to it.
//!
//! Everything that depends only on the version is computed when the document is compiled: headers, targets, marks.

use std::time::Duration;

use super::failover::Failover;

/// One version of a model, and the headers that send a request to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub(crate) name: Box<str>,
    pub(crate) cluster: Box<str>,
    pub(crate) ordinal: usize,
    /// `<rollout>=<version>`.
    pub(crate) assignment: Box<str>,
    pub(crate) failover: Option<Failover>,
    pub(crate) timeout: Option<Timeout>,
    /// The request headers that depend only on the version.
    pub(crate) headers: Box<[(Box<str>, Box<str>)]>,
    pub(crate) path_prefix: Option<PathPrefix>,
    /// The API versions that it accepts. `None` means all.
    pub(crate) accepts: Option<Box<[Box<[u8]>]>>,
    pub(crate) features: Option<Box<str>>,
    pub(crate) requires: Box<[Requirement]>,
    /// True if only a shadow names it.
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

    /// True if it gets only copies: a shadow names it, and nothing else does.
    #[must_use]
    pub fn is_shadow_only(&self) -> bool {
        self.is_shadow_only
    }

    /// True if a copy to this version does not repeat the call that already serves the request.
    pub(crate) fn differs_from(&self, serving: &Self) -> bool {
        self.name != serving.name && self.cluster != serving.cluster
    }

    /// What happens if a call to this version fails. `None` if nothing does.
    #[must_use]
    pub fn failover(&self) -> Option<&Failover> {
        self.failover.as_ref()
    }

    /// How long an attempt may take until its response headers, counted from the end of the request. `None` if there is no
    /// limit. If no target may take a request, the limit of its failover does not hold.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        match &self.failover {
            Some(failover) => failover.timeout,
            None => self.timeout.as_ref().map(|timeout| timeout.limit),
        }
    }
}

/// The time limit of attempts that are not repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timeout {
    pub(crate) limit: Duration,
    /// In milliseconds, for Envoy's header.
    pub(crate) value: Box<str>,
}

/// A replacement for the start of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathPrefix {
    pub(crate) from: Box<[u8]>,
    pub(crate) to: Box<[u8]>,
}

impl PathPrefix {
    /// The path with its start replaced, and the rest and the query kept. `None` if it starts otherwise.
    pub(crate) fn replaced_in(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rest = path.strip_prefix(self.from.as_ref())?;
        Some([&self.to, rest].concat())
    }
}

/// A decision of another rollout that a version requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// Position of the other rollout in the document.
    pub(crate) rollout: usize,
    /// Ordinal of the version that it must decide on.
    pub(crate) version: usize,
}
