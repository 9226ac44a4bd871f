//! The gauges of a plan's versions: their exposure, whether they are rolled back, and which signals wait.
//!
//! Several plans exist at the same time: a replaced document stays until its last request ends, and each listener has its
//! own document. If several plans have the same gauge, the latest plan sets it. The host never removes a series, so a gauge
//! that no plan has any more is set to zero.

use std::cell::RefCell;
use std::rc::Rc;

use rollout_core::metric::{EXPOSURE, Family, IS_WARMING_UP, IS_WITHHELD, ROLLED_BACK};
use rollout_core::{Now, Plan, Ppm, Rollout, Time, Version};

use crate::{host, metric};

thread_local! {
    /// The gauges of the plans of this VM, the latest plan last.
    static SHOWN: RefCell<Vec<Names>> = RefCell::default();
    /// The gauges of plans that are gone.
    static LEFT: RefCell<Vec<Names>> = RefCell::default();
}

/// Names of series, sorted.
type Names = Rc<[String]>;

fn has(names: &Names, name: &String) -> bool {
    names.binary_search(name).is_ok()
}

/// The labels of a gauge.
#[derive(Clone, Copy)]
pub(crate) struct Series<'p> {
    pub(crate) rollout: &'p Rollout,
    pub(crate) version: &'p Version,
    /// Only for gauges of signals.
    pub(crate) signal: Option<&'p str>,
}

impl<'p> Series<'p> {
    fn new(rollout: &'p Rollout, version: &'p Version) -> Self {
        Self { rollout, version, signal: None }
    }

    fn labels(&self) -> Vec<&'p str> {
        [self.rollout.name(), self.version.name()].into_iter().chain(self.signal).collect()
    }
}

/// The gauges of one plan.
pub(crate) struct Gauges(Names);

impl Gauges {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut note = |family: Family, series: Series<'_>| {
            let name = family.series(&series.labels());
            if let Err(place) = names.binary_search(&name) {
                names.insert(place, name);
            }
        };
        for rollout in plan.rollouts() {
            for (version, _) in rollout.exposures(Time::default()) {
                note(EXPOSURE, Series::new(rollout, version));
            }
            let Some(guardrails) = rollout.guardrails() else { continue };
            for guarded in guardrails.guarded() {
                let series = Series::new(rollout, &guarded.version);
                note(ROLLED_BACK, series);
                for signal in guardrails.signals() {
                    let series = Series { signal: Some(signal.name()), ..series };
                    [IS_WITHHELD, IS_WARMING_UP].into_iter().for_each(|family| note(family, series));
                }
            }
        }
        let names = Names::from(names);
        SHOWN.with_borrow_mut(|shown| shown.push(Rc::clone(&names)));
        Self(names)
    }

    /// Shows whether a guardrail has rolled a version back.
    pub(crate) fn show_rolled_back(&self, rollout: &Rollout, version: &Version, is_rolled_back: bool) {
        self.show(ROLLED_BACK, Series::new(rollout, version), is_rolled_back.into());
    }

    /// Sets a gauge.
    pub(crate) fn show(&self, family: Family, series: Series<'_>, value: u64) {
        let labels = series.labels();
        let name = family.series(&labels);
        let is_later = |names: &&Names| !Rc::ptr_eq(names, &self.0);
        if SHOWN.with_borrow(|shown| shown.iter().rev().take_while(is_later).any(|names| has(names, &name))) {
            return;
        }
        if let Some(id) = metric::series(family, &labels, host::define_gauge) {
            host::set_metric(id, value);
        }
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        SHOWN.with_borrow_mut(|shown| shown.retain(|names| !Rc::ptr_eq(names, &self.0)));
        LEFT.with_borrow_mut(|left| left.push(Rc::clone(&self.0)));
    }
}

/// Sets the gauges of plans that are gone to zero, except those that another plan has.
pub(crate) fn clear_left() {
    let is_left = |name: &&String| SHOWN.with_borrow(|shown| !shown.iter().any(|names| has(names, name)));
    for names in LEFT.take() {
        for id in names.iter().filter(is_left).filter_map(|name| metric::known(name)) {
            host::set_metric(id, 0);
        }
    }
}

/// The exposures that the gauges of a plan show, by version. Empty before the first tick.
#[derive(Default)]
pub(crate) struct Exposures(Vec<Option<Ppm>>);

impl Exposures {
    /// Sets the gauges whose values have changed. After the first call, only a ramp or a guardrail can change one.
    pub(crate) fn show(&mut self, plan: &Plan, gauges: &Gauges, now: Now<'_>) {
        let is_first = self.0.is_empty();
        self.0.resize(plan.versions(), None);
        let changes = |rollout: &Rollout| rollout.ramp().is_some() || rollout.guardrails().is_some();
        for rollout in plan.rollouts().iter().filter(|rollout| is_first || changes(rollout)) {
            for (version, exposure) in rollout.exposures(now.time) {
                let exposure = now.health.of(version).leaves(exposure, rollout.has_native_buckets());
                let Some(shown) = self.0.get_mut(version.ordinal()) else { continue };
                if shown.replace(exposure) != Some(exposure) {
                    gauges.show(EXPOSURE, Series::new(rollout, version), exposure.into());
                }
            }
        }
    }
}
