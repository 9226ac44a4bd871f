//! The decision core of Rollout Filter: which version of a model serves a request, and why.
//!
//! Two functions carry the crate. [`compile`](compile::compile) turns the bytes of a document into a [`plan::Plan`], or into
//! every problem that it has; [`decide`](decide::decide) turns a plan, a request and a moment into a [`decision::Decision`]:
//!
//! ```
//! use rollout_core::{compile::compile, decide::decide, request::Request, time::Time};
//!
//! let document = br#"{"revision": 1, "rollouts": [{
//!     "name": "fraud-score", "unit": [{"header": "x-user-id"}], "salt": "fraud-2026-11", "stable": "v1",
//!     "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
//!     "strategy": {"canary": {"version": "v2", "percent": 50}}}]}"#;
//! let plan = compile(document).expect("the document has no problems").plan;
//!
//! let lines: [(&str, &[u8]); 2] = [(":path", b"/v2/models/fraud/infer"), ("x-user-id", b"alice")];
//! let decision = decide(&plan, &Request::new(&plan, lines, None), Time::from_seconds(0)).expect("the rollout matches every request");
//! assert_eq!(decision.bucket.map(|bucket| bucket.get()), Some(330_920));
//! assert_eq!(decision.version.cluster(), "fraud-v2");
//! ```
//!
//! What is deliberately absent: no clock, no randomness, no file, no socket, no log line and no host trait. Values go in and
//! values come out, so the proxy and the tool can't disagree.

pub mod compile;
pub mod decide;
pub mod decision;
pub mod guardrail;
pub mod hash;
pub mod health;
pub mod metric;
pub mod plan;
pub mod request;
pub mod time;

pub use compile::problem;
pub use hash::bucket;
pub use plan::{failover, ramp, shadow, unit};
