//! A plan: the compiled document, immutable and valid by construction.
//!
//! A plan that exists can be served: names are resolved to the values they name, lanes cover what they should, header values
//! are legal. Only `compile` makes one.

use std::rc::Rc;

use crate::bucket::{BUCKETS, Bucket, Ppm, Salt};
use crate::decision::Expose;
use crate::failover::Failover;
use crate::index::Index;
use crate::request::{Inputs, Slot};
use crate::secret::Secret;
use crate::shadow::Shadow;
use crate::split::{Lane, Split};
use crate::unit::Source;

/// A document, ready to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(crate) revision: u64,
    pub(crate) hash: u32,
    pub(crate) rollouts: Box<[Rc<Rollout>]>,
    pub(crate) index: Index,
    pub(crate) inputs: Inputs,
    pub(crate) versions: usize,
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

    /// The share of all units that the hash gives to a version, overrides aside.
    #[must_use]
    pub fn expected(&self, version: &Version) -> Ppm {
        let lanes: &[Lane] = match &self.split {
            Split::Stable => &[],
            Split::Lanes(lanes) => lanes,
        };
        let mut own = 0_u32;
        let mut unexposed = BUCKETS;
        for lane in lanes {
            let exposed = lane.exposed().get();
            unexposed = unexposed.saturating_sub(exposed);
            if lane.version.name == version.name {
                own = own.saturating_add(exposed);
            }
        }
        if version.name == self.stable.name {
            own = own.saturating_add(unexposed);
        }
        Ppm::new(own).unwrap_or(Ppm::WHOLE)
    }

    /// The bucket of a unit; none where there is no strategy to need one.
    pub(crate) fn bucket(&self, unit: &[u8]) -> Option<Bucket> {
        match self.split {
            Split::Stable => None,
            Split::Lanes(_) => Some(self.salt.bucket(unit)),
        }
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
    /// The request headers that do not depend on the request.
    pub(crate) headers: Box<[(&'static str, Box<str>)]>,
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

    /// What happens when a call to this version fails.
    #[must_use]
    pub fn failover(&self) -> Option<&Failover> {
        self.failover.as_ref()
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
