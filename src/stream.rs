//! One request: picks its values, asks the core, carries the decision out, and counts what came of it.
//!
//! A stream keeps the plan it began with, whatever is pushed meanwhile. Whatever goes wrong, the request goes on.

use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use rollout_core::decide::decide;
use rollout_core::decision::{Decision, Reason, header};
use rollout_core::guardrail::Guardrails;
use rollout_core::guardrail::outcome::{
    Outcome, is_break_flag, is_failure_flag, is_failure_status, is_overdue,
};
use rollout_core::guardrail::worker::Ticket;
use rollout_core::health::Moment;
use rollout_core::request::Request;
use rollout_core::time::Time;

use crate::host;
use crate::metric::Event;
use crate::root::Active;

pub(crate) struct Stream {
    active: Option<Rc<Active>>,
    decision: Option<Decision>,
    started: Duration,
    watched: Option<Watched>,
}

/// A request whose outcome guardrails count.
#[derive(Clone, Copy)]
struct Watched {
    ticket: Ticket,
    /// A call of which headers or trailers say how it ended.
    is_grpc: bool,
    /// Recorded as fine, with more to come.
    may_fail_late: bool,
}

/// Who answered, and how.
enum Answer {
    /// The version, with what is no failure of its.
    Fine,
    /// The version, with a failure.
    Failed,
    /// Envoy, because the version did not.
    None,
    /// Another filter.
    Foreign,
}

impl Stream {
    pub(crate) fn new(active: Option<Rc<Active>>) -> Self {
        Self { active, decision: None, started: Duration::ZERO, watched: None }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(Active { plan, metrics, guard }) = self.active.as_deref() else { return Action::Continue };
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
        let health = guard.health.borrow();
        let now = Moment { time: Time::from_seconds(self.started.as_secs()), health: &health };
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
        self.watched = guard.begin(&decision, self.started).map(|ticket| {
            let kind = headers.iter().find(|(name, _)| name == "content-type");
            let is_grpc = kind.is_some_and(|(_, value)| value.starts_with(b"application/grpc"));
            Watched { ticket, is_grpc, may_fail_late: false }
        });
        self.decision = Some(decision);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, is_end: bool) -> Action {
        let (Some(active), Some(decision)) = (self.active.as_deref(), self.decision.as_ref()) else {
            return Action::Continue;
        };
        let answered = decision.fails_over().then(host::upstream_cluster).flatten();
        let target = answered.and_then(|cluster| decision.failed_over(&cluster));
        // A route of the user's own may send to a target's cluster at once.
        let outcome = match target.filter(|_| host::was_repeated()) {
            Some((place, target)) => {
                active.metrics.count(Some(&decision.version), Event::Failover(place));
                if decision.exposes_failover() {
                    host::set_response_header(header::FAILOVER, Some(target.mark()));
                }
                Some(Outcome { failed: true, ..Outcome::default() })
            }
            None => self.answered(active, decision),
        };
        if let Some(outcome) = outcome {
            if outcome.failed {
                active.metrics.count(Some(&decision.version), Event::Failure);
            }
            if let Some(watched) = &mut self.watched {
                // No latency is that of an upgrade, which ends when either side closes its connection.
                watched.may_fail_late = !outcome.failed && outcome.latency.is_some() && !is_end;
                watched.ticket = active.guard.record(&active.plan, decision, (watched.ticket, outcome));
            }
        }
        for (name, value) in decision.response_headers(&active.plan) {
            host::set_response_header(name, value.as_deref());
        }
        for cookie in &decision.cookies {
            host::add_response_header("set-cookie", cookie);
        }
        Action::Continue
    }

    /// Trailers come with gRPC alone, and only there does anybody look at them.
    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if self.watched.is_some_and(|watched| watched.is_grpc) {
            let status = host::response_trailer("grpc-status");
            if status.is_some_and(|status| is_failure_status(&status)) {
                self.fail_late();
            }
        }
        Action::Continue
    }
}

/// The end of a request: what broke off after its response headers shows in the response flags.
impl Drop for Stream {
    fn drop(&mut self) {
        let may_fail_late = self.watched.is_some_and(|watched| watched.may_fail_late);
        if may_fail_late && is_break_flag(host::response_flags()) {
            self.fail_late();
        }
    }
}

impl Stream {
    /// What the assigned version made of the request, and how long it took; none where the answer is somebody else's.
    fn answered(&self, active: &Active, decision: &Decision) -> Option<Outcome> {
        let took = host::now().saturating_sub(self.started);
        let status = host::response_status().unwrap_or(0);
        let failed = match self.answer(status) {
            Answer::Fine => false,
            Answer::Failed => true,
            Answer::None => return Some(Outcome { failed: true, ..Outcome::default() }),
            Answer::Foreign => return None,
        };
        // An upgrade has no answer that could be early or late.
        let latency = Some(took).filter(|_| status != 101);
        if latency.is_some() {
            let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            active.metrics.record_duration(decision, milliseconds);
        }
        let rules = decision.rollout.guardrails().filter(|_| self.watched.is_some());
        let bad = rules.into_iter().flat_map(Guardrails::headers).filter(|(rule, _)| {
            let value = host::response_header(rule.name());
            rule.holds(value.as_deref())
        });
        let headers = bad.fold(0, |bits, (_, bit)| bits | bit);
        Some(Outcome { failed, latency, headers })
    }

    /// Where everything is well, this asks for nothing more than the status, and for gRPC's where that may say otherwise.
    fn answer(&self, status: u16) -> Answer {
        let may_be_foreign = if self.watched.is_some() { 400 } else { 500 };
        let is_grpc = status < may_be_foreign && self.watched.is_some_and(|watched| watched.is_grpc);
        let grpc_status = is_grpc.then(|| host::response_header("grpc-status")).flatten();
        if status < may_be_foreign && grpc_status.as_deref().is_none_or(|status| status == b"0") {
            return Answer::Fine;
        }
        let (details, grpc_status) = (host::response_details().unwrap_or_default(), grpc_status.as_deref());
        if details == b"via_upstream" {
            let failed = status >= 500 || grpc_status.is_some_and(is_failure_status);
            return if failed { Answer::Failed } else { Answer::Fine };
        }
        let is_missing = is_failure_flag(host::response_flags()) || is_overdue(&details, status, grpc_status);
        if is_missing { Answer::None } else { Answer::Foreign }
    }

    /// The request was fine so far, and is not any more.
    fn fail_late(&mut self) {
        let (Some(active), Some(decision)) = (self.active.as_deref(), self.decision.as_ref()) else { return };
        let Some(watched) = self.watched.as_mut().filter(|watched| watched.may_fail_late) else { return };
        watched.may_fail_late = false;
        active.metrics.count(Some(&decision.version), Event::Failure);
        active.guard.record_late_failure(&active.plan, decision, watched.ticket);
    }
}
