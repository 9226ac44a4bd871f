//! Failover: a failed call to a version is repeated on other versions, one after another, within the same request.
//!
//! Envoy repeats the call. The filter only sends the conditions in Envoy's own retry headers and the clusters in the
//! `x-rollout-fallback` headers; the route chooses its cluster again on each retry.

use std::time::Duration;

use crate::header;

/// Most targets of a failover: the route has four entries, and the first is the version's own.
pub const MAX_TARGETS: usize = 3;

/// Where a failed call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// At most [`MAX_TARGETS`] targets, in the order in which they are tried.
    pub(crate) targets: Box<[Target]>,
    /// At most the number of targets.
    pub(crate) retries: usize,
    /// The request headers that make Envoy retry, except the number of retries.
    pub(crate) headers: Box<[(&'static str, Box<str>)]>,
    /// How long an attempt may take. `None` if there is no limit.
    pub(crate) timeout: Option<Duration>,
}

impl Failover {
    /// All targets, in the order in which they are tried.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }
}

/// A version that answers instead of the assigned one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Position of the version in its rollout.
    pub(crate) position: usize,
    pub(crate) to: Box<str>,
    pub(crate) cluster: Box<str>,
    /// `<from>><to>`.
    pub(crate) mark: Box<str>,
}

impl Target {
    /// Name of the version that answers instead.
    #[must_use]
    pub fn to(&self) -> &str {
        &self.to
    }

    /// Cluster of the version that answers instead.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Value of the response header `x-rollout-failover`.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.mark
    }
}

/// The targets that a request may go to, by position in the failover. At most as many as its retries.
pub(crate) type Chain = [bool; MAX_TARGETS];

/// The retry conditions of one document entry, in Envoy's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retry {
    /// For `x-envoy-retry-on`.
    pub(crate) http: Vec<&'static str>,
    /// For `x-envoy-retry-grpc-on`.
    pub(crate) grpc: Vec<&'static str>,
    pub(crate) status_codes: Vec<u16>,
    pub(crate) retries: usize,
    pub(crate) per_try_timeout: Option<Duration>,
}

/// The words of `x-envoy-retry-on` (Envoy 1.40, "Router / HTTP header manipulation").
pub(crate) const HTTP_CONDITIONS: [&str; 10] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    RATE_LIMITED,
    "retriable-4xx",
    "refused-stream",
    RETRIABLE_STATUS_CODES,
    "http3-post-connect-failure",
];

/// The words of `x-envoy-retry-grpc-on`.
pub(crate) const GRPC_CONDITIONS: [&str; 5] =
    ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"];

/// The word that makes Envoy repeat an answer that carries `x-envoy-ratelimited`.
pub(crate) const RATE_LIMITED: &str = "envoy-ratelimited";

/// The word that makes Envoy look at the list of status codes.
pub(crate) const RETRIABLE_STATUS_CODES: &str = "retriable-status-codes";

/// The request headers of a retry policy in the order in which [`Retry::headers`] fills them. The number of retries, which depends
/// on the request, is not one of them.
const CONDITION_HEADERS: [&str; 4] =
    [header::RETRY_ON, header::RETRY_GRPC_ON, header::RETRIABLE_STATUS_CODES, header::TIMEOUT];

/// True for the request headers of a retry policy. No version may set them.
pub(crate) fn is_retry_header(name: &str) -> bool {
    name == header::MAX_RETRIES || CONDITION_HEADERS.contains(&name)
}

impl Retry {
    /// The request headers that make Envoy retry, except the number of retries, with the time limit of an attempt.
    pub(crate) fn headers(&self, timeout: Option<Duration>) -> Box<[(&'static str, Box<str>)]> {
        let words = |words: &[&str]| Some(words.join(",")).filter(|_| !words.is_empty());
        let codes: Vec<String> = self.status_codes.iter().map(u16::to_string).collect();
        let values = [
            words(&self.http),
            words(&self.grpc),
            Some(codes.join(",")).filter(|_| !codes.is_empty()),
            timeout.map(|timeout| timeout.as_millis().to_string()),
        ];
        let headers = CONDITION_HEADERS.into_iter().zip(values);
        headers.filter_map(|(name, value)| Some((name, value?.into()))).collect()
    }
}
