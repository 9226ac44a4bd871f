//! Everything that is hashed: units into buckets, and secrets and cookies into keyed or plain digests.
//!
//! The lowest floor of the core: nothing here knows what a plan or a request is.

pub(crate) mod bucket;
pub(crate) mod mac;
pub(crate) mod murmur3;
pub(crate) mod secret;
