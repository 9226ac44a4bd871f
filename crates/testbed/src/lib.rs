//! The real Envoy and its surroundings on loopback: what tests, benchmarks and the demo of this workspace stand on.
//!
//! Everything here is synchronous to its caller: one tokio runtime of this crate does the work, so a test is a plain
//! `#[test]` function. Everything binds to 127.0.0.1 and ends with the handle that started it. What can't be set up
//! panics and says why; what a test may want to judge (an answer, a refused document) is a value.
#![warn(missing_docs)]

pub mod client;
pub mod envoy;
pub mod grpc;
pub mod guest;
pub mod load;
pub mod module;
mod runtime;
pub mod upstream;

pub use client::{Client, Failure, Request, Response};
pub use envoy::{Cluster, Envoy};
pub use load::Load;
pub use upstream::{Behaviour, Upstream};

/// A YAML file's one document as a JSON value; panics where it is none.
pub fn yaml(text: &str) -> serde_json::Value {
    serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("not YAML: {error}"))
}
