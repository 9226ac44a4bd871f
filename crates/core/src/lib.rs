//! The decision core of Rollout Filter: which version of a model serves a request, and why.
//!
//! The crate has two main functions. [`compile()`] turns the bytes of a document into a [`Plan`], or into all of its problems.
//! [`decide()`] turns a plan, a request and a time into a [`Decision`]:
//!
//! ```
//! use rollout_core::{Time, compile, decide};
//!
//! let document = br#"{"revision": 1, "rollouts": [{
//!     "name": "fraud-score", "unit": [{"header": "x-user-id"}], "salt": "fraud-2026-11", "stable": "v1",
//!     "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
//!     "strategy": {"canary": {"version": "v2", "percent": 50}}}]}"#;
//! let plan = compile(document).expect("the document has no problems").plan;
//!
//! let lines: [(&str, &[u8]); 2] = [(":path", b"/v2/models/fraud/infer"), ("x-user-id", b"alice")];
//! let decision = decide(&plan, &plan.request(lines, None), Time::from_seconds(0)).expect("the rollout matches every request");
//! assert_eq!(decision.bucket.map(|bucket| bucket.get()), Some(330_920));
//! assert_eq!(decision.version.cluster(), "fraud-v2");
//! ```
//!
//! The crate deliberately has no clock, no randomness, no file, no socket, no log line and no host trait. Values go in and
//! values come out, so the proxy and the tool can't disagree.

pub mod compare;
mod compile;
mod copy;
mod decide;
mod decision;
pub mod guardrail;
mod hash;
pub mod header;
mod health;
mod lease;
pub mod metric;
mod plan;
mod request;
mod time;

pub use compile::configuration::{Configuration, configuration};
pub use compile::problem::{Problem, Refused};
pub use compile::{Compiled, MAX_BYTES, compile};
pub use copy::{CopyAnswer, MAX_COPY_ANSWER};
pub use decide::{decide, decide_unit};
pub use decision::{Decision, Edit, Reason, request_edits};
pub use hash::bucket::{BUCKETS, Bucket, Ppm, Salt};
pub use health::{Health, Now, State};
pub use lease::{Ask, Given, Lease, Taken, lease};
pub use plan::Plan;
pub use plan::failover::{Failover, MAX_TARGETS, Target};
pub use plan::ramp::{Phase, Ramp};
pub use plan::rollout::{Expose, Frozen, Rollout};
pub use plan::shadow::{Copies, CopyResult, Limits, MAX_SHADOWS, Shadow, ShadowCopy};
pub use plan::version::Version;
pub use request::{MAX_ATTEMPTS, Nonce, Request};
pub use time::{NotATime, Time};
