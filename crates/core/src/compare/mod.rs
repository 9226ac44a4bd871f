//! Compares the answer of a copy with the live one: what differs, where, and how.
//!
//! The front is [`compare()`] (`answer`). JSON is walked side by side (`walk`, over `cursor`), with numbers as decimals (`number`),
//! strings by their characters (`text`) and arrays without order as multisets (`unordered`). Differences are collected in
//! `report`. The rules are in `plan::compare`. Answers arrive in pieces (`side`) and wait for each other in a table (`table`) until their
//! pair has a result (`pair`), which is counted by field (`field`) and logged (`line`). Whatever a model answers, nothing here panics, memory is linear in the bodies, and
//! work is bounded.

mod answer;
mod cursor;
mod difference;
mod field;
mod head;
mod index;
mod line;
mod number;
mod pair;
mod report;
mod side;
mod table;
mod text;
mod unordered;
mod walk;
mod word;

pub use crate::plan::compare::{Compare, JsonRules, Pattern};
pub use crate::plan::decimal::Decimal;
pub use answer::{Answer, compare};
pub use difference::{Difference, Kind, MAX_DIFFERENCES, label};
pub use field::{Fields, Room};
pub use head::Head;
pub use line::line;
pub use pair::PairResult;
pub use table::{Ended, Origin, PairId, Pairs};
