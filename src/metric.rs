//! Counts and durations in the VM's own memory, which are written to the host on each tick.
//!
//! On the request path a count is one addition, and the name of a series is built only at its first use. The names
//! are in the core.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rollout_core::compare::PairResult;
use rollout_core::guardrail::{Outcome, Tally};
use rollout_core::metric::{self, Family};
use rollout_core::{CopyResult, MAX_TARGETS, Plan, Reason, Rollout, Target, Version};

use crate::host;

/// Most series of a VM. The limit protects Envoy's memory, because Envoy never removes a series.
const MAX_SERIES: usize = 10_000;

/// Most durations that wait for the tick. The limit protects memory, and bounds how long writing them takes.
const MAX_WAITING: usize = 256;

thread_local! {
    /// Ids of the series that this VM has defined, sorted by name. Like the series, they outlive a plan.
    static SERIES: RefCell<Vec<(String, u32)>> = RefCell::default();
}

/// The position of a series among the known ones, or the position to insert it.
fn find(known: &[(String, u32)], name: &str) -> Result<usize, usize> {
    known.binary_search_by(|(of, _)| of.as_str().cmp(name))
}

/// The id of a series, if this VM has defined it.
pub(crate) fn known(name: &str) -> Option<u32> {
    SERIES.with_borrow(|known| known.get(find(known, name).ok()?).map(|(_, id)| *id))
}

/// The id of a series, defined at its first use. Beyond the limit, it is the series whose labels are `other`.
pub(crate) fn series(family: Family, labels: &[&str], define: fn(&str) -> Option<u32>) -> Option<u32> {
    SERIES.with_borrow_mut(|known| {
        let mut name = family.series(labels);
        let mut found = find(known, &name);
        if found.is_err() && known.len() >= MAX_SERIES {
            name = family.series(&[]);
            found = find(known, &name);
        }
        match found {
            Ok(position) => known.get(position).map(|(_, id)| *id),
            Err(position) => {
                let id = define(&name)?;
                known.insert(position, (name, id));
                Some(id)
            }
        }
    })
}

/// An event that is counted for a version.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    Request(Reason),
    Failure,
    Abandoned,
    Retry,
    /// Failover to the target at this position.
    Failover(usize),
    Copy(CopyResult),
    Pair(PairResult),
    Unacceptable,
}

impl Event {
    const COUNT: usize = Self::FAILOVERS + MAX_TARGETS;
    const COPIES: usize = Reason::COUNT + 4;
    const PAIRS: usize = Self::COPIES + CopyResult::COUNT;
    const FAILOVERS: usize = Self::PAIRS + PairResult::COUNT;

    /// The event of an outcome. `None` if it is a success.
    pub(crate) fn of(outcome: Outcome) -> Option<Self> {
        if outcome.is_abandoned() {
            return Some(Self::Abandoned);
        }
        outcome.failed().then_some(Self::Failure)
    }

    fn index(self) -> usize {
        match self {
            Self::Request(reason) => reason.index(),
            Self::Failure => Reason::COUNT,
            Self::Unacceptable => Reason::COUNT + 1,
            Self::Abandoned => Reason::COUNT + 2,
            Self::Retry => Reason::COUNT + 3,
            Self::Copy(result) => Self::COPIES.saturating_add(result.index()),
            Self::Pair(result) => Self::PAIRS.saturating_add(result.index()),
            Self::Failover(place) => Self::FAILOVERS.saturating_add(place),
        }
    }
}

/// What took its time.
#[derive(Clone, Copy)]
pub(crate) enum Took {
    Request,
    Copy,
}

impl Took {
    const COUNT: usize = 2;
}

/// A counter of one version: what is not written to the host yet, and the id of its series.
#[derive(Default)]
struct Counter {
    pending: Cell<u32>,
    id: Cell<Option<u32>>,
}

/// The counters of one plan.
pub(crate) struct Metrics {
    plan: Rc<Plan>,
    /// By version and event. The last row is for requests that matched no rollout.
    counters: Vec<[Counter; Event::COUNT]>,
    /// Histograms by version and kind.
    durations: Vec<[Cell<Option<u32>>; Took::COUNT]>,
    /// Versions with the milliseconds that they took, which are not written yet: a call of the host costs less on the tick than inside a
    /// request.
    waiting: RefCell<Vec<(usize, Took, u64)>>,
    /// Counters with something pending.
    dirty: RefCell<Vec<(usize, Event)>>,
}

impl Metrics {
    pub(crate) fn new(plan: &Rc<Plan>) -> Self {
        let metrics = Self {
            plan: Rc::clone(plan),
            counters: (0..=plan.versions()).map(|_| std::array::from_fn(|_| Counter::default())).collect(),
            durations: (0..plan.versions()).map(|_| Default::default()).collect(),
            waiting: RefCell::default(),
            dirty: RefCell::default(),
        };
        metrics.define_pairs();
        metrics
    }

    /// Defines the series of compared copies at once. Envoy forgets a series with the last VM that has it, and this way those of an
    /// upgraded module go on, so that the copies that are sent stay the sum of the results.
    fn define_pairs(&self) {
        let results = PairResult::ALL.into_iter().map(Event::Pair);
        let events: Vec<Event> = results.chain([Event::Copy(CopyResult::Sent)]).collect();
        let shadows = self.plan.rollouts().iter().flat_map(|rollout| rollout.shadows());
        for shadow in shadows.filter(|shadow| shadow.compare().is_some()) {
            let Some(row) = self.counters.get(shadow.version.ordinal()) else { continue };
            for event in &events {
                if let Some(counter) = row.get(event.index()) {
                    counter.id.set(define(&self.plan, shadow.version.ordinal(), *event));
                }
            }
        }
    }

    /// Counts one event of a version. `None` is for requests that matched no rollout.
    pub(crate) fn count(&self, version: Option<&Version>, event: Event) {
        self.add(version, event, 1);
    }

    /// Counts the attempts of a request beyond the first.
    pub(crate) fn count_retries(&self, version: &Version, attempts: u64) {
        let retries = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        if retries > 0 {
            self.add(Some(version), Event::Retry, retries);
        }
    }

    fn add(&self, version: Option<&Version>, event: Event, count: u32) {
        let row = version.map_or(self.durations.len(), Version::ordinal);
        let Some(counter) = self.counters.get(row).and_then(|row| row.get(event.index())) else { return };
        if counter.pending.get() == 0 {
            self.dirty.borrow_mut().push((row, event));
        }
        counter.pending.set(counter.pending.get().saturating_add(count));
    }

    /// Records the time that a version took to its response headers.
    pub(crate) fn record_duration(&self, version: &Version, kind: Took, milliseconds: u64) {
        let is_full = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push((version.ordinal(), kind, milliseconds));
            waiting.len() >= MAX_WAITING
        };
        if is_full {
            self.flush_durations();
        }
    }

    fn flush_durations(&self) {
        for (row, kind, milliseconds) in self.waiting.borrow_mut().drain(..) {
            let Some(histogram) = self.durations.get(row).and_then(|row| row.get(kind as usize)) else {
                continue;
            };
            if histogram.get().is_none() {
                histogram.set(define_duration(&self.plan, row, kind));
            }
            if let Some(id) = histogram.get() {
                host::set_metric(id, milliseconds);
            }
        }
    }

    /// Writes counts and durations to the host.
    pub(crate) fn flush(&self) {
        self.flush_durations();
        for (row, event) in self.dirty.take() {
            let Some(counter) = self.counters.get(row).and_then(|row| row.get(event.index())) else {
                continue;
            };
            if counter.id.get().is_none() {
                counter.id.set(define(&self.plan, row, event));
            }
            let pending = counter.pending.take();
            if let Some(id) = counter.id.get() {
                host::increment(id, pending);
            }
        }
    }
}

/// The version of a row, with its rollout. A version does not know the name of its rollout, so this searches for it, once per series.
fn find_version(plan: &Plan, row: usize) -> Option<(&Rollout, &Version)> {
    let mut all = plan
        .rollouts()
        .iter()
        .flat_map(|rollout| rollout.versions().iter().map(move |of| (&**rollout, &**of)));
    all.find(|(_, version)| version.ordinal() == row)
}

/// Defines a histogram of a version.
fn define_duration(plan: &Plan, row: usize, kind: Took) -> Option<u32> {
    let (rollout, version) = find_version(plan, row)?;
    let family = match kind {
        Took::Request => metric::DURATION,
        Took::Copy => metric::SHADOW_DURATION,
    };
    series(family, &[rollout.name(), version.name()], host::define_histogram)
}

/// Defines the series of one counter.
fn define(plan: &Plan, row: usize, event: Event) -> Option<u32> {
    let found = find_version(plan, row);
    let (rollout, version) =
        found.map_or((metric::NONE, metric::NONE), |(rollout, of)| (rollout.name(), of.name()));
    match event {
        Event::Request(reason) => {
            series(metric::REQUESTS, &[rollout, version, reason.name()], host::define_counter)
        }
        Event::Failure => series(metric::FAILURES, &[rollout, version], host::define_counter),
        Event::Abandoned => series(metric::ABANDONED, &[rollout, version], host::define_counter),
        Event::Retry => series(metric::RETRIES, &[rollout, version], host::define_counter),
        Event::Failover(place) => {
            let failover = found.and_then(|(_, version)| version.failover());
            let target = failover.and_then(|failover| failover.targets().get(place));
            let to = target.map_or(metric::NONE, Target::to);
            series(metric::FAILOVERS, &[rollout, version, to], host::define_counter)
        }
        Event::Copy(result) => {
            series(metric::SHADOWS, &[rollout, version, result.name()], host::define_counter)
        }
        Event::Pair(result) => {
            series(metric::SHADOWS, &[rollout, version, result.name()], host::define_counter)
        }
        Event::Unacceptable => series(metric::UNACCEPTABLE, &[rollout, version], host::define_counter),
    }
}

/// Sets the gauges that show which document serves.
pub(crate) fn announce(plan: &Plan) {
    let plugin = host::plugin_name().unwrap_or_else(|| metric::NONE.to_owned());
    let gauges = [(metric::REVISION, plan.revision()), (metric::HASH, u64::from(plan.hash()))];
    for (family, value) in gauges {
        if let Some(id) = series(family, &[&plugin], host::define_gauge) {
            host::set_metric(id, value);
        }
    }
}

/// Counts a verdict of a signal: one that condemns a version, or one that is withheld.
pub(crate) fn count_verdict(family: Family, labels: [&str; 3]) {
    if let Some(id) = series(family, &labels, host::define_counter) {
        host::increment(id, 1);
    }
}

/// Counts what a signal got to judge, by rollout, version, signal and side.
pub(crate) fn count_observations(labels: [&str; 4], observed: Tally) {
    let [rollout, version, signal, side] = labels;
    for (result, count) in [("all", observed.observed), ("bad", observed.bad)] {
        let labels = [rollout, version, signal, side, result];
        let Some(id) = series(metric::OBSERVATIONS, &labels, host::define_counter) else { continue };
        if let Some(count) = u32::try_from(count).ok().filter(|count| *count > 0) {
            host::increment(id, count);
        }
    }
}
