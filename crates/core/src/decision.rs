//! A decision: the version, the reason, and the header edits that carry it out.
//!
//! Edits are values. The filter applies them and `explain` prints them, and both get them from here.

use std::borrow::Cow;
use std::rc::Rc;

use crate::hash::bucket::Bucket;
use crate::header;
use crate::plan::Plan;
use crate::plan::failover::{Chain, Failover, MAX_TARGETS, Target};
use crate::plan::rollout::{Expose, Rollout};
use crate::plan::shadow::{Copies, CopyResult, MAX_SHADOWS, Shadow};
use crate::plan::version::Version;
use crate::request::{MAX_ATTEMPTS, Request};

/// Why a request got its version: the last rule that changed the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No rollout matched.
    NoMatch,
    /// An override applied.
    Forced,
    /// The decision needs a unit, and the request has none.
    MissingUnit,
    /// The unit is held out of all rollouts.
    Holdout,
    /// The unit is outside the rollout's slice of its layer.
    Layer,
    /// The client's session names the version.
    Session,
    /// The unit is outside the exposed part of its lane.
    NotExposed,
    /// The hash chose the version, or there is no strategy.
    Assigned,
    /// A guardrail took the version out of service.
    RolledBack,
    /// The version requires a decision of another rollout, which decided otherwise.
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

    /// True if the split chose the version by the unit, now or when the session began.
    #[must_use]
    pub fn is_drawn(self) -> bool {
        matches!(self, Self::Assigned | Self::NotExposed | Self::Session)
    }

    /// The name in the public API.
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

/// The version that serves a request, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The rollout that matched.
    pub rollout: Rc<Rollout>,
    /// The version that serves the request.
    pub version: Rc<Version>,
    /// Why that version serves.
    pub reason: Reason,
    /// The bucket of the unit. `None` if there is no unit or no strategy.
    pub bucket: Option<Bucket>,
    /// The shadows whose cohorts have the request, each with what becomes of the copy.
    pub copies: Copies,
    /// `Set-Cookie` lines for the response, in addition to those of the model.
    pub cookies: Vec<String>,
    /// True if stable serves although it does not accept the request, because no other version may.
    pub is_unacceptable: bool,
    /// True if Envoy may repeat a failed call, because of failover or of the caller's own retry headers. What a route does by
    /// itself can't be seen.
    pub is_repeatable: bool,
    pub(crate) chain: Chain,
    /// The name of the call for its copies. `None` if no answer is compared.
    pub pair: Option<String>,
    /// Hash of the unit for guardrails. `None` if there are none, or if the request has no unit.
    pub unit_hash: Option<u32>,
}

/// One change to the headers of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit<'e> {
    /// Removes all lines of a header.
    Remove(&'e str),
    /// Adds a line. Used for cookies, and for a header that the message does not have, because adding costs less than replacing.
    Add(&'e str, Cow<'e, [u8]>),
    /// Replaces all lines of a header.
    Set(&'e str, Cow<'e, [u8]>),
}

impl<'e> Edit<'e> {
    /// Name and value of the header that the message has afterwards. `None` if it is removed.
    #[must_use]
    pub fn header(&self) -> Option<(&'e str, &[u8])> {
        match self {
            Self::Remove(_) => None,
            Self::Add(name, value) | Self::Set(name, value) => Some((name, value)),
        }
    }
}

/// Every edit of a request, in order: unwanted headers are removed, even if nothing was decided, and then the headers of
/// the decision are set. Last, a caller gets no more retries than a cluster has entries for.
pub fn request_edits<'e>(
    decision: Option<&'e Decision>,
    request: &'e Request<'_>,
) -> impl Iterator<Item = Edit<'e>> {
    let is_own = decision.is_some_and(Decision::fails_over);
    let too_many = (request.retries.are_too_many && !is_own).then_some(MOST_RETRIES);
    let removed = request.unwanted().iter().map(|name| Edit::Remove(name));
    let headers = decision.into_iter().flat_map(|decision| decision.request_headers(request));
    let set = headers.map(|(name, value)| match request.lacks(name) {
        true => Edit::Add(name, value),
        false => Edit::Set(name, value),
    });
    removed.chain(set).chain(too_many)
}

const _: () = assert!(MAX_ATTEMPTS == 16, "one more than the retries below");

/// The number of retries in place of a greater one that a caller asks for.
const MOST_RETRIES: Edit<'static> = Edit::Set(header::MAX_RETRIES, Cow::Borrowed(b"15"));

impl Decision {
    /// Every request header to set, with its value.
    fn request_headers<'d>(
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
        let pair = self.pair.as_deref().map(|pair| (header::PAIR, bytes(pair)));
        let prefix = self.version.path_prefix.as_ref();
        let path = prefix.and_then(|prefix| prefix.replaced_in(request.target));
        let path = path.map(|path| (":path", Cow::Owned(path)));
        own.chain(fallbacks).chain(retry).chain(assignment).chain(shadows).chain(pair).chain(path)
    }

    /// The clusters that get a copy, in document order.
    pub fn shadow_clusters(&self) -> impl Iterator<Item = &str> {
        self.sent().map(|shadow| shadow.cluster())
    }

    /// The shadows that get a copy whose answer is compared.
    pub fn compared(&self) -> impl Iterator<Item = &Rc<Shadow>> {
        self.sent().filter(|shadow| shadow.compare().is_some())
    }

    fn sent(&self) -> impl Iterator<Item = &Rc<Shadow>> {
        let sent = self.copies.iter().flatten().filter(|copy| copy.result == CopyResult::Sent);
        sent.map(|copy| &copy.shadow)
    }

    /// True if stable answered, which is compared. `answered` is the failover target that answered, if one did.
    #[must_use]
    pub fn is_of_stable(&self, answered: Option<&Target>) -> bool {
        let stable = self.rollout.stable();
        answered.map_or(self.version.ordinal() == stable.ordinal(), |target| target.to() == stable.name())
    }

    /// Skips each copy that its shadow's rate leaves no room for. `may_take` is asked once for each copy that would be sent
    /// to a shadow with a rate, with the rate.
    pub fn limit_copies(&mut self, mut may_take: impl FnMut(&Shadow, u32) -> bool) {
        for copy in self.copies.iter_mut().flatten().filter(|copy| copy.result == CopyResult::Sent) {
            let Some(rate) = copy.shadow.limits.max_per_second else { continue };
            if !may_take(&copy.shadow, rate) {
                copy.result = CopyResult::SkippedRate;
            }
        }
    }

    /// The targets of a failed call, in order, each with its position among the version's targets.
    pub fn targets(&self) -> impl Iterator<Item = (usize, &Target)> {
        let all = self.failover().into_iter().flat_map(Failover::targets).enumerate();
        all.zip(self.chain).filter_map(|(target, is_taken)| is_taken.then_some(target))
    }

    /// True if a failed call is repeated.
    #[must_use]
    pub fn fails_over(&self) -> bool {
        self.retries() > 0
    }

    /// The cluster of the first failover target, or of the version itself if there is none.
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

    /// The fallback headers with their clusters. One header is enough for one retry, because the route reads an entry
    /// only when it uses it.
    fn fallbacks(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let names = if self.retries() > 1 { MAX_TARGETS } else { 1 };
        let mut clusters = self.targets().map(|(_, target)| target.cluster());
        let mut last = self.version.cluster();
        header::FALLBACKS.into_iter().take(names).map(move |name| {
            last = clusters.next().unwrap_or(last);
            (name, last)
        })
    }

    /// The headers for Envoy's router: when it repeats the call, and how long an attempt may take.
    fn retry_headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        const TIMES: [&str; MAX_TARGETS] = ["1", "2", "3"];
        let alone = self.version.timeout.as_ref().filter(|_| !self.fails_over());
        let alone = alone.map(|timeout| (header::TIMEOUT, timeout.value.as_ref()));
        let conditions = self.failover().into_iter().flat_map(|failover| &failover.headers);
        let times = self.retries().checked_sub(1).and_then(|last| TIMES.get(last));
        let times = times.map(|times| (header::MAX_RETRIES, *times));
        conditions.map(|(name, value)| (*name, value.as_ref())).chain(times).chain(alone)
    }

    /// Every edit of the response, in order. `answered` is the failover target that answered, if one did.
    pub fn response_edits<'d>(
        &'d self,
        plan: &Plan,
        answered: Option<&'d Target>,
    ) -> impl Iterator<Item = Edit<'d>> {
        let text = |value: &'d str| Cow::Borrowed(value.as_bytes());
        let mark = answered.filter(|_| self.rollout.expose_failover);
        let mark = mark.map(|target| Edit::Set(header::FAILOVER, text(target.mark())));
        let expose = self.rollout.expose;
        let assignment = (expose != Expose::None)
            .then(|| Edit::Set(header::ASSIGNMENT, text(self.version.assignment.as_ref())));
        let number = |value: String| Cow::Owned(value.into_bytes());
        let bucket = self.bucket.map(|bucket| number(bucket.get().to_string()));
        let bucket = bucket.map_or(Edit::Remove(header::BUCKET), |bucket| Edit::Set(header::BUCKET, bucket));
        let debug = (expose == Expose::Debug).then(|| {
            [
                Edit::Set(header::REASON, text(self.reason.name())),
                bucket,
                Edit::Set(header::REVISION, number(plan.revision().to_string())),
            ]
        });
        let cookies = self.cookies.iter().map(move |cookie| Edit::Add("set-cookie", text(cookie)));
        mark.into_iter().chain(assignment).chain(debug.into_iter().flatten()).chain(cookies)
    }

    /// The target that answered, by the cluster of the response, with its position among the version's targets. `None` if
    /// the assigned version answered.
    #[must_use]
    pub fn failed_over(&self, cluster: &[u8]) -> Option<(usize, &Target)> {
        if self.version.cluster.as_bytes() == cluster {
            return None;
        }
        self.targets().find(|(_, target)| target.cluster.as_bytes() == cluster)
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
