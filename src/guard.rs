//! Guardrails at work: what this worker has seen is merged with what all others have, and what was decided is read back.
//!
//! The data that workers share has few, fixed keys (`rollout/<format>/<plugin name>/<shelf>`) and one more whose every write says that
//! some latch is new. All of it is written by compare-and-swap, so nothing is lost or counted twice; what a core call returns is
//! acted on by the worker whose write succeeded.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use rollout_core::decision::Decision;
use rollout_core::guardrail::outcome::Outcome;
use rollout_core::guardrail::record::{Merged, Record, Setting};
use rollout_core::guardrail::shelf::{FORMAT, Label, Latch, Shelf};
use rollout_core::guardrail::verdict::Verdict;
use rollout_core::guardrail::worker::{Recorder, Ticket};
use rollout_core::guardrail::{Action, Guarded, Guardrails};
use rollout_core::health::{Health, State};
use rollout_core::plan::{Plan, Rollout};
use rollout_core::time::Time;

use crate::gauge::Gauges;
use crate::{host, metric};

/// How often a merge is tried before it waits for the next tick: others write in between only when they merge themselves.
const TRIES: usize = 16;

/// The guardrails of one plan in this worker.
pub(crate) struct Guard {
    /// What the keys of this plugin begin with.
    prefix: String,
    watches: Vec<Watch>,
    /// By version: its watch.
    by_version: Vec<Option<usize>>,
    pub(crate) health: RefCell<Health>,
    pub(crate) gauges: Gauges,
    /// The write of the latches' key that was seen last.
    seen: Cell<Option<u32>>,
    is_shown: Cell<bool>,
}

/// One rollout with guardrails.
struct Watch {
    /// Position in the plan.
    rollout: usize,
    recorder: RefCell<Recorder>,
}

/// A rollout under guardrails.
#[derive(Clone, Copy)]
struct Case<'p> {
    rollout: &'p Rollout,
    guardrails: &'p Guardrails,
}

impl Guard {
    /// What guards a plan, with the latches that are held already; reads shared data and writes none.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut watches = Vec::new();
        let mut by_version = vec![None; plan.versions()];
        for (position, rollout) in plan.rollouts().iter().enumerate() {
            let Some(guardrails) = rollout.guardrails() else { continue };
            for version in rollout.versions() {
                if let Some(watch) = by_version.get_mut(version.ordinal()) {
                    *watch = Some(watches.len());
                }
            }
            let recorder = Recorder::new(guardrails, rollout.stable().ordinal());
            watches.push(Watch { rollout: position, recorder: RefCell::new(recorder) });
        }
        let plugin = host::plugin_name().unwrap_or_default();
        let guard = Self {
            prefix: format!("rollout/{FORMAT}/{plugin}/"),
            watches,
            by_version,
            health: RefCell::default(),
            gauges: Gauges::new(plan),
            seen: Cell::default(),
            is_shown: Cell::default(),
        };
        guard.read_latches(plan);
        guard
    }

    /// A request begins; none where nobody counts what comes of it.
    pub(crate) fn begin(&self, decision: &Decision, now: Duration) -> Option<Ticket> {
        self.watch(decision)?.recorder.borrow_mut().begin(decision, now)
    }

    /// What came of a request. Failures in a row are merged before the tick, so that the fast signal is fast.
    pub(crate) fn record(&self, plan: &Plan, decision: &Decision, outcome: (Ticket, Outcome)) -> Ticket {
        let (ticket, outcome) = outcome;
        let Some((watch, guardrails)) = self.watch(decision).zip(decision.rollout.guardrails()) else {
            return ticket;
        };
        let ticket = watch.recorder.borrow_mut().record(guardrails, ticket, outcome);
        if outcome.failed {
            self.hurry(plan, watch, ticket);
        }
        ticket
    }

    /// A request that was recorded as fine has failed after its response headers.
    pub(crate) fn record_late_failure(&self, plan: &Plan, decision: &Decision, ticket: Ticket) {
        let Some((watch, guardrails)) = self.watch(decision).zip(decision.rollout.guardrails()) else {
            return;
        };
        watch.recorder.borrow_mut().record_late_failure(guardrails, ticket);
        self.hurry(plan, watch, ticket);
    }

    fn watch(&self, decision: &Decision) -> Option<&Watch> {
        self.watches.get((*self.by_version.get(decision.version.ordinal())?)?)
    }

    /// Merges at once where a quarter of what condemns a version is pending here: other workers have as much.
    fn hurry(&self, plan: &Plan, watch: &Watch, ticket: Ticket) {
        let Some(case) = Case::of(plan, watch) else { return };
        let Some(limit) = case.guardrails.consecutive_failures() else { return };
        let pending = watch.recorder.borrow().failures_in_a_row(ticket);
        if let Some((position, _)) = pending.filter(|(_, failures)| failures.saturating_mul(4) >= limit) {
            self.merge(case, watch, position);
        }
    }

    /// Merges all that is pending, and reads the latches where one is new.
    pub(crate) fn tick(&self, plan: &Plan) {
        self.flush(plan);
        for watch in &self.watches {
            watch.recorder.borrow_mut().age();
        }
        if !self.watches.is_empty() && host::shared(&self.latches()).1 != self.seen.get() {
            self.read_latches(plan);
        }
        if !self.is_shown.replace(true) {
            self.show(plan);
        }
    }

    /// Merges all that is pending.
    pub(crate) fn flush(&self, plan: &Plan) {
        for watch in &self.watches {
            let Some(case) = Case::of(plan, watch) else { continue };
            let dirty = watch.recorder.borrow().dirty();
            for position in dirty {
                self.merge(case, watch, position);
            }
        }
    }

    fn merge(&self, case: Case<'_>, watch: &Watch, position: usize) {
        let Some(guarded) = case.guardrails.guarded().get(position) else { return };
        let now = host::now();
        let setting = case.setting(guarded, &self.health.borrow(), now);
        let label = Label { identity: guarded.identity, epoch: guarded.epoch };
        let key = self.shelf(guarded);
        for _ in 0..TRIES {
            let (bytes, seen) = host::shared(&key);
            let mut shelf = Shelf::decode(&bytes.unwrap_or_default());
            let known = shelf.record(label).and_then(|bytes| Record::decode(case.guardrails, bytes));
            let mut record = known.unwrap_or_else(|| Record::new(case.guardrails, now));
            let merged = watch.recorder.borrow().merge_into(&mut record, position, &setting);
            let latch = case.latch(&merged, guarded, now);
            shelf.put(label, (record.encode(), latch), now.as_secs());
            if host::set_shared(&key, &shelf.encode(), seen) {
                watch.recorder.borrow_mut().merged(case.guardrails, position, &record);
                case.tell(guarded, &merged);
                if latch.is_some() {
                    host::touch_shared(&self.latches());
                    self.hold(case, guarded, shelf.latch(guarded.identity, case.guardrails.rearm()));
                }
                return;
            }
        }
    }

    /// Reads every latch of the plan's versions.
    fn read_latches(&self, plan: &Plan) {
        if self.watches.is_empty() {
            return;
        }
        self.seen.set(host::shared(&self.latches()).1);
        for case in self.watches.iter().filter_map(|watch| Case::of(plan, watch)) {
            for guarded in case.guardrails.guarded() {
                let (bytes, _) = host::shared(&self.shelf(guarded));
                let shelf = Shelf::decode(&bytes.unwrap_or_default());
                self.hold(case, guarded, shelf.latch(guarded.identity, case.guardrails.rearm()));
            }
        }
    }

    /// Does what a latch says.
    fn hold(&self, case: Case<'_>, guarded: &Guarded, latch: Option<Latch>) {
        let state = latch.map_or(State::Healthy, |latch| latch.state());
        let before = self.health.borrow().of(&guarded.version);
        self.health.borrow_mut().set(&guarded.version, state);
        if before != state && self.is_shown.get() {
            self.gauges.show_rolled_back(case.rollout, &guarded.version, state == State::RolledBack);
        }
    }

    /// What the gauges show.
    fn show(&self, plan: &Plan) {
        for case in self.watches.iter().filter_map(|watch| Case::of(plan, watch)) {
            for guarded in case.guardrails.guarded() {
                let is_rolled_back = self.health.borrow().of(&guarded.version) == State::RolledBack;
                self.gauges.show_rolled_back(case.rollout, &guarded.version, is_rolled_back);
            }
        }
    }

    fn shelf(&self, guarded: &Guarded) -> String {
        format!("{}{}", self.prefix, Shelf::number(guarded.identity))
    }

    fn latches(&self) -> String {
        format!("{}latches", self.prefix)
    }
}

impl<'p> Case<'p> {
    fn of(plan: &'p Plan, watch: &Watch) -> Option<Self> {
        let rollout = plan.rollouts().get(watch.rollout)?;
        Some(Self { rollout, guardrails: rollout.guardrails()? })
    }

    fn setting(self, guarded: &Guarded, health: &Health, now: Duration) -> Setting<'p> {
        let time = Time::from_seconds(now.as_secs());
        let (share, split) = self.rollout.drawn(&guarded.version, health, time);
        Setting { guardrails: self.guardrails, now, share, split }
    }

    /// The latch that verdicts set; sample ratios only warn, and a dry run sets none.
    fn latch(self, merged: &Merged, guarded: &Guarded, now: Duration) -> Option<Latch> {
        let time = Time::from_seconds(now.as_secs());
        let acts = |verdict: &Verdict| self.guardrails.action_of(verdict.position) != Action::Warn;
        let is_latched = !self.guardrails.is_dry_run() && merged.verdicts.iter().any(acts);
        is_latched.then(|| Latch {
            rearm: self.guardrails.rearm(),
            action: self.guardrails.action(),
            exposure: self.rollout.exposure(&guarded.version, time),
            at: now.as_secs(),
        })
    }

    /// Counts what was judged, and tells of every verdict in one line.
    fn tell(self, guarded: &Guarded, merged: &Merged) {
        let (rollout, version) = (self.rollout.name(), guarded.version.name());
        let name =
            |position: usize| self.guardrails.signals().get(position).map_or("", |signal| signal.name());
        for (position, observed, stable) in &merged.observed {
            metric::count_observations([rollout, version, name(*position), "version"], *observed);
            if let Some(stable) = stable {
                metric::count_observations([rollout, version, name(*position), "stable"], *stable);
            }
        }
        for verdict in &merged.verdicts {
            metric::count_trip([rollout, version, name(verdict.position)]);
            let done = match (self.guardrails.action_of(verdict.position), self.guardrails.is_dry_run()) {
                (Action::Rollback, false) => "rolled back",
                (Action::Rollback, true) => "would be rolled back (dry run)",
                (Action::Freeze, false) => "frozen",
                (Action::Freeze, true) => "would be frozen (dry run)",
                (Action::Warn, _) => "only warned of",
            };
            let (signal, finding) = (name(verdict.position), verdict.finding);
            log::warn!("rollout {rollout}: version {version} {done}, signal {signal}: {finding}");
        }
    }
}
