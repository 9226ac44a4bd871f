//! A plan in service, with what this worker counts and shows of it.

use std::rc::Rc;

use rollout_core::{Now, Plan, Time};

use crate::gauge::Exposures;
use crate::guard::Guard;
use crate::host;
use crate::metric::{self, Metrics};

/// Lives as long as its root context or its last stream.
pub(crate) struct Active {
    pub(crate) plan: Rc<Plan>,
    pub(crate) metrics: Metrics,
    pub(crate) guard: Guard,
}

impl Active {
    pub(crate) fn new(plan: Plan) -> Self {
        let plan = Rc::new(plan);
        Self { metrics: Metrics::new(&plan), guard: Guard::new(&plan), plan }
    }

    /// Shows which document serves.
    pub(crate) fn announce(&self) {
        metric::announce(&self.plan);
    }

    /// What happens on each tick.
    pub(crate) fn tick(&self, exposures: &mut Exposures) {
        self.guard.tick();
        let time = Time::from_seconds(host::now().as_secs());
        let now = Now { time, health: &self.guard.health() };
        exposures.show(&self.plan, self.guard.gauges(), now);
        self.metrics.flush();
    }

    /// Hands over everything that is pending.
    pub(crate) fn flush(&self) {
        self.metrics.flush();
        self.guard.flush();
    }
}
