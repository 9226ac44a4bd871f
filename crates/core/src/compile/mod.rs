//! From the bytes of a document to a plan, or to all of its problems.
//!
//! The only door to a [`Plan`]. It is a pure function of its bytes: Envoy runs it once per thread and once more on a canary, and all
//! of them must come to the same verdict.

mod build;
mod matching;
mod reader;
mod rollout;
mod scalar;
mod strategy;
mod traffic;

use std::rc::Rc;

use crate::index::{Index, Posting};
use crate::json::{MAX_INTEGER, Node};
use crate::plan::{Plan, Rollout};
use crate::problem::{Problem, Refused};
use crate::protobuf::parse_struct;
use matching::Alternative;
use reader::{At, Draft, Fields, Place, shown};

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
        Some((revision, rollouts)) => {
            let plan = plan(revision, hash, rollouts, &mut draft);
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

fn document(at: At<'_, '_>, draft: &mut Draft) -> Option<(u64, Vec<Routed>)> {
    let mut fields = Fields::of(at, draft)?;
    let revision =
        fields.required("revision", draft, |at, draft| scalar::integer(at, draft, 0..=MAX_INTEGER));
    draft.inputs.trust_hop = fields.optional("trust_hop", draft, scalar::boolean).unwrap_or(false);
    let rollouts = fields.required("rollouts", draft, |at, draft| {
        let mut covered_by: Option<Box<str>> = None;
        at.named_list(draft, 0..=1_000, |at, draft| {
            let routed = rollout::rollout(at, draft)?;
            if let Some(name) = &covered_by {
                at.warning(draft, &format!("never reached: rollout {} takes every request", shown(name)));
            } else if routed.1.iter().any(Alternative::is_everything) {
                covered_by = Some(routed.0.name.clone());
            }
            Some(routed)
        })
    });
    fields.later(&["holdouts"], draft);
    fields.finish(draft);
    Some((u64::try_from(revision?).ok()?, rollouts?))
}

fn plan(revision: u64, hash: u32, routed: Vec<Routed>, draft: &mut Draft) -> Plan {
    let mut index = Index::default();
    for (order, (rollout, alternatives)) in routed.iter().enumerate() {
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
    let rollouts = routed.into_iter().map(|(rollout, _)| rollout).collect();
    Plan {
        revision,
        hash,
        rollouts,
        index,
        inputs: std::mem::take(&mut draft.inputs),
        versions: draft.versions,
    }
}
