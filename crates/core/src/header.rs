//! Names of the headers that the filter owns, and of those by which it tells Envoy's router when to repeat a call.
//!
//! What a client sends in the filter's own is never believed, except in the three headers that `trust_hop` names. The router's
//! are obeyed if Envoy leaves them to a caller, and `failover` and `timeout` replace them.

/// The prefix of all these headers.
pub const PREFIX: &str = "x-rollout-";
/// Cluster of the assigned version.
pub const CLUSTER: &str = "x-rollout-cluster";
/// Clusters of the failover targets, the last one repeated. Without a target, the first header has the value of [`CLUSTER`]. The
/// others are set only if more than one retry is possible.
pub const FALLBACKS: [&str; 3] = ["x-rollout-fallback", "x-rollout-fallback-2", "x-rollout-fallback-3"];
/// Where the chain of clusters starts: always `0`.
pub const PICK: &str = "x-rollout-pick";
/// Clusters of the sampled shadows.
pub const SHADOWS: [&str; 3] = ["x-rollout-shadow-1", "x-rollout-shadow-2", "x-rollout-shadow-3"];
/// Marks a copy. The route sets it.
pub const SHADOW: &str = "x-rollout-shadow";
/// Names the pair of a copy whose answer is compared. The copy loses it before it is sent.
pub const PAIR: &str = "x-rollout-pair";
/// `<rollout>=<version>`, on requests, and on responses if the rollout exposes it.
pub const ASSIGNMENT: &str = "x-rollout-assignment";
/// The host that the assigned version asks for. The route applies it.
pub const HOST: &str = "x-rollout-host";
/// The feature set of a request.
pub const FEATURE_SET: &str = "x-rollout-feature-set";
/// `<from>><to>` on a failed-over response.
pub const FAILOVER: &str = "x-rollout-failover";
/// The reason of the decision, on responses of a rollout that exposes debug.
pub const REASON: &str = "x-rollout-reason";
/// The bucket, on responses of a rollout that exposes debug.
pub const BUCKET: &str = "x-rollout-bucket";
/// The revision of the document, on responses of a rollout that exposes debug.
pub const REVISION: &str = "x-rollout-revision";

/// The prefix of the headers of Envoy's router.
pub(crate) const ENVOY_PREFIX: &str = "x-envoy-";
/// Conditions under which Envoy repeats a call.
pub(crate) const RETRY_ON: &str = "x-envoy-retry-on";
/// Conditions of gRPC under which Envoy repeats a call.
pub(crate) const RETRY_GRPC_ON: &str = "x-envoy-retry-grpc-on";
/// Statuses that Envoy repeats, if a condition says so.
pub(crate) const RETRIABLE_STATUS_CODES: &str = "x-envoy-retriable-status-codes";
/// How often Envoy repeats a call.
pub(crate) const MAX_RETRIES: &str = "x-envoy-max-retries";
/// The time limit of an attempt, in milliseconds. Envoy obeys it without retries too.
pub(crate) const TIMEOUT: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
