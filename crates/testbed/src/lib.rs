//! A real Envoy and its surroundings on loopback, for the tests, the benchmarks and the demo of this workspace.
//!
//! Everything here is synchronous to its caller: one tokio runtime of this crate does the work, so a test is a plain
//! `#[test]` function. Everything binds to 127.0.0.1 and ends with the handle that started it. If something
//! can't be set up, the testbed panics with the reason. What a test may want to check (an answer, a rejected document) is a value.
#![warn(missing_docs)]

pub mod answer;
pub mod client;
pub mod envoy;
pub mod grpc;
pub mod guest;
pub mod load;
pub mod module;
mod runtime;
pub mod time;
pub mod upstream;
mod yaml;

pub use client::{Client, Failure, Request, Response};
pub use envoy::{Cluster, Envoy};
pub use load::Load;
pub use time::{CLOCK, PATIENCE, Pulse};
pub use upstream::{Behaviour, Upstream};
pub use yaml::yaml;
