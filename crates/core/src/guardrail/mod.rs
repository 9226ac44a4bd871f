//! Guardrails at work: outcomes of requests are counted, compared and judged. The rules are in `plan::guardrails`.
//!
//! Each worker records outcomes (`worker`) and merges them (`merge`) into a record that all workers share (`record`). In
//! the record, outcomes become evidence (`evidence`). The signals judge it (`judge`): shares over a sliding window
//! (`window`), or the version against stable with an always-valid test (`sequential`). Mismatches of a
//! shadow (`mismatch`) are judged likewise, by a share or a test. Failures in a row (`streak`) and
//! sample ratios (`sample_ratio`) are judged in the record itself. A verdict is latched on the shelf of the record
//! (`shelf`). Several proxies are judged together (`fleet`) with each as a stratum (`strata`). Reports give shares with an interval
//! (`proportion`). Time is always an argument, and nothing here does I/O.

mod claim;
mod codec;
#[cfg(test)]
mod dice;
mod evidence;
mod fleet;
mod gamma;
mod judge;
mod measure;
mod merge;
mod mismatch;
mod outcome;
mod pending;
mod proportion;
mod record;
mod sample_ratio;
mod sequential;
mod setting;
mod share;
mod shelf;
mod sketch;
mod spacing;
mod strata;
mod streak;
mod tally;
mod verdict;
mod window;
mod worker;

pub use crate::plan::guardrails::{
    Action, Guarded, Guardrails, HeaderRule, Limit, MAX_SIGNALS, Measure, NullHypothesis, Rule, Signal,
    Statuses,
};
pub use evidence::{Evidence, Observation};
pub use fleet::FleetJudge;
pub use merge::{Merge, merge};
pub use mismatch::PairTicket;
pub use outcome::{
    Call, End, Ending, Outcome, Response, classify, classify_without_response, is_break_flag,
    is_failure_status, is_repeated, needs_flags,
};
pub use proportion::Interval;
pub use record::{Feedback, Observed, SharedRecord, Withheld};
pub use sequential::SequentialTest;
pub use setting::{Setting, SplitMark, gives_stable};
pub use shelf::{FORMAT, Label, Latch, SHELVES, Shelf};
pub use strata::StratifiedTest;
pub use tally::{Bases, Basis, Side, Sides, Tally};
pub use verdict::{Finding, Verdict};
pub use worker::{Ticket, Worker};
