//! A version: one model behind a cluster, and what sends a request to it.
//!
//! Everything that depends on the version alone is worked out when the document is compiled: headers, targets, marks.

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

/// A decision of another rollout without which a version is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// Position of the other rollout in the document.
    pub(crate) rollout: usize,
    /// Ordinal of the version that it must decide on.
    pub(crate) version: usize,
}
