//! Decides which version serves a request. The file reads in the order of the contract: match, override, unit, holdout, layer,
//! session, hash; then rollback, dependency and compatibility, which may still move the request; then failover and shadows.
//!
//! It is a pure function: the same plan, request, health and time give the same decision.

use std::borrow::Cow;
use std::rc::Rc;

use crate::decision::{Decision, Reason};
use crate::hash::bucket::Ppm;
use crate::health::{Health, Now, State};
use crate::plan::Plan;
use crate::plan::compatibility::Demand;
use crate::plan::failover::Chain;
use crate::plan::rollout::{Override, Rollout};
use crate::plan::session::{Holder, Sessions};
use crate::plan::shadow::{self, Copies, Shadow};
use crate::plan::split::{Placement, Split};
use crate::plan::unit::{Issuer, Source};
use crate::plan::version::Version;
use crate::request::Request;
use crate::time::Time;

/// The decision for `request` at the time `now`. `None` if no rollout matches: then the filter decides nothing, and the
/// route's own cluster serves.
#[must_use]
pub fn decide<'m>(plan: &Plan, request: &Request<'_>, now: impl Into<Now<'m>>) -> Option<Decision> {
    if request.method == b"CONNECT" {
        return None; // a tunnel, not a call of a model
    }
    let rollout = plan.matching(request)?;
    Some(Evaluation::new(plan, request, now.into()).decide(rollout))
}

/// The decision of one rollout for one unit, as if a request without any header had matched it. Other rollouts that the decision
/// depends on get the same unit.
#[must_use]
pub fn decide_unit<'m>(plan: &Plan, rollout: &Rc<Rollout>, unit: &[u8], now: impl Into<Now<'m>>) -> Decision {
    let request = plan.request([], None);
    let evaluation = Evaluation { given: Some(unit), ..Evaluation::new(plan, &request, now.into()) };
    evaluation.decide(rollout)
}

/// A version and what led to it.
#[derive(Clone, Copy)]
struct Choice<'e> {
    version: &'e Rc<Version>,
    reason: Reason,
}

/// A rollout, and the request as that rollout sees it.
struct Subject<'e> {
    rollout: &'e Rc<Rollout>,
    unit: Option<Cow<'e, [u8]>>,
    placement: Option<Placement<'e>>,
    demand: Demand<'e>,
}

/// The evaluation of one request.
struct Evaluation<'e> {
    plan: &'e Plan,
    request: &'e Request<'e>,
    now: Time,
    health: &'e Health,
    /// The unit for every rollout, instead of what the sources say.
    given: Option<&'e [u8]>,
    /// The decisions of other rollouts for this request, by position. Each is made at most once.
    elsewhere: Vec<(usize, &'e Rc<Version>)>,
    /// The ids issued for this request, each with the cookie that carries it.
    issued: Vec<(&'e Issuer, String)>,
}

impl<'e> Evaluation<'e> {
    fn new(plan: &'e Plan, request: &'e Request<'e>, now: Now<'e>) -> Self {
        let Now { time: now, health } = now;
        Self { plan, request, now, health, given: None, elsewhere: Vec::new(), issued: Vec::new() }
    }

    fn decide(mut self, rollout: &'e Rc<Rollout>) -> Decision {
        let case = self.case(rollout);
        let forced = self.forced(&case);
        let assigned = forced.unwrap_or_else(|| self.assigned(&case, rollout.sessions.as_ref()));
        let served = self.checked(&case, assigned);

        let chain = self.chain(&case, served.version);
        let ids = self.issued.iter().map(|(issuer, id)| issuer.cookie.line(id, issuer.cookie.max_age));
        let cookies = ids.chain(self.begun(&case, assigned)).collect();
        let copies = match &case.unit {
            Some(unit) if forced.is_none() => {
                let fits = |shadow: &Shadow| {
                    shadow.differs_from(served.version) && case.demand.accepts(&shadow.version)
                };
                shadow::copies(&rollout.shadows, unit, self.request, fits)
            }
            _ => Copies::default(),
        };
        let guardrails = rollout.guardrails.as_ref();
        let unit_hash =
            guardrails.zip(case.unit.as_deref()).map(|(guardrails, unit)| guardrails.unit_hash(unit));
        Decision {
            rollout: Rc::clone(rollout),
            version: Rc::clone(served.version),
            reason: served.reason,
            bucket: case.placement.map(|placement| placement.bucket),
            copies,
            cookies,
            is_unacceptable: !case.demand.accepts(served.version),
            is_repeatable: self.request.retries.are_wanted || chain.contains(&true),
            chain,
            pair: None,
            unit_hash,
        }
    }

    fn case(&mut self, rollout: &'e Rc<Rollout>) -> Subject<'e> {
        let unit = self.unit(rollout);
        let place = |unit: &[u8]| rollout.split.place(&rollout.salt, unit, self.now);
        let placement = unit.as_deref().and_then(place);
        let demand = Demand::of(rollout.api.as_ref(), rollout.names_features, self.request);
        Subject { rollout, unit, placement, demand }
    }

    /// The value of the first source that has one. A source that issues ids always has one if the request has a nonce.
    fn unit(&mut self, rollout: &'e Rollout) -> Option<Cow<'e, [u8]>> {
        if self.given.is_some() {
            return self.given.map(Cow::Borrowed);
        }
        for source in &rollout.unit {
            let value = source.value(self.request);
            let value = match source {
                Source::Issued(issuer) => value.or_else(|| self.issue(issuer)),
                Source::Header(_) | Source::Cookie(_) | Source::Query(_) | Source::PeerAddress => value,
            };
            if value.is_some() {
                return value;
            }
        }
        None
    }

    fn issue(&mut self, issuer: &'e Issuer) -> Option<Cow<'e, [u8]>> {
        let nonce = self.request.nonce.filter(|_| !self.request.is_preflight())?;
        let id = issuer.new_id(self.request, nonce);
        if !self.issued.iter().any(|(known, _)| known.cookie.name == issuer.cookie.name) {
            self.issued.push((issuer, id.clone()));
        }
        Some(Cow::Owned(id.into_bytes()))
    }

    /// The version of the first override that applies.
    fn forced(&self, case: &Subject<'e>) -> Option<Choice<'e>> {
        let version = case.rollout.overrides.iter().find_map(|rule| match rule {
            Override::Units { units, version } => {
                let unit = case.unit.as_deref()?;
                units.binary_search_by(|listed| listed.as_ref().cmp(unit)).is_ok().then_some(version)
            }
            Override::Header { name, secret_header, secret } => {
                let presented = self.request.header(*secret_header)?;
                let wanted = self.request.header(*name).filter(|_| secret.opens_with(&presented))?;
                case.rollout.versions.iter().find(|version| version.name.as_bytes() == wanted.as_ref())
            }
        });
        version.map(|version| Choice { version, reason: Reason::Forced })
    }

    /// The version by the client's session or the hash, or stable if a rule comes before them.
    fn assigned(&self, case: &Subject<'e>, sessions: Option<&Sessions>) -> Choice<'e> {
        let rollout = case.rollout;
        let stable = |reason| Choice { version: &rollout.stable, reason };
        if let Some(unit) = case.unit.as_deref() {
            if let Some(reason) = self.excluded(rollout, unit) {
                return stable(reason);
            }
            let holder = Holder { rollout: &rollout.name, unit };
            let resumed = sessions
                .and_then(|sessions| sessions.resumed(&rollout.versions, holder, self.request, self.now));
            if let Some(version) = resumed {
                return Choice { version, reason: Reason::Session };
            }
        }
        let treatment = match (&rollout.split, case.placement) {
            (Split::Stable, _) => return stable(Reason::Assigned),
            (_, Some(placement)) => placement.treatment.filter(|version| self.reaches(version, placement)),
            (split, None) => match split.settled(self.now) {
                Some(treatment) if treatment.is_none_or(|version| !self.is_frozen(version)) => treatment,
                Some(_) | None => return stable(Reason::MissingUnit),
            },
        };
        treatment.map_or(stable(Reason::NotExposed), |version| Choice { version, reason: Reason::Assigned })
    }

    /// True if a guardrail has not limited the exposure of a treatment below the position of the unit in its lane.
    fn reaches(&self, treatment: &Version, placement: Placement<'_>) -> bool {
        match self.health.of(treatment) {
            State::Healthy | State::RolledBack => true,
            State::Frozen(exposure) => placement.depth < exposure.get(),
        }
    }

    fn is_frozen(&self, version: &Version) -> bool {
        matches!(self.health.of(version), State::Frozen(exposure) if exposure < Ppm::WHOLE)
    }

    /// Why a unit takes no part in a rollout. `None` if it takes part.
    fn excluded(&self, rollout: &Rollout, unit: &[u8]) -> Option<Reason> {
        if self.plan.holdouts.iter().any(|holdout| holdout.contains(unit)) {
            return Some(Reason::Holdout);
        }
        let outside = rollout.layer.as_ref().is_some_and(|layer| !layer.contains(unit));
        outside.then_some(Reason::Layer)
    }

    /// Moves the request if the chosen version must not or can't serve it. An override ignores rollback and dependencies.
    fn checked(&mut self, case: &Subject<'e>, mut choice: Choice<'e>) -> Choice<'e> {
        let stable = &case.rollout.stable;
        let is_forced = choice.reason == Reason::Forced;
        if !is_forced && self.health.is_rolled_back(choice.version) {
            choice = Choice { version: stable, reason: Reason::RolledBack };
        }
        if !is_forced && !self.meets(choice.version) {
            choice = Choice { version: stable, reason: Reason::Dependency };
        }
        if case.demand.accepts(choice.version) {
            return choice;
        }
        let others = case.rollout.versions.iter().filter(|version| !version.is_shadow_only);
        let mut others = [stable].into_iter().chain(others);
        let other = others.find(|version| self.may_take(case, version));
        Choice { version: other.unwrap_or(stable), reason: Reason::Incompatible }
    }

    /// The targets of a failed call of the version: itself, those that may take the request, and at most as many as there
    /// are retries.
    fn chain(&mut self, case: &Subject<'e>, version: &Version) -> Chain {
        let mut chain = Chain::default();
        let Some(failover) = version.failover() else { return chain };
        let mut retries = failover.retries;
        for (target, is_taken) in failover.targets.iter().zip(&mut chain) {
            let target = case.rollout.versions.get(target.position).filter(|_| retries > 0);
            *is_taken =
                target.is_some_and(|target| target.ordinal == version.ordinal || self.may_take(case, target));
            retries = retries.saturating_sub(usize::from(*is_taken));
        }
        chain
    }

    /// True if the version may serve a request that was not assigned to it.
    fn may_take(&mut self, case: &Subject<'e>, version: &Version) -> bool {
        !self.health.is_rolled_back(version) && case.demand.accepts(version) && self.meets(version)
    }

    /// True if other rollouts decide what the version requires.
    fn meets(&mut self, version: &Version) -> bool {
        version.requires.iter().all(|requirement| {
            let decided = self.decided(requirement.rollout);
            decided.is_some_and(|decided| decided.ordinal == requirement.version)
        })
    }

    /// The version that another rollout decides on for this request, even if it does not match it. Its overrides and
    /// sessions do not count.
    fn decided(&mut self, position: usize) -> Option<&'e Rc<Version>> {
        if let Some((_, known)) = self.elsewhere.iter().find(|(known, _)| *known == position) {
            return Some(known);
        }
        let case = self.case(self.plan.rollouts.get(position)?);
        let assigned = self.assigned(&case, None);
        let decided = self.checked(&case, assigned).version;
        self.elsewhere.push((position, decided));
        Some(decided)
    }

    /// The cookie of a session that starts now, on the version that the hash chose. If that version is rolled back, the
    /// session is on stable, so that the client stays there after the latch is released.
    fn begun(&self, case: &Subject<'e>, assigned: Choice<'e>) -> Option<String> {
        let by_hash = matches!(assigned.reason, Reason::NotExposed | Reason::Assigned);
        let by_hash = by_hash && !self.request.is_preflight();
        let sessions = case.rollout.sessions.as_ref().filter(|_| by_hash)?;
        let holder = Holder { rollout: &case.rollout.name, unit: case.unit.as_deref()? };
        let is_rolled_back = self.health.is_rolled_back(assigned.version);
        let version = if is_rolled_back { &case.rollout.stable } else { assigned.version };
        sessions.begun(holder, version, self.now)
    }
}
