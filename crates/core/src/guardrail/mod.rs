//! Guardrails: what says that a new version is worse than the stable one, and when that is certain enough to act on.
//!
//! The parts here are statistics and nothing else: no clock, no host, no document. Each can be written into shared data and
//! read back, and each says which guarantee it holds and whose theorem that is.

#![cfg_attr(
    not(test),
    allow(dead_code, reason = "the record that writes these states into shared data comes next")
)]

mod buckets;
mod codec;
#[cfg(test)]
mod dice;
pub mod evidence;
pub mod ratio;
pub mod sequential;
pub mod sketch;
pub mod tally;
