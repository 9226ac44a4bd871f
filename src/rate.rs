//! Rates of copies: the workers of a proxy share each shadow's `max_per_second`. The core gives leases; this file keeps them.
//!
//! Shared data has one key for each shadow with a rate (`rollout/rate/<plugin name>/<rollout>/<version>`), written by
//! compare-and-swap. A worker asks for it about once in a lease; a document without rates never does.

use std::cell::Cell;

use rollout_core::{Ask, Lease, Plan, Shadow, Taken, lease};

use crate::host;

/// How often a lease is asked for. A try fails only if another worker has got one in between.
const TRIES: usize = 16;

/// The leases of one plan in this worker, by ordinal of the shadow's version.
pub(crate) struct Rates {
    leases: Vec<Option<Rate>>,
}

struct Rate {
    key: String,
    lease: Cell<Lease>,
}

impl Rates {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut leases = Vec::new();
        for rollout in plan.rollouts() {
            for shadow in rollout.shadows().filter(|shadow| shadow.limits().max_per_second.is_some()) {
                leases.resize_with(plan.versions(), || None);
                let plugin = host::plugin_name().unwrap_or_default();
                let key = format!("rollout/rate/{plugin}/{}/{}", rollout.name(), shadow.version.name());
                if let Some(rate) = leases.get_mut(shadow.version.ordinal()) {
                    *rate = Some(Rate { key, lease: Cell::default() });
                }
            }
        }
        Self { leases }
    }

    /// Takes one copy from a shadow's rate. False if this second has no more.
    pub(crate) fn take(&self, shadow: &Shadow, ask: Ask) -> bool {
        let Some(Some(rate)) = self.leases.get(shadow.version.ordinal()) else { return true };
        let mut held = rate.lease.get();
        for _ in 0..TRIES {
            let taken = held.take(ask.second);
            rate.lease.set(held);
            match taken {
                Taken::Yes => return true,
                Taken::No => return false,
                Taken::Ask => {}
            }
            let (bytes, seen) = host::shared(&rate.key);
            let given = lease(&bytes.unwrap_or_default(), ask);
            if host::set_shared(&rate.key, &given.bytes, seen) {
                held = given.lease;
            }
        }
        false
    }
}
