//! Compares the answer of a copy with the live one: what differs, where, and how.
//!
//! The front is [`compare()`] (`answer`). JSON is walked side by side (`walk`, over `cursor`), with numbers as decimals (`number`),
//! strings by their characters (`text`) and arrays without order as multisets (`unordered`). Differences are collected in
//! `report`. The rules are in `plan::compare`. Whatever a model answers, nothing here panics, memory is linear in the bodies, and
//! work is bounded.

mod answer;
mod cursor;
mod difference;
mod index;
mod number;
mod report;
mod text;
mod unordered;
mod walk;
mod word;

pub use crate::plan::compare::{Compare, JsonRules, Pattern};
pub use crate::plan::decimal::Decimal;
pub use answer::{Answer, compare};
pub use difference::{Difference, Kind, MAX_DIFFERENCES, label};
