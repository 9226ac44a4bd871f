//! All hashes: units into buckets, and secrets and cookies into plain or keyed digests.
//!
//! This is the lowest floor of the core: nothing here depends on a plan or a request.

pub(crate) mod bucket;
pub(crate) mod mac;
pub(crate) mod murmur3;
pub(crate) mod secret;
