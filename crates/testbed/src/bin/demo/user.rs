//! The users, and one request of a user with its answer.

use std::time::Instant;

/// Number of users.
pub(crate) const USERS: usize = 2_000;

/// A version's position: v1 is 0, v2 is 1.
pub(crate) type Version = usize;

/// The name by which a user is hashed.
pub(crate) fn name(user: usize) -> String {
    format!("user-{user}")
}

/// A request of a user and what came back.
pub(crate) struct Visit {
    pub(crate) user: usize,
    /// The row of the data set that the request is made of.
    pub(crate) row: usize,
    pub(crate) begun: Instant,
    /// `None` if the request failed.
    pub(crate) version: Option<Version>,
    pub(crate) failed_over: bool,
    pub(crate) words: String,
}
