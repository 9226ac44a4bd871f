//! One root context a configuration and thread: compiles the document, holds the plan, and ticks.
//!
//! `on_configure` is a pure function of its bytes. Envoy runs it on a canary first and then on every thread; a verdict that
//! depended on anything else could pass on one and fail on another, which leaves a worker without the filter (envoy#43751).

use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};
use rollout_core::compile;

use crate::active::Active;
use crate::gauge::{self, Exposures};
use crate::host;
use crate::stream::Stream;

/// How late a counter may be: counts of all workers meet in the host at least this often.
const TICK: Duration = Duration::from_millis(200);

/// Protects the log from a document that is nothing but mistakes; `rolloutctl check` shows them all.
const LOGGED: usize = 20;

/// Called once by each VM.
pub(crate) fn start() {
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}

#[derive(Default)]
struct Root {
    active: Option<Rc<Active>>,
    announced: bool,
    exposures: Exposures,
}

impl Context for Root {}

/// The host does not end the timer of a root context that goes. `on_done` would be the place for it, but the host calls that for
/// each stream too, once it is exported. `on_delete`, which drops a context, is called in any case.
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
        match compile(&host::document(size)) {
            Ok(compiled) => {
                self.active = Some(Rc::new(Active::new(compiled.plan)));
                host::set_tick_period(TICK);
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

    /// The first tick announces the plan: `on_configure` runs on the canary too, which never serves.
    fn on_tick(&mut self) {
        let Some(active) = &self.active else { return };
        if !self.announced {
            active.announce();
            self.announced = true;
        }
        active.tick(&mut self.exposures);
        gauge::clear_left();
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(self.active.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
