//! What is specific to Envoy: its admin interface, its ECDS file, and the clusters that failover needs.

pub(crate) mod admin;
pub(crate) mod backstop;
pub(crate) mod ecds;
