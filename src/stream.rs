//! One request: picks its values, asks the core, carries the decision out, and counts what came of it.
//!
//! A stream keeps the plan it began with, whatever is pushed meanwhile. Whatever goes wrong, the request goes on.

use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use rollout_core::decide::decide;
use rollout_core::decision::{Decision, Reason, header};
use rollout_core::request::Request;
use rollout_core::time::Time;

use crate::host;
use crate::metric::Event;
use crate::root::Active;

pub(crate) struct Stream {
    active: Option<Rc<Active>>,
    decision: Option<Decision>,
    started: Duration,
}

impl Stream {
    pub(crate) fn new(active: Option<Rc<Active>>) -> Self {
        Self { active, decision: None, started: Duration::ZERO }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(Active { plan, metrics }) = self.active.as_deref() else { return Action::Continue };
        let headers = host::request_headers();
        let source = plan.reads_source_address().then(host::source_address).flatten();
        let lines = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let mut request = Request::new(plan, lines, source.as_deref());
        self.started = host::now();
        if request.may_need_id(plan) {
            request = request.with_nonce(host::nonce(self.started));
        }
        for name in request.unwanted() {
            host::remove_request_header(name);
        }
        let now = Time::from_seconds(self.started.as_secs());
        let Some(decision) = decide(plan, &request, now) else {
            metrics.count(None, Event::Request(Reason::NoMatch));
            return Action::Continue;
        };
        for (name, value) in decision.request_headers(&request) {
            let edit = if request.lacks(name) { host::add_request_header } else { host::set_request_header };
            edit(name, &value);
        }
        metrics.count(Some(&decision.version), Event::Request(decision.reason));
        if decision.is_unacceptable {
            metrics.count(Some(&decision.version), Event::Unacceptable);
        }
        for shadow in decision.shadows.iter().flatten() {
            metrics.count(Some(&shadow.version), Event::ShadowSent);
        }
        self.decision = Some(decision);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let (Some(active), Some(decision)) = (self.active.as_deref(), self.decision.as_ref()) else {
            return Action::Continue;
        };
        let answered = decision.fails_over().then(host::upstream_cluster).flatten();
        match answered.and_then(|cluster| decision.failed_over(&cluster)) {
            Some((place, target)) => {
                active.metrics.count(Some(&decision.version), Event::Failover(place));
                if decision.exposes_failover() {
                    host::set_response_header(header::FAILOVER, Some(target.mark()));
                }
            }
            None => self.record_answer(active, decision),
        }
        for (name, value) in decision.response_headers(&active.plan) {
            host::set_response_header(name, value.as_deref());
        }
        for cookie in &decision.cookies {
            host::add_response_header("set-cookie", cookie);
        }
        Action::Continue
    }
}

impl Stream {
    /// The assigned version answered itself: its time, and its failure if it was one.
    fn record_answer(&self, active: &Active, decision: &Decision) {
        let took = host::now().saturating_sub(self.started);
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        active.metrics.record_duration(decision, milliseconds);
        let failed = host::response_status().is_some_and(|status| status >= 500);
        if failed && host::response_details().as_deref() == Some(b"via_upstream".as_slice()) {
            active.metrics.count(Some(&decision.version), Event::Failure);
        }
    }
}
