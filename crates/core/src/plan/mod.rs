//! A plan: the compiled document, immutable and valid by construction.
//!
//! A plan that exists can be served: names are resolved, lanes cover what they should, and header values are legal. Only
//! `compile` makes plans.

pub(crate) mod arm;
pub(crate) mod compare;
pub(crate) mod compatibility;
pub(crate) mod condition;
pub(crate) mod decimal;
pub(crate) mod eligibility;
pub(crate) mod failover;
pub(crate) mod guardrails;
pub(crate) mod index;
pub(crate) mod ramp;
pub(crate) mod rollout;
pub(crate) mod scheme;
pub(crate) mod session;
pub(crate) mod shadow;
pub(crate) mod split;
pub(crate) mod stop;
pub(crate) mod unit;
pub(crate) mod version;

use std::rc::Rc;

use self::eligibility::{Holdout, Layer};
use self::index::Index;
use self::rollout::Rollout;
use self::unit::Issuer;
use self::version::Version;
use crate::hash::bucket::{BUCKETS, Ppm};
use crate::request::{Inputs, Request};
use crate::time::Time;

/// A compiled document, ready to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(crate) revision: u64,
    pub(crate) hash: u32,
    pub(crate) rollouts: Box<[Rc<Rollout>]>,
    pub(crate) index: Index,
    pub(crate) inputs: Inputs,
    pub(crate) versions: usize,
    pub(crate) holdouts: Box<[Holdout]>,
    /// The issued cookies, each once.
    pub(crate) issuers: Box<[Rc<Issuer>]>,
}

impl Plan {
    /// The revision of the document.
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

    /// Number of versions in all rollouts. Their [`Version::ordinal`]s are all numbers below it.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.versions
    }

    /// True if a rollout takes its unit from the peer's address, so that [`Plan::request`] needs it.
    #[must_use]
    pub fn reads_source_address(&self) -> bool {
        self.inputs.source_address
    }

    /// Picks what this plan reads from the header lines of a request. `lines` are in their order on the wire, with
    /// pseudo-headers, and names are in lower case, as in HTTP/2 and Envoy. `source` is the peer's address, with or without
    /// its port; it is needed if [`Plan::reads_source_address`] is true.
    pub fn request<'a, I>(&self, lines: I, source: Option<&[u8]>) -> Request<'a>
    where
        I: IntoIterator<Item = (&'a str, &'a [u8])>,
    {
        Request::read(&self.inputs, lines, source)
    }

    /// True if this plan may have to give the client an id, so that the request needs [`Request::with_nonce`].
    #[must_use]
    pub fn may_issue_id(&self, request: &Request<'_>) -> bool {
        !request.is_preflight() && self.issuers.iter().any(|issuer| issuer.brought(request).is_none())
    }

    /// The first rollout in document order that matches.
    pub(crate) fn matching(&self, request: &Request<'_>) -> Option<&Rc<Rollout>> {
        self.rollouts.get(self.index.find(request)?)
    }

    /// The share of all units that get a version by the hash. It includes holdouts and the layer, but not overrides, sessions,
    /// dependencies and compatibility.
    #[must_use]
    pub fn expected(&self, rollout: &Rollout, version: &Version, now: Time) -> Ppm {
        let open = |share: u64, holdout: &Holdout| part(share, MILLION.saturating_sub(holdout.share.into()));
        let slice = rollout.layer.as_ref().map_or(Ppm::WHOLE, Layer::share);
        let reached = self.holdouts.iter().fold(slice.into(), open);
        let (mut own, mut treated) = (0_u64, 0_u64);
        for (treatment, exposure) in rollout.split.exposures(now) {
            let share = part(reached, exposure.into());
            treated = treated.saturating_add(share);
            if treatment.ordinal == version.ordinal {
                own = own.saturating_add(share);
            }
        }
        if version.ordinal == rollout.stable.ordinal {
            own = own.saturating_add(MILLION.saturating_sub(treated));
        }
        u32::try_from(own).ok().and_then(Ppm::new).unwrap_or(Ppm::WHOLE)
    }
}

const MILLION: u64 = BUCKETS as u64;

/// A share of a share, both in parts per million, rounded to the nearest part.
fn part(of: u64, share: u64) -> u64 {
    let parts = of.saturating_mul(share).saturating_add(MILLION >> 1);
    parts.checked_div(MILLION).unwrap_or(0)
}
