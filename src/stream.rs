//! Handles one request: reads its values, asks the core, applies the decision, and counts the outcome.
//!
//! A stream keeps the plan that it started with, whatever is pushed meanwhile. Whatever goes wrong, the request continues.

use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use rollout_core::compare::{Origin, PairId, PairResult};
use rollout_core::guardrail::{
    Call, Outcome, Response, Ticket, classify, classify_without_response, is_break_flag, is_failure_status,
    is_repeated, needs_flags,
};
use rollout_core::{Ask, Decision, Now, Reason, Target, Time, decide, request_edits};

use crate::active::Active;
use crate::metric::{Event, Took};
use crate::{host, pairs};

pub(crate) struct Stream {
    active: Option<Rc<Active>>,
    decision: Option<Decision>,
    started: Duration,
    call: Call,
    ticket: Option<Ticket>,
    /// Names the pairs that wait for the answer.
    pair: Option<PairId>,
    /// True if there were response headers.
    has_response: bool,
    /// True if the request was recorded as fine and may still fail.
    may_fail_late: bool,
}

impl Stream {
    pub(crate) fn new(active: Option<Rc<Active>>) -> Self {
        Self {
            active,
            decision: None,
            started: Duration::ZERO,
            call: Call::default(),
            ticket: None,
            pair: None,
            has_response: false,
            may_fail_late: false,
        }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(active) = &self.active else { return Action::Continue };
        let Active { plan, metrics, guard, rates } = &**active;
        let headers = host::request_headers();
        let source = plan.reads_source_address().then(host::source_address).flatten();
        let lines = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let mut request = plan.request(lines, source.as_deref());
        self.started = host::now();
        if plan.may_issue_id(&request) {
            request = request.with_nonce(host::nonce(self.started));
        }
        let time = Time::from_seconds(self.started.as_secs());
        let mut decision = decide(plan, &request, Now { time, health: &guard.health() });
        if let Some(decision) = &mut decision {
            decision.limit_copies(|shadow, per_second| {
                rates.take(shadow, Ask { second: self.started.as_secs(), per_second })
            });
            self.pair = pairs::open(active, decision, request.method(), self.started);
        }
        for edit in request_edits(decision.as_ref(), &request) {
            host::edit_request(&edit);
        }
        let Some(decision) = decision else {
            metrics.count(None, Event::Request(Reason::NoMatch));
            return Action::Continue;
        };
        metrics.count(Some(&decision.version), Event::Request(decision.reason));
        if decision.is_unacceptable {
            metrics.count(Some(&decision.version), Event::Unacceptable);
        }
        for copy in decision.copies.iter().flatten() {
            metrics.count(Some(&copy.shadow.version), Event::Copy(copy.result));
        }
        self.ticket = guard.begin(&decision, self.started);
        if self.ticket.is_some() {
            let lines = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            self.call = Call::judged(lines, decision.version.timeout());
        }
        self.decision = Some(decision);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, is_end: bool) -> Action {
        let (Some(active), Some(decision)) = (self.active.as_deref(), self.decision.as_ref()) else {
            return Action::Continue;
        };
        self.has_response = true;
        let now = host::now();
        let attempts = if decision.is_repeatable { host::attempts() } else { 1 };
        active.metrics.count_retries(&decision.version, attempts);
        let may_be_elsewhere = decision.fails_over() && is_repeated(attempts);
        let cluster = may_be_elsewhere.then(host::upstream_cluster).flatten();
        let answered = cluster.and_then(|cluster| decision.failed_over(&cluster));
        let outcome = match answered {
            Some((place, _)) => {
                active.metrics.count(Some(&decision.version), Event::Failover(place));
                Some(Outcome::FAILED_OVER)
            }
            None => self.outcome(active, decision, now),
        };
        self.ticket = record(active, decision, self.ticket.take(), outcome, now);
        self.may_fail_late = self.ticket.is_some() && outcome.is_some_and(|of| of.may_fail_late(!is_end));
        let target: Option<&Target> = answered.map(|(_, target)| target);
        match self.pair {
            Some(pair) if decision.is_of_stable(target) => pairs::live_head(pair, is_end),
            Some(pair) => pairs::fail(pair, Origin::Live, PairResult::SkippedOther),
            None => {}
        }
        for edit in decision.response_edits(&active.plan, target) {
            host::edit_response(&edit);
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, is_end: bool) -> Action {
        if let Some(pair) = self.pair {
            pairs::body(pair, Origin::Live, size, is_end);
        }
        Action::Continue
    }

    /// Reads the gRPC status. Trailers of other requests are ignored.
    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        let status = (self.call.is_grpc || self.pair.is_some())
            .then(|| host::response_trailer("grpc-status"))
            .flatten();
        let is_failure = status.as_deref().is_some_and(is_failure_status);
        if is_failure && self.call.is_grpc {
            self.fail_late();
        }
        match self.pair {
            Some(pair) if is_failure => pairs::fail(pair, Origin::Live, PairResult::LiveError),
            Some(pair) => pairs::end(pair, Origin::Live, status),
            None => {}
        }
        Action::Continue
    }
}

/// The end of a request. If there was no answer, or if it broke off after its headers, the response flags show why.
impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(pair) = self.pair {
            pairs::live_break(pair);
        }
        if !self.has_response {
            self.end_without_response();
        } else if self.may_fail_late && is_break_flag(host::response_flags()) {
            self.fail_late();
        }
    }
}

/// Counts the outcome of a request. Returns its ticket, which is for a failure that may follow.
fn record(
    active: &Active,
    decision: &Decision,
    ticket: Option<Ticket>,
    outcome: Option<Outcome>,
    now: Duration,
) -> Option<Ticket> {
    if let Some(event) = outcome.and_then(Event::of) {
        active.metrics.count(Some(&decision.version), event);
    }
    match (ticket, outcome) {
        (Some(ticket), Some(outcome)) => active.guard.record(decision, ticket, outcome, now),
        (Some(ticket), None) => {
            active.guard.forget(decision, &ticket);
            None
        }
        (None, _) => None,
    }
}

impl Stream {
    /// The outcome of the answer for the assigned version. It asks the host only for what the core needs.
    fn outcome(&self, active: &Active, decision: &Decision, now: Duration) -> Option<Outcome> {
        let took = now.saturating_sub(self.started);
        let status = host::response_status().unwrap_or(0);
        let needs_grpc_status = self.call.needs_grpc_status(status);
        let grpc_status = needs_grpc_status.then(|| host::response_header("grpc-status")).flatten();
        let grpc_status = grpc_status.as_deref();
        let mut response = Response { status, grpc_status, took, ..Response::default() };
        let details;
        if self.call.needs_details(status, response.grpc_status) {
            details = host::response_details().unwrap_or_default();
            response.details = &details;
            if needs_flags(&details) {
                response.flags = host::response_flags();
            }
        }
        let ending = classify(self.call, &response);
        let rules = decision.rollout.guardrails().filter(|_| self.call.is_judged && ending.is_of_version());
        let marks = rules.map_or(0, |rules| rules.marks(status, host::response_header));
        let outcome = ending.outcome(status, took, marks);
        if let Some(latency) = outcome.filter(|of| of.is_answer()).and_then(|of| of.waited) {
            let milliseconds = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
            active.metrics.record_duration(&decision.version, Took::Request, milliseconds);
        }
        outcome
    }

    /// Counts a request that ended without response headers.
    fn end_without_response(&mut self) {
        let (Some(active), Some(decision)) = (self.active.as_deref(), self.decision.as_ref()) else { return };
        let ending = classify_without_response(host::response_flags());
        let now = host::now();
        let outcome = ending.outcome(0, now.saturating_sub(self.started), 0);
        record(active, decision, self.ticket.take(), outcome, now);
    }

    /// Records that a request failed after it was recorded as fine.
    fn fail_late(&mut self) {
        let (Some(active), Some(decision)) = (self.active.as_deref(), self.decision.as_ref()) else { return };
        let is_first = std::mem::take(&mut self.may_fail_late);
        let Some(ticket) = self.ticket.take().filter(|_| is_first) else { return };
        active.metrics.count(Some(&decision.version), Event::Failure);
        active.guard.record_late_failure(decision, &ticket, host::now());
    }
}
