//! What was decided and why, and the header edits that carry it out.
//!
//! Edits are values: the filter applies them, `explain` prints them, and both get them from here.

use std::borrow::Cow;
use std::rc::Rc;

use crate::hash::bucket::Bucket;
use crate::plan::failover::{Chain, Failover, MAX_RETRIES, MAX_TARGETS, Target};
use crate::plan::shadow::{MAX_SHADOWS, Shadows};
use crate::plan::{Plan, Rollout, Version};
use crate::request::Request;

/// Names of the headers that the filter owns.
pub mod header {
    /// What all of them begin with.
    pub const PREFIX: &str = "x-rollout-";
    /// Cluster of the assigned version.
    pub const CLUSTER: &str = "x-rollout-cluster";
    /// Clusters of the failover targets, the last one repeated; the first is the same as [`CLUSTER`] where there is none, the
    /// others are there only where more than one retry is possible.
    pub const FALLBACKS: [&str; 3] = ["x-rollout-fallback", "x-rollout-fallback-2", "x-rollout-fallback-3"];
    /// Where the chain of clusters starts: always `0`.
    pub const PICK: &str = "x-rollout-pick";
    /// Clusters of the sampled shadows.
    pub const SHADOWS: [&str; 3] = ["x-rollout-shadow-1", "x-rollout-shadow-2", "x-rollout-shadow-3"];
    /// Marks a copy; set by the route.
    pub const SHADOW: &str = "x-rollout-shadow";
    /// `<rollout>=<version>`, on requests, and on responses where the rollout exposes it.
    pub const ASSIGNMENT: &str = "x-rollout-assignment";
    /// Host rewrite of the assigned version, applied by the route.
    pub const HOST: &str = "x-rollout-host";
    /// The feature set that travels with a request.
    pub const FEATURE_SET: &str = "x-rollout-feature-set";
    /// `<from>><to>` on a failed-over response.
    pub const FAILOVER: &str = "x-rollout-failover";
    /// Why, on responses of a rollout that exposes debug.
    pub const REASON: &str = "x-rollout-reason";
    /// The bucket, on responses of a rollout that exposes debug.
    pub const BUCKET: &str = "x-rollout-bucket";
    /// The revision of the document, on responses of a rollout that exposes debug.
    pub const REVISION: &str = "x-rollout-revision";
}

/// Why a request got its version: the last rule that changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No rollout matched.
    NoMatch,
    /// An override applied.
    Forced,
    /// The decision needs a unit and the request has none.
    MissingUnit,
    /// The unit is held out of all rollouts.
    Holdout,
    /// The unit is outside the rollout's slice of its layer.
    Layer,
    /// The client's session names the version.
    Session,
    /// The unit is outside the exposed part of its lane.
    NotExposed,
    /// The hash, or the absence of a strategy.
    Assigned,
    /// A guardrail took the version out of service.
    RolledBack,
    /// The version requires a decision of another rollout that was not taken.
    Dependency,
    /// The version does not accept the request's API version or feature set.
    Incompatible,
}

impl Reason {
    /// Number of reasons.
    pub const COUNT: usize = 11;
    /// All reasons in the order in which they are tried, each at the position of [`Reason::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::NoMatch,
        Self::Forced,
        Self::MissingUnit,
        Self::Holdout,
        Self::Layer,
        Self::Session,
        Self::NotExposed,
        Self::Assigned,
        Self::RolledBack,
        Self::Dependency,
        Self::Incompatible,
    ];

    /// Position in [`Reason::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word of the public API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoMatch => "no_match",
            Self::Forced => "forced",
            Self::MissingUnit => "missing_unit",
            Self::Holdout => "holdout",
            Self::Layer => "layer",
            Self::Session => "session",
            Self::NotExposed => "not_exposed",
            Self::Assigned => "assigned",
            Self::RolledBack => "rolled_back",
            Self::Dependency => "dependency",
            Self::Incompatible => "incompatible",
        }
    }
}

/// How much of a decision a rollout shows to its clients.
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

/// The version that serves a request, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The rollout that matched.
    pub rollout: Rc<Rollout>,
    /// The version that serves the request.
    pub version: Rc<Version>,
    /// Why that version.
    pub reason: Reason,
    /// The split bucket of the unit, if there is a unit and a strategy.
    pub bucket: Option<Bucket>,
    /// Who gets a copy.
    pub shadows: Shadows,
    /// `Set-Cookie` lines for the response, beside those of the model.
    pub cookies: Vec<String>,
    /// True where stable serves although it does not accept the request: nobody else may.
    pub is_unacceptable: bool,
    pub(crate) chain: Chain,
    /// The unit as guardrails know it; none where the request says nothing about a draw of units.
    pub unit_hash: Option<u32>,
}

impl Decision {
    /// Every request header to set, with its value.
    pub fn request_headers<'d>(
        &'d self,
        request: &Request<'_>,
    ) -> impl Iterator<Item = (&'d str, Cow<'d, [u8]>)> {
        let bytes = |value: &'d str| Cow::Borrowed(value.as_bytes());
        let own = self.version.headers.iter().map(move |(name, value)| (&**name, bytes(value)));
        let retry = self.retry_headers().map(move |(name, value)| (name, bytes(value)));
        let fallbacks = self.fallbacks().map(move |(name, cluster)| (name, bytes(cluster)));
        let assignment = [(header::ASSIGNMENT, self.assignment_after(request.assignments()))];
        let shadows = self.shadow_clusters().zip(header::SHADOWS);
        let shadows = shadows.map(move |(cluster, name)| (name, bytes(cluster)));
        let prefix = self.version.path_prefix.as_ref();
        let path = prefix.and_then(|prefix| prefix.replaced_in(request.target));
        let path = path.map(|path| (":path", Cow::Owned(path)));
        own.chain(fallbacks).chain(retry).chain(assignment).chain(shadows).chain(path)
    }

    /// Clusters of the shadows, in document order.
    pub fn shadow_clusters(&self) -> impl Iterator<Item = &str> {
        self.shadows.iter().flatten().map(|shadow| shadow.version.cluster())
    }

    /// Who answers when the call fails, one after another, each with its place among the version's targets.
    pub fn targets(&self) -> impl Iterator<Item = (usize, &Target)> {
        let all = self.failover().into_iter().flat_map(Failover::targets).enumerate();
        all.zip(self.chain).filter_map(|(target, is_taken)| is_taken.then_some(target))
    }

    /// True where a failed call is repeated.
    #[must_use]
    pub fn fails_over(&self) -> bool {
        self.retries() > 0
    }

    /// Cluster of the first failover target, else that of the version itself.
    #[must_use]
    pub fn fallback(&self) -> &str {
        self.targets().next().map_or(self.version.cluster(), |(_, target)| target.cluster())
    }

    fn failover(&self) -> Option<&Failover> {
        self.version.failover.as_ref().filter(|_| self.fails_over())
    }

    fn retries(&self) -> usize {
        self.chain.into_iter().filter(|is_taken| *is_taken).count()
    }

    /// One header is enough for one retry: the route looks at an entry only when it comes to it.
    fn fallbacks(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let names = if self.retries() > 1 { MAX_TARGETS } else { 1 };
        let mut clusters = self.targets().map(|(_, target)| target.cluster());
        let mut last = self.version.cluster();
        header::FALLBACKS.into_iter().take(names).map(move |name| {
            last = clusters.next().unwrap_or(last);
            (name, last)
        })
    }

    fn retry_headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        const TIMES: [&str; MAX_TARGETS] = ["1", "2", "3"];
        let conditions = self.failover().into_iter().flat_map(|failover| &failover.headers);
        let times = self.retries().checked_sub(1).and_then(|last| TIMES.get(last));
        let times = times.map(|times| (MAX_RETRIES, *times));
        conditions.map(|(name, value)| (*name, value.as_ref())).chain(times)
    }

    /// The response headers to set, or to remove where there is no value.
    pub fn response_headers(
        &self,
        plan: &Plan,
    ) -> impl Iterator<Item = (&'static str, Option<Cow<'_, str>>)> {
        let assignment = [(header::ASSIGNMENT, Some(Cow::Borrowed(self.version.assignment.as_ref())))];
        let debug = || {
            [
                (header::REASON, Some(Cow::Borrowed(self.reason.name()))),
                (header::BUCKET, self.bucket.map(|bucket| Cow::Owned(bucket.get().to_string()))),
                (header::REVISION, Some(Cow::Owned(plan.revision().to_string()))),
            ]
        };
        let expose = self.rollout.expose;
        let shown = (expose != Expose::None).then_some(assignment).into_iter().flatten();
        shown.chain((expose == Expose::Debug).then(debug).into_iter().flatten())
    }

    /// The target that a response from `cluster` is of, with its place among the version's targets; none where the assigned version
    /// answered itself.
    #[must_use]
    pub fn failed_over(&self, cluster: &[u8]) -> Option<(usize, &Target)> {
        if self.version.cluster.as_bytes() == cluster {
            return None;
        }
        self.targets().find(|(_, target)| target.cluster.as_bytes() == cluster)
    }

    /// True where a failed-over response carries its mark.
    #[must_use]
    pub fn exposes_failover(&self) -> bool {
        self.rollout.expose_failover
    }

    fn assignment_after(&self, earlier: &[&[u8]]) -> Cow<'_, [u8]> {
        let own = self.version.assignment.as_bytes();
        if earlier.is_empty() {
            return Cow::Borrowed(own);
        }
        let mut all = earlier.join(&b',');
        all.push(b',');
        all.extend_from_slice(own);
        Cow::Owned(all)
    }
}

const _: () = assert!(header::SHADOWS.len() == MAX_SHADOWS, "one header a shadow");
const _: () = assert!(header::FALLBACKS.len() == MAX_TARGETS, "one header a target");
