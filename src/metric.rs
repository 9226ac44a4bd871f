//! Counts in the VM's own memory, handed to the host on the tick, and the gauges that show the plan: on the request path a count is one addition, and the name of a
//! series is built at its first use only.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use rollout_core::bucket::Ppm;
use rollout_core::decision::{Decision, Reason};
use rollout_core::failover::{MAX_TARGETS, Target};
use rollout_core::guardrail::Guardrails;
use rollout_core::guardrail::tally::Tally;
use rollout_core::health::{Moment, State};
use rollout_core::metric::{self, Family};
use rollout_core::plan::{Plan, Rollout, Version};
use rollout_core::time::Time;

use crate::host;

/// Protects Envoy's memory: it never gives a series back.
const MAX_SERIES: usize = 10_000;

thread_local! {
    /// Ids of the series that this VM has defined: they outlive a plan, as the series do. Sorted by name.
    static SERIES: RefCell<Vec<(String, u32)>> = RefCell::default();
    /// How many plans of this VM show a version's gauge, by the name of its series.
    static SHOWN: RefCell<BTreeMap<String, u32>> = RefCell::default();
    /// Gauges that no plan has shown since the last of them went.
    static LEFT: RefCell<Vec<String>> = RefCell::default();
}

/// The place of a series among the known ones, or where it belongs.
fn find(known: &[(String, u32)], name: &str) -> Result<usize, usize> {
    known.binary_search_by(|(of, _)| of.as_str().cmp(name))
}

/// The id of a series, defined at first use; beyond the limit the one with its labels folded into `other`.
fn series(family: Family, labels: &[&str], define: fn(&str) -> Option<u32>) -> Option<u32> {
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

/// What is counted for a version.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    Request(Reason),
    Failure,
    /// To the target at this place.
    Failover(usize),
    ShadowSent,
    Unacceptable,
}

impl Event {
    const COUNT: usize = Self::FAILOVERS + MAX_TARGETS;
    const FAILOVERS: usize = Reason::COUNT + 3;

    fn index(self) -> usize {
        match self {
            Self::Request(reason) => reason.index(),
            Self::Failure => Reason::COUNT,
            Self::ShadowSent => Reason::COUNT + 1,
            Self::Unacceptable => Reason::COUNT + 2,
            Self::Failover(place) => Self::FAILOVERS.saturating_add(place),
        }
    }
}

/// A counter of one version: what is not handed over yet, and where it goes.
#[derive(Default)]
struct Counter {
    pending: Cell<u32>,
    id: Cell<Option<u32>>,
}

/// The counters of one plan.
pub(crate) struct Metrics {
    /// By version and event; after the last version, requests that matched nothing.
    counters: Vec<[Counter; Event::COUNT]>,
    durations: Vec<Cell<Option<u32>>>,
    /// Counters with something pending.
    dirty: RefCell<Vec<(usize, Event)>>,
    _gauges: Gauges,
}

impl Metrics {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            counters: (0..=plan.versions()).map(|_| Default::default()).collect(),
            durations: (0..plan.versions()).map(|_| Cell::default()).collect(),
            dirty: RefCell::default(),
            _gauges: Gauges::new(plan),
        }
    }

    /// Counts one event of a version; of none where the request matched nothing.
    pub(crate) fn count(&self, version: Option<&Version>, event: Event) {
        let row = version.map_or(self.durations.len(), Version::ordinal);
        let Some(counter) = self.counters.get(row).and_then(|row| row.get(event.index())) else { return };
        if counter.pending.get() == 0 {
            self.dirty.borrow_mut().push((row, event));
        }
        counter.pending.set(counter.pending.get().saturating_add(1));
    }

    /// Records the time that a version took to its response headers.
    pub(crate) fn record_duration(&self, decision: &Decision, milliseconds: u64) {
        let Some(cell) = self.durations.get(decision.version.ordinal()) else { return };
        if cell.get().is_none() {
            let labels = [decision.rollout.name(), decision.version.name()];
            cell.set(series(metric::DURATION, &labels, host::define_histogram));
        }
        if let Some(id) = cell.get() {
            host::record(id, milliseconds);
        }
    }

    /// Hands the counts to the host.
    pub(crate) fn flush(&self, plan: &Plan) {
        for (row, event) in self.dirty.take() {
            let Some(counter) = self.counters.get(row).and_then(|row| row.get(event.index())) else {
                continue;
            };
            if counter.id.get().is_none() {
                counter.id.set(define(plan, row, event));
            }
            let pending = counter.pending.take();
            if let Some(id) = counter.id.get() {
                host::increment(id, pending);
            }
        }
    }
}

/// Defines the series of one counter. A version knows its number, not its rollout's name, so this looks for it: once a series.
fn define(plan: &Plan, row: usize, event: Event) -> Option<u32> {
    let mut all =
        plan.rollouts().iter().flat_map(|rollout| rollout.versions().iter().map(move |of| (rollout, of)));
    let found = all.find(|(_, version)| version.ordinal() == row);
    let (rollout, version) =
        found.map_or((metric::NONE, metric::NONE), |(rollout, of)| (rollout.name(), of.name()));
    match event {
        Event::Request(reason) => {
            series(metric::REQUESTS, &[rollout, version, reason.name()], host::define_counter)
        }
        Event::Failure => series(metric::FAILURES, &[rollout, version], host::define_counter),
        Event::Failover(place) => {
            let failover = found.and_then(|(_, version)| version.failover());
            let target = failover.and_then(|failover| failover.targets().get(place));
            let to = target.map_or(metric::NONE, Target::to);
            series(metric::FAILOVERS, &[rollout, version, to], host::define_counter)
        }
        Event::ShadowSent => series(metric::SHADOWS, &[rollout, version, "sent"], host::define_counter),
        Event::Unacceptable => series(metric::UNACCEPTABLE, &[rollout, version], host::define_counter),
    }
}

/// The gauges of a plan's versions. The host gives no series back, so what the last plan leaves would show its last value for ever.
struct Gauges(Vec<String>);

impl Gauges {
    fn new(plan: &Plan) -> Self {
        let mut names = Vec::new();
        for rollout in plan.rollouts() {
            let name = |family: Family, version: &Version| family.series(&[rollout.name(), version.name()]);
            let treatments = rollout.exposures(Time::default());
            names.extend(treatments.iter().map(|(version, _)| name(metric::EXPOSURE, version)));
            let guarded = rollout.guardrails().into_iter().flat_map(Guardrails::guarded);
            names.extend(guarded.map(|guarded| name(metric::ROLLED_BACK, &guarded.version)));
        }
        SHOWN.with_borrow_mut(|shown| {
            for name in &names {
                let plans = shown.entry(name.clone()).or_default();
                *plans = plans.saturating_add(1);
            }
        });
        Self(names)
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        SHOWN.with_borrow_mut(|shown| {
            for name in self.0.drain(..) {
                match shown.get_mut(&name).filter(|plans| **plans > 1) {
                    Some(plans) => *plans = plans.saturating_sub(1),
                    None => {
                        shown.remove(&name);
                        LEFT.with_borrow_mut(|left| left.push(name));
                    }
                }
            }
        });
    }
}

/// Sets to zero what the plans that are gone have left, and no other shows.
pub(crate) fn clear_left() {
    let is_left = |name: &String| SHOWN.with_borrow(|shown| !shown.contains_key(name));
    for name in LEFT.take().into_iter().filter(is_left) {
        let known = SERIES.with_borrow(|known| known.get(find(known, &name).ok()?).map(|(_, id)| *id));
        if let Some(id) = known {
            host::record(id, 0);
        }
    }
}

/// The exposures that a plan's gauges show, by version; none before the first tick.
#[derive(Default)]
pub(crate) struct Exposures(Vec<Option<Ppm>>);

impl Exposures {
    /// Sets the gauges whose values have changed; after the first time only a ramp or a guardrail can have changed one.
    pub(crate) fn show(&mut self, plan: &Plan, now: Moment<'_>) {
        let is_first = self.0.is_empty();
        self.0.resize(plan.versions(), None);
        let changes = |rollout: &Rollout| rollout.ramp().is_some() || rollout.guardrails().is_some();
        for rollout in plan.rollouts().iter().filter(|rollout| is_first || changes(rollout)) {
            for (version, exposure) in rollout.exposures(now.time) {
                let state = now.health.of(version);
                let is_held = rollout.has_native_buckets() || state == State::RolledBack;
                let exposure = if is_held { state.limits(exposure) } else { exposure };
                let Some(shown) = self.0.get_mut(version.ordinal()) else { continue };
                if shown.replace(exposure) == Some(exposure) {
                    continue;
                }
                let labels = [rollout.name(), version.name()];
                if let Some(id) = series(metric::EXPOSURE, &labels, host::define_gauge) {
                    host::record(id, exposure.into());
                }
            }
        }
    }
}

/// Shows which document serves.
pub(crate) fn announce(plan: &Plan) {
    let plugin = host::plugin_name().unwrap_or_else(|| metric::NONE.to_owned());
    let gauges = [(metric::REVISION, plan.revision()), (metric::HASH, u64::from(plan.hash()))];
    for (family, value) in gauges {
        if let Some(id) = series(family, &[&plugin], host::define_gauge) {
            host::record(id, value);
        }
    }
}

/// Counts a signal that has condemned a version.
pub(crate) fn count_trip(labels: [&str; 3]) {
    if let Some(id) = series(metric::TRIPS, &labels, host::define_counter) {
        host::increment(id, 1);
    }
}

/// Counts what a signal was given to judge, by rollout, version, signal and side.
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

/// Shows whether a guardrail has taken a version out of service.
pub(crate) fn show_rolled_back(rollout: &Rollout, version: &Version, is_rolled_back: bool) {
    if let Some(id) = series(metric::ROLLED_BACK, &[rollout.name(), version.name()], host::define_gauge) {
        host::record(id, is_rolled_back.into());
    }
}
