//! Failover: a failed call to a version is repeated on another one inside the same request.
//!
//! Envoy does the work. The filter names the conditions in Envoy's own retry headers and the next cluster in
//! `x-rollout-fallback`; the route refreshes its cluster on retry.

/// Where a failed call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    pub(crate) to: Box<str>,
    pub(crate) cluster: Box<str>,
    /// `<from>><to>`.
    pub(crate) mark: Box<str>,
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

impl Retry {
    /// The request headers that make Envoy retry so; absent ones would leave room for what a client sent.
    pub(crate) fn headers(&self) -> Vec<(&'static str, Box<str>)> {
        let mut headers: Vec<(&'static str, Box<str>)> = Vec::new();
        if !self.http.is_empty() {
            headers.push(("x-envoy-retry-on", self.http.join(",").into()));
        }
        if !self.grpc.is_empty() {
            headers.push(("x-envoy-retry-grpc-on", self.grpc.join(",").into()));
        }
        headers.push(("x-envoy-max-retries", self.retries.to_string().into()));
        if !self.status_codes.is_empty() {
            let codes: Vec<String> = self.status_codes.iter().map(u16::to_string).collect();
            headers.push(("x-envoy-retriable-status-codes", codes.join(",").into()));
        }
        if let Some(timeout) = self.per_try_timeout_ms {
            headers.push(("x-envoy-upstream-rq-per-try-timeout-ms", timeout.to_string().into()));
        }
        headers
    }
}
