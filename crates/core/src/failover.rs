//! Failover: a failed call to a version is repeated on another one inside the same request.
//!
//! Envoy does the work. The filter names the conditions in Envoy's own retry headers and the next cluster in
//! `x-rollout-fallback`; the route refreshes its cluster on retry.

/// Where a failed call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// Position of the target in its rollout.
    pub(crate) position: usize,
    pub(crate) to: Box<str>,
    pub(crate) cluster: Box<str>,
    /// `<from>><to>`.
    pub(crate) mark: Box<str>,
    /// The request headers that make Envoy retry.
    pub(crate) headers: Box<[(&'static str, Box<str>)]>,
}

impl Failover {
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

/// The retry conditions of one document entry, in Envoy's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retry {
    /// For `x-envoy-retry-on`.
    pub(crate) http: Vec<&'static str>,
    /// For `x-envoy-retry-grpc-on`.
    pub(crate) grpc: Vec<&'static str>,
    pub(crate) status_codes: Vec<u16>,
    pub(crate) retries: u8,
    pub(crate) per_try_timeout_ms: Option<u64>,
}

/// The words of `x-envoy-retry-on` (Envoy 1.40, "Router / HTTP header manipulation").
pub(crate) const HTTP_CONDITIONS: [&str; 11] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    RETRIABLE_STATUS_CODES,
    "retriable-headers",
    "http3-post-connect-failure",
];

/// The words of `x-envoy-retry-grpc-on`.
pub(crate) const GRPC_CONDITIONS: [&str; 5] =
    ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"];

/// The word that makes Envoy look at the list of status codes.
pub(crate) const RETRIABLE_STATUS_CODES: &str = "retriable-status-codes";

/// The request headers of a retry policy, in the order in which [`Retry::headers`] fills them; no version may set them itself.
pub(crate) const RETRY_HEADERS: [&str; 5] = [
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-upstream-rq-per-try-timeout-ms",
];

impl Retry {
    /// The request headers that make Envoy retry so; absent ones would leave room for what a client sent.
    pub(crate) fn headers(&self) -> Box<[(&'static str, Box<str>)]> {
        let words = |words: &[&str]| Some(words.join(",")).filter(|_| !words.is_empty());
        let codes: Vec<String> = self.status_codes.iter().map(u16::to_string).collect();
        let values = [
            words(&self.http),
            words(&self.grpc),
            Some(self.retries.to_string()),
            Some(codes.join(",")).filter(|_| !codes.is_empty()),
            self.per_try_timeout_ms.map(|timeout| timeout.to_string()),
        ];
        let headers = RETRY_HEADERS.into_iter().zip(values);
        headers.filter_map(|(name, value)| Some((name, value?.into()))).collect()
    }
}
