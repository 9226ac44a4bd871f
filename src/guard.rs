//! Guardrails in a worker: merges what this worker has seen into shared data, and reads latches back. The core does the judging.
//!
//! Shared data has a fixed set of keys (`rollout/<format>/<plugin name>/<shelf>`) and one more key, which is written if
//! there is a new latch. Shelves are written by compare-and-swap, so nothing is lost or counted twice. Only the worker
//! whose write succeeded acts on the result of a merge.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rollout_core::guardrail::{
    FORMAT, Guarded, Guardrails, Latch, Merge, Outcome, PairTicket, Setting, Shelf, SplitMark, Ticket,
    Worker, merge,
};
use rollout_core::metric::{IS_WARMING_UP, IS_WITHHELD, TRIPS, WITHHELD};
use rollout_core::{Decision, Health, Plan, Rollout, Shadow, State, Time};

use crate::gauge::{Gauges, Series};
use crate::serving::Serving;
use crate::{host, metric};

/// How often a merge is tried before it waits for the next tick. A try fails only if another worker has merged in between.
const TRIES: usize = 16;

/// The guardrails of one plan in this worker.
pub(crate) struct Guard {
    plan: Rc<Plan>,
    /// The prefix of the keys of this plugin.
    prefix: String,
    watches: Vec<Watch>,
    /// The watch of each version, by ordinal.
    by_version: Vec<Option<usize>>,
    health: RefCell<Health>,
    gauges: Gauges,
    /// The last write of the latches' key that this worker has seen.
    seen: Cell<Option<u32>>,
    is_shown: Cell<bool>,
}

/// One rollout with guardrails.
struct Watch {
    /// Position in the plan.
    rollout: usize,
    worker: RefCell<Worker>,
    serving: Serving,
    /// The gauges of signals that were last set, by guarded version.
    waiting: Box<[Cell<Waiting>]>,
}

/// Bits of the signals of a version that wait.
#[derive(Clone, Copy, Default)]
struct Waiting {
    withheld: u16,
    warming_up: u16,
}

impl Waiting {
    fn of(setting: &Setting<'_>, merged: &Merge) -> Self {
        let warming_up = merged.record.warming_up(setting.guardrails, setting.now);
        Self { withheld: merged.record.withheld(), warming_up }
    }
}

/// A rollout under guardrails.
#[derive(Clone, Copy)]
struct Judged<'p> {
    rollout: &'p Rollout,
    guardrails: &'p Guardrails,
}

impl Guard {
    /// The guardrails of a plan, with the latches that are already in force. Reads shared data, and writes none.
    pub(crate) fn new(plan: &Rc<Plan>) -> Self {
        let prefix = format!("rollout/{FORMAT}/{}/", host::plugin_name().unwrap_or_default());
        let mut watches = Vec::new();
        let mut by_version = vec![None; plan.versions()];
        for (position, rollout) in plan.rollouts().iter().enumerate() {
            let Some(guardrails) = rollout.guardrails() else { continue };
            for version in rollout.versions() {
                if let Some(watch) = by_version.get_mut(version.ordinal()) {
                    *watch = Some(watches.len());
                }
            }
            let worker = RefCell::new(Worker::new(guardrails, rollout.stable().ordinal()));
            let serving = Serving::new(&format!("{prefix}{}", rollout.name()));
            let waiting = guardrails.guarded().iter().map(|_| Cell::default()).collect();
            watches.push(Watch { rollout: position, worker, serving, waiting });
        }
        let guard = Self {
            plan: Rc::clone(plan),
            prefix,
            watches,
            by_version,
            health: RefCell::default(),
            gauges: Gauges::new(plan),
            seen: Cell::default(),
            is_shown: Cell::default(),
        };
        guard.read_latches();
        guard.refresh_splits();
        guard
    }

    /// What guardrails have decided about the plan's versions.
    pub(crate) fn health(&self) -> Ref<'_, Health> {
        self.health.borrow()
    }

    /// The gauges of the plan.
    pub(crate) fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Starts tracking a request. `None` if its outcome is not counted.
    pub(crate) fn begin(&self, decision: &Decision, now: Duration) -> Option<Ticket> {
        let watch = self.watch(decision)?;
        let split = self.split(watch, now);
        watch.worker.borrow_mut().begin(decision, now, split)
    }

    /// Records the outcome of a request.
    pub(crate) fn record(
        &self,
        decision: &Decision,
        ticket: Ticket,
        outcome: Outcome,
        now: Duration,
    ) -> Option<Ticket> {
        let (watch, guardrails) = self.watch(decision).zip(decision.rollout.guardrails())?;
        Some(watch.worker.borrow_mut().record(guardrails, ticket, outcome, now))
    }

    /// Records that a request failed after its response headers.
    pub(crate) fn record_late_failure(&self, decision: &Decision, ticket: &Ticket, now: Duration) {
        if let Some((watch, guardrails)) = self.watch(decision).zip(decision.rollout.guardrails()) {
            watch.worker.borrow_mut().record_late_failure(guardrails, ticket, now);
        }
    }

    /// Starts tracking a pair: a request and its copy to a shadow. `None` if no signal judges its comparison. Call it for pairs
    /// that will be compared if all goes well, when the request is decided.
    pub(crate) fn begin_pair(
        &self,
        decision: &Decision,
        shadow: &Shadow,
        now: Duration,
    ) -> Option<PairTicket> {
        self.watch(decision)?.worker.borrow_mut().begin_pair(decision, shadow, now)
    }

    /// Records a pair whose answers were compared, however late that is. A pair that ends in another way is not recorded.
    pub(crate) fn compared(&self, ticket: &PairTicket, is_mismatch: bool) {
        let watch = self.by_version.get(ticket.version()).copied().flatten();
        let Some(watch) = watch.and_then(|watch| self.watches.get(watch)) else { return };
        let Some(judged) = self.judged(watch) else { return };
        watch.worker.borrow_mut().record_pair(judged.guardrails, ticket, is_mismatch);
    }

    /// Stops tracking a request whose end says nothing about its version.
    pub(crate) fn forget(&self, decision: &Decision, ticket: &Ticket) {
        if let Some(watch) = self.watch(decision) {
            watch.worker.borrow_mut().forget(ticket);
        }
    }

    fn watch(&self, decision: &Decision) -> Option<&Watch> {
        self.watches.get((*self.by_version.get(decision.version.ordinal())?)?)
    }

    /// The split of a rollout in this plan.
    fn split(&self, watch: &Watch, now: Duration) -> SplitMark {
        let time = Time::from_seconds(now.as_secs());
        watch.serving.own(now.as_secs(), || match self.plan.rollouts().get(watch.rollout) {
            Some(rollout) => SplitMark::of(rollout, &self.health.borrow(), time),
            None => SplitMark::default(),
        })
    }

    fn refresh_splits(&self) {
        let now = host::now();
        for watch in &self.watches {
            self.split(watch, now);
        }
    }

    /// Merges all that is pending, and reads the latches if one is new.
    pub(crate) fn tick(&self) {
        if self.watches.is_empty() {
            return;
        }
        self.refresh_splits();
        self.flush();
        if host::shared(&self.latches()).1 != self.seen.get() {
            self.read_latches();
        }
        if !self.is_shown.replace(true) {
            self.show();
        }
    }

    /// Merges all that is pending.
    pub(crate) fn flush(&self) {
        for watch in &self.watches {
            let Some(judged) = self.judged(watch) else { continue };
            let dirty = watch.worker.borrow().dirty();
            for position in dirty {
                self.merge(judged, watch, position);
            }
        }
    }

    fn merge(&self, judged: Judged<'_>, watch: &Watch, position: usize) {
        let now = host::now();
        self.split(watch, now);
        let setting = Setting::of(judged.rollout, position, &self.health.borrow(), now);
        let Some(setting) = setting.map(|setting| setting.replaced_by(watch.serving.now())) else { return };
        let key = self.shelf(setting.guarded);
        for _ in 0..TRIES {
            let (bytes, seen) = host::shared(&key);
            let merged = merge(&bytes.unwrap_or_default(), &watch.worker.borrow(), position, &setting);
            if !host::set_shared(&key, &merged.bytes, seen) {
                continue;
            }
            watch.worker.borrow_mut().merged(judged.guardrails, position, &merged.record, &merged.feedback);
            judged.tell(&setting, &merged);
            if let Some(shown) = watch.waiting.get(position) {
                let before = shown.replace(Waiting::of(&setting, &merged));
                self.show_waiting(judged.rollout, &setting, before, shown.get());
            }
            if merged.is_latched_now {
                host::touch_shared(&self.latches());
                self.hold(watch, setting.guarded, merged.latch);
            }
            return;
        }
    }

    /// Reads the latches of the plan's versions.
    fn read_latches(&self) {
        if self.watches.is_empty() {
            return;
        }
        self.seen.set(host::shared(&self.latches()).1);
        for watch in &self.watches {
            let Some(judged) = self.judged(watch) else { continue };
            for guarded in judged.guardrails.guarded() {
                let (bytes, _) = host::shared(&self.shelf(guarded));
                let shelf = Shelf::decode(&bytes.unwrap_or_default());
                self.hold(watch, guarded, shelf.latch(guarded.identity, judged.guardrails.rearm()));
            }
        }
    }

    /// Applies a latch to the health of its version.
    fn hold(&self, watch: &Watch, guarded: &Guarded, latch: Option<Latch>) {
        let state = latch.map_or(State::Healthy, |latch| latch.state());
        let before = self.health.borrow().of(&guarded.version);
        if before == state {
            return;
        }
        self.health.borrow_mut().set(&guarded.version, state);
        watch.serving.forget();
        if let Some(judged) = self.judged(watch).filter(|_| self.is_shown.get()) {
            self.gauges.show_rolled_back(judged.rollout, &guarded.version, state == State::RolledBack);
        }
    }

    /// Sets the gauges of signals that wait, or that waited before.
    fn show_waiting(&self, rollout: &Rollout, setting: &Setting<'_>, before: Waiting, now: Waiting) {
        for (place, signal) in setting.guardrails.signals().iter().enumerate() {
            let series = Series { rollout, version: &setting.guarded.version, signal: Some(signal.name()) };
            for (family, before, now) in [
                (IS_WITHHELD, before.withheld, now.withheld),
                (IS_WARMING_UP, before.warming_up, now.warming_up),
            ] {
                let [before, now] = [before, now].map(|bits| bits >> place & 1);
                if before | now != 0 {
                    self.gauges.show(family, series, now.into());
                }
            }
        }
    }

    /// Sets the gauges of all judged versions.
    fn show(&self) {
        for judged in self.watches.iter().filter_map(|watch| self.judged(watch)) {
            for guarded in judged.guardrails.guarded() {
                let is_rolled_back = self.health.borrow().of(&guarded.version) == State::RolledBack;
                self.gauges.show_rolled_back(judged.rollout, &guarded.version, is_rolled_back);
            }
        }
    }

    fn judged(&self, watch: &Watch) -> Option<Judged<'_>> {
        let rollout = self.plan.rollouts().get(watch.rollout)?;
        Some(Judged { rollout, guardrails: rollout.guardrails()? })
    }

    fn shelf(&self, guarded: &Guarded) -> String {
        format!("{}{}", self.prefix, Shelf::number(guarded.identity))
    }

    fn latches(&self) -> String {
        format!("{}latches", self.prefix)
    }
}

impl Judged<'_> {
    /// Counts what was judged, and logs one line per verdict.
    fn tell(self, setting: &Setting<'_>, merged: &Merge) {
        let (rollout, version) = (self.rollout.name(), setting.guarded.version.name());
        let name =
            |position: usize| self.guardrails.signals().get(position).map_or("", |signal| signal.name());
        for of in &merged.observed {
            for (side, tally) in [("version", of.sides.version), ("stable", of.sides.stable)] {
                metric::count_observations([rollout, version, name(of.position), side], tally);
            }
        }
        for verdict in &merged.verdicts {
            metric::count_verdict(TRIPS, [rollout, version, name(verdict.position)]);
            log::warn!("rollout {rollout}: {}", verdict.line(setting));
        }
        for withheld in &merged.withheld {
            if withheld.is_new {
                metric::count_verdict(WITHHELD, [rollout, version, name(withheld.verdict.position)]);
            }
            if withheld.is_due {
                log::warn!("rollout {rollout}: {}", withheld.verdict.withheld_line(setting));
            }
        }
    }
}
