//! A plan that serves, with its counters, gauges and guardrails in this worker.
//!
//! A replaced plan lives until its last request ends.

use std::rc::Rc;

use rollout_core::{Now, Plan, Time};

use crate::gauge::Exposures;
use crate::guard::Guard;
use crate::host;
use crate::metric::{self, Metrics};
use crate::rate::Rates;

/// A plan with its counters and guardrails. It lives as long as its root context or its last stream.
pub(crate) struct Active {
    pub(crate) plan: Rc<Plan>,
    pub(crate) metrics: Metrics,
    pub(crate) guard: Guard,
    pub(crate) rates: Rates,
}

/// What was recorded after the last tick must not be lost: pairs of a replaced plan may end long after its root context.
impl Drop for Active {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Active {
    pub(crate) fn new(plan: Plan) -> Self {
        let plan = Rc::new(plan);
        Self { metrics: Metrics::new(&plan), guard: Guard::new(&plan), rates: Rates::new(&plan), plan }
    }

    /// Sets the gauges that show which document serves.
    pub(crate) fn announce(&self) {
        metric::announce(&self.plan);
    }

    /// Runs on each tick: merges guardrails, updates gauges and flushes counters.
    pub(crate) fn tick(&self, exposures: &mut Exposures) {
        self.guard.tick();
        let time = Time::from_seconds(host::now().as_secs());
        let now = Now { time, health: &self.guard.health() };
        exposures.show(&self.plan, self.guard.gauges(), now);
        self.metrics.flush();
    }

    /// Writes everything that is pending to the host and to shared data.
    pub(crate) fn flush(&self) {
        self.metrics.flush();
        self.guard.flush();
    }
}
