//! The root context, one per configuration and thread: compiles the document, holds the plan, and ticks. In the role
//! `shadow` it has no document, and its ticks only look after pairs.
//!
//! Whether `on_configure` accepts a document depends on its bytes alone. Envoy runs it in a canary context first and then
//! on every thread. If the result depended on anything else, it could differ between threads, and a worker would be left
//! without the filter (envoy#43751).

use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};
use rollout_core::{Configuration, configuration};

use crate::active::Active;
use crate::copy::Copied;
use crate::gauge::{self, Exposures};
use crate::stream::Stream;
use crate::{host, pairs};

/// Interval of ticks, and so the most that a counter is late.
const TICK: Duration = Duration::from_millis(200);

/// The same in the role `shadow`, which has nothing to do unless the other role is gone.
const SHADOW_TICK: Duration = Duration::from_secs(1);

/// Most problems that are logged. The limit protects the log; `rolloutctl check` shows all problems.
const LOGGED: usize = 20;

/// Starts the VM. Called once per VM.
pub(crate) fn start() {
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}

#[derive(Default)]
struct Root {
    /// True if the streams are copies on their way through the cluster for copies.
    is_shadow: bool,
    active: Option<Rc<Active>>,
    announced: bool,
    exposures: Exposures,
}

impl Context for Root {}

/// Stops the timer, because the host does not stop it when a root context ends. `on_done` would be the natural place, but
/// if it is exported, the host calls it for each stream too. `on_delete`, which drops a context, is called in any case.
impl Drop for Root {
    fn drop(&mut self) {
        host::set_tick_period(Duration::ZERO);
        if let Some(active) = &self.active {
            active.flush();
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        match configuration(&host::document(size)) {
            Ok(Configuration::Rollouts(compiled)) => {
                self.active = Some(Rc::new(Active::new(compiled.plan)));
                host::set_tick_period(TICK);
                true
            }
            Ok(Configuration::Shadow) => {
                self.is_shadow = true;
                host::set_tick_period(SHADOW_TICK);
                true
            }
            Err(refused) => {
                let shown: Vec<String> =
                    refused.problems.iter().take(LOGGED).map(ToString::to_string).collect();
                log::error!(
                    "rollout document rejected, {} problems: {}",
                    refused.problems.len(),
                    shown.join("; ")
                );
                false
            }
        }
    }

    /// The first tick announces the plan, because `on_configure` also runs in the canary context, which never serves.
    fn on_tick(&mut self) {
        pairs::tick();
        let Some(active) = &self.active else { return };
        if !self.announced {
            active.announce();
            self.announced = true;
        }
        active.tick(&mut self.exposures);
        gauge::clear_left();
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        if self.is_shadow {
            return Some(Box::new(Copied::default()));
        }
        Some(Box::new(Stream::new(self.active.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
