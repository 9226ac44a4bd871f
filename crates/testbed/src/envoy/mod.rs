//! A real Envoy, started from the shipped `envoy/envoy.yaml` changed only where a test needs it: free
//! ports, its own clusters, its ECDS files in a private folder. It ends with its handle.

mod builder;
mod config;
mod filter;
mod process;
mod push;
mod running;

pub use builder::Builder;
pub use config::{Cluster, connection_manager, refuse_on_request, routes, set_shadow_filter};
pub use filter::{Filter, header_mutation, shadow_filter, wasm_filter};
pub use push::Outcome;
pub use running::Envoy;
