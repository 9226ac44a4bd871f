//! What is specific to Envoy: its admin interface, its ECDS file, and the clusters that failover and shadows need.

pub(crate) mod admin;
pub(crate) mod backstop;
pub(crate) mod copies;
pub(crate) mod ecds;
