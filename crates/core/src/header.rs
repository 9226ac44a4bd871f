//! Names of the headers that the filter owns. Clients are never believed in any of them, except the three that `trust_hop` names.

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
