//! Merges what a worker has recorded into what all workers of the proxy share, judges it, and sets a latch if a
//! verdict asks for one.
//!
//! It turns bytes into bytes. The caller reads a shelf, merges, and writes the result back if the shelf has not changed
//! meanwhile; otherwise it starts again with the new bytes. Only the worker whose write succeeded acts on the result, so
//! each verdict has its effect once.

use super::record::{Feedback, Observed, SharedRecord, Withheld};
use super::setting::Setting;
use super::shelf::{Label, Latch, Shelf};
use super::verdict::Verdict;
use super::worker::Worker;
use crate::plan::guardrails::Action;

/// The result of a merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Merge {
    /// The shelf to write.
    pub bytes: Vec<u8>,
    /// The record of the version on that shelf.
    pub record: SharedRecord,
    /// Signals that condemn the version, each for the first time in this epoch.
    pub verdicts: Vec<Verdict>,
    /// What each signal got to judge.
    pub observed: Vec<Observed>,
    /// Verdicts that are withheld, because stable is as bad.
    pub withheld: Vec<Withheld>,
    /// What else the worker learns.
    pub feedback: Feedback,
    /// The latch on the version that is in force.
    pub latch: Option<Latch>,
    /// True if this merge has set a latch.
    pub is_latched_now: bool,
}

/// Merges what `worker` has recorded about the guarded version at `position` into a shelf. Bytes that are not a shelf count as an
/// empty one.
#[must_use]
pub fn merge(shelf: &[u8], worker: &Worker, position: usize, setting: &Setting<'_>) -> Merge {
    let mut shelf = Shelf::decode(shelf);
    let label = Label { identity: setting.guarded.identity, epoch: setting.guarded.epoch };
    let known = shelf.record(label).and_then(|bytes| SharedRecord::decode(setting.guardrails, bytes));
    let mut record = known.unwrap_or_else(|| SharedRecord::new(setting.guardrails, setting.now));
    if let Some(first) = shelf.records(label.identity).filter_map(SharedRecord::first_ms_in).min() {
        record.began(first);
    }
    let found = worker.pending(position).map(|pending| record.merge(pending, setting)).unwrap_or_default();
    let latch = latched(&found.verdicts, setting);
    shelf.put(label, record.encode(), latch, setting.now.as_secs());
    Merge {
        bytes: shelf.encode(),
        record,
        verdicts: found.verdicts,
        observed: found.observed,
        withheld: found.withheld,
        feedback: found.feedback,
        latch: shelf.latch(label.identity, setting.guardrails.rearm()),
        is_latched_now: latch.is_some(),
    }
}

/// The latch that verdicts set. Some signals only warn, and a dry run sets none.
fn latched(verdicts: &[Verdict], setting: &Setting<'_>) -> Option<Latch> {
    let guardrails = setting.guardrails;
    let acts = |verdict: &Verdict| guardrails.action_on(setting.guarded, verdict.position) != Action::Warn;
    let is_latched = !guardrails.is_dry_run() && verdicts.iter().any(acts);
    is_latched.then(|| Latch {
        rearm: guardrails.rearm(),
        action: guardrails.action(),
        exposure: setting.exposure,
        at: setting.now.as_secs(),
    })
}
