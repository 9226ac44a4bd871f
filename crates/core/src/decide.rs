//! The decision itself, in the order of the contract: match, override, unit, hash, shadow.

use std::rc::Rc;

use crate::bucket::Bucket;
use crate::decision::{Decision, Reason};
use crate::plan::{Override, Plan, Rollout, Version};
use crate::request::Request;
use crate::shadow::{self, Shadows};
use crate::split::Split;
use crate::unit::unit;

/// The version that serves `request`, or none where no rollout matches: then the filter decides nothing and the route's own
/// cluster serves.
#[must_use]
pub fn decide(plan: &Plan, request: &Request<'_>) -> Option<Decision> {
    if request.method == b"CONNECT" {
        return None; // a tunnel, not a call of a model
    }
    let rollout = plan.index.find(request)?;
    let unit = unit(&rollout.unit, request);
    Some(decide_in(rollout, unit.as_deref(), request))
}

/// The decision of one rollout for one unit, as if a request without any header had matched it.
#[must_use]
pub fn decide_unit(plan: &Plan, rollout: &Rc<Rollout>, unit: &[u8]) -> Decision {
    decide_in(rollout, Some(unit), &Request::new(plan, [], None))
}

fn decide_in(rollout: &Rc<Rollout>, unit: Option<&[u8]>, request: &Request<'_>) -> Decision {
    let bucket = unit.and_then(|unit| rollout.bucket(unit));
    let (version, reason) = match forced(rollout, unit, request) {
        Some(version) => (version, Reason::Forced),
        None => assign(rollout, bucket),
    };
    let shadows = match unit {
        Some(unit) if reason != Reason::Forced => shadow::sample(rollout, version, unit, request),
        _ => Shadows::default(),
    };
    Decision { rollout: Rc::clone(rollout), version: Rc::clone(version), reason, bucket, shadows }
}

/// The version of the first override that applies.
fn forced<'p>(rollout: &'p Rollout, unit: Option<&[u8]>, request: &Request<'_>) -> Option<&'p Rc<Version>> {
    rollout.overrides.iter().find_map(|rule| match rule {
        Override::Units { units, version } => {
            let unit = unit?;
            units.binary_search_by(|listed| listed.as_ref().cmp(unit)).is_ok().then_some(version)
        }
        Override::Header { name, secret_header, secret } => {
            let presented = request.header(*secret_header)?;
            let wanted = request.header(*name).filter(|_| secret.opens_with(&presented))?;
            rollout.versions.iter().find(|version| version.name.as_bytes() == wanted.as_ref())
        }
    })
}

fn assign(rollout: &Rollout, bucket: Option<Bucket>) -> (&Rc<Version>, Reason) {
    let treatment = match (&rollout.split, bucket) {
        (Split::Stable, _) => return (&rollout.stable, Reason::Assigned),
        (Split::Lanes(_), Some(bucket)) => rollout.split.treatment(bucket),
        (Split::Lanes(_), None) => match rollout.split.settled() {
            Some(lane) => Some(&lane.version).filter(|_| lane.exposed().get() > 0),
            None => return (&rollout.stable, Reason::MissingUnit),
        },
    };
    treatment.map_or((&rollout.stable, Reason::NotExposed), |version| (version, Reason::Assigned))
}
