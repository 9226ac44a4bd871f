//! From the bytes of a document to a plan, or to all of its problems.
//!
//! The only door to a [`Plan`]. It is a pure function of its bytes: Envoy runs it once per thread and once more on a canary, and all
//! of them must come to the same verdict.

mod build;
mod coherence;
mod compatibility;
mod condition;
mod cookie;
mod dependency;
mod eligibility;
mod guardrails;
mod json;
pub mod problem;
mod protobuf;
mod ramp;
mod reader;
mod rewrite;
mod rollout;
mod scalar;
mod scheme;
mod strategy;
mod traffic;

use std::rc::Rc;

use crate::compile::json::{MAX_INTEGER, Node};
use crate::compile::problem::{Problem, Refused};
use crate::compile::protobuf::parse_struct;
use crate::plan::eligibility::Holdout;
use crate::plan::index::{Index, Posting};
use crate::plan::{Plan, Rollout};
use condition::Alternative;
use reader::{At, Draft, Fields, Place, shown};
use rollout::Names;

/// Largest document in bytes: protects Envoy's main thread, which parses it while it holds up every other update.
pub const MAX_BYTES: usize = 1 << 20;

/// A plan, and what its author might want to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// The plan, ready to serve.
    pub plan: Plan,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Problem>,
}

/// Compiles a document.
///
/// # Errors
///
/// All problems of the document at once, each with its path.
pub fn compile(bytes: &[u8]) -> Result<Compiled, Refused> {
    if bytes.len() > MAX_BYTES {
        return Err(whole_document(format!("larger than {MAX_BYTES} bytes")));
    }
    let node = parse(bytes)?;
    let hash = node.hash();
    let mut draft = Draft::default();
    let parts = document(At { node: &node, place: &Place::DOCUMENT }, &mut draft);
    match parts.filter(|_| draft.problems.is_empty()) {
        Some(parts) => {
            let plan = plan(hash, parts, &mut draft);
            Ok(Compiled { plan, warnings: draft.warnings })
        }
        None => Err(Refused { hash: Some(hash), problems: draft.problems }),
    }
}

/// JSON text, or the wire form of a `Struct`; an error speaks of JSON, which is what people write.
fn parse(bytes: &[u8]) -> Result<Node, Refused> {
    let not_json = |error| whole_document(format!("not JSON: {error}"));
    Node::parse(bytes)
        .or_else(|error| parse_struct(bytes).filter(|_| !bytes.is_empty()).ok_or_else(|| not_json(error)))
}

fn whole_document(message: String) -> Refused {
    Refused { hash: None, problems: vec![Problem { path: Place::DOCUMENT.to_string(), message }] }
}

type Routed = (Rc<Rollout>, Vec<Alternative>);

struct Parts {
    revision: u64,
    holdouts: Vec<Holdout>,
    rollouts: Vec<Routed>,
}

fn document(at: At<'_, '_>, draft: &mut Draft) -> Option<Parts> {
    let mut fields = Fields::of(at, draft)?;
    let revision =
        fields.required("revision", draft, |at, draft| scalar::integer(at, draft, 0..=MAX_INTEGER));
    draft.inputs.trust_hop = fields.optional("trust_hop", draft, scalar::boolean).unwrap_or(false);
    let holdouts = fields.optional("holdouts", draft, eligibility::holdouts).unwrap_or_default();
    let all = fields.peek("rollouts").map(rollout::peek).unwrap_or_default();
    let rollouts = fields.required("rollouts", draft, |at, draft| {
        let mut covered_by: Option<Box<str>> = None;
        let mut order = 0..;
        at.named_list(draft, 0..=1_000, |at, draft| {
            let names = Names { all: &all, order: order.next()? };
            let routed = rollout::rollout(at, draft, names)?;
            if let Some(name) = &covered_by {
                at.warning(draft, &format!("never reached: rollout {} takes every request", shown(name)));
            } else if routed.1.iter().any(Alternative::is_everything) {
                covered_by = Some(routed.0.name.clone());
            }
            Some(routed)
        })
    });
    fields.finish(draft);
    let names: Vec<&str> = all.iter().map(|rollout| rollout.name).collect();
    for problem in draft.dependencies.problems(&names) {
        draft.keep(problem);
    }
    Some(Parts { revision: u64::try_from(revision?).ok()?, holdouts, rollouts: rollouts? })
}

fn plan(hash: u32, parts: Parts, draft: &mut Draft) -> Plan {
    let mut index = Index::default();
    for (order, (rollout, alternatives)) in parts.rollouts.iter().enumerate() {
        for alternative in alternatives {
            for host in &alternative.hosts {
                let conditions = Rc::clone(&alternative.conditions);
                index.add(
                    host,
                    &alternative.path,
                    Posting { order, rollout: Rc::clone(rollout), conditions },
                );
            }
        }
    }
    index.finish();
    Plan {
        revision: parts.revision,
        hash,
        rollouts: parts.rollouts.into_iter().map(|(rollout, _)| rollout).collect(),
        index,
        inputs: std::mem::take(&mut draft.inputs),
        versions: draft.versions,
        holdouts: parts.holdouts.into(),
        issuers: std::mem::take(&mut draft.issuers).into(),
    }
}
