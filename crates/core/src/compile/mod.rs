//! Compiles the bytes of a document into a plan, or into all of its problems.
//!
//! This is the only way to get a [`Plan`], so every plan can be served. The result depends on the bytes alone, never on
//! time, health or earlier documents: Envoy compiles a document in a canary context and then once per thread, and all of
//! them must agree.

mod build;
mod check;
mod compare;
mod compatibility;
mod condition;
pub(crate) mod configuration;
mod context;
mod cookie;
mod dependency;
mod eligibility;
mod failover;
mod freeze;
mod guardrails;
mod json;
mod names;
mod number;
mod overrides;
mod place;
pub(crate) mod problem;
mod protobuf;
mod ramp;
mod reader;
mod rewrite;
mod rollout;
mod scalar;
mod scheme;
mod shadow;
mod spec;
mod strategy;

use std::rc::Rc;

use self::condition::Alternative;
use self::context::Context;
use self::json::{MAX_INTEGER, Node};
use self::names::Names;
use self::place::{Place, shown};
use self::problem::{Problem, Refused};
use self::protobuf::parse_struct;
use self::reader::{At, Fields};
use crate::plan::Plan;
use crate::plan::eligibility::Holdout;
use crate::plan::index::{Index, Posting};
use crate::plan::rollout::Rollout;

/// Largest document in bytes. The limit protects Envoy's main thread, which handles no other update while it parses a document.
pub const MAX_BYTES: usize = 1 << 20;

/// What some editors put in front of UTF-8 text (U+FEFF); JSON text must not have it (RFC 8259, 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A plan, with warnings for its author.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// The plan, ready to serve.
    pub plan: Plan,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
}

/// Compiles a document.
///
/// # Errors
///
/// Returns all problems of the document at once, each with its path.
pub fn compile(bytes: &[u8]) -> Result<Compiled, Refused> {
    compile_node(&read(bytes)?)
}

fn compile_node(node: &Node) -> Result<Compiled, Refused> {
    let mut context = Context::default();
    let parts = document(At { node, place: &Place::DOCUMENT }, &mut context);
    let hash = node.hash(); // after reading, when it is known which texts of a `Struct` are numbers
    match parts.filter(|_| context.problems.all.is_empty()) {
        Some(parts) => {
            let plan = plan(hash, parts, &mut context);
            Ok(Compiled { plan, warnings: context.problems.warnings })
        }
        None => Err(Refused { hash: Some(hash), problems: context.problems.all }),
    }
}

/// The tree of a document that is not too large.
fn read(bytes: &[u8]) -> Result<Node, Refused> {
    if bytes.len() > MAX_BYTES {
        return Err(whole_document(format!("larger than {MAX_BYTES} bytes")));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        return Err(whole_document("begins with a byte order mark: save it as UTF-8 without one".to_owned()));
    }
    parse(bytes)
}

/// Parses JSON text, or the wire form of a `Struct`. Errors are about JSON, because that is what people write.
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

fn document(at: At<'_, '_>, context: &mut Context) -> Option<Parts> {
    let mut fields = Fields::of(at, context)?;
    let revision =
        fields.required("revision", context, |at, context| scalar::integer(at, context, 0..=MAX_INTEGER));
    context.shared.inputs.trust_hop = fields.optional("trust_hop", context, scalar::boolean).unwrap_or(false);
    let holdouts = fields.optional("holdouts", context, eligibility::holdouts).unwrap_or_default();
    let all = fields.peek("rollouts").map(names::peek).unwrap_or_default();
    let rollouts = fields.required("rollouts", context, |at, context| {
        let mut covered_by: Option<Box<str>> = None;
        let mut order = 0..;
        at.named_list(context, 0..=1_000, |at, context| {
            let names = Names { all: &all, order: order.next()? };
            let routed = rollout::rollout(at, context, names)?;
            if let Some(name) = &covered_by {
                at.warning(
                    context,
                    &format!("never reached: rollout {} before it matches every request", shown(name)),
                );
            } else if routed.1.iter().any(Alternative::is_everything) {
                covered_by = Some(routed.0.name.clone());
            }
            Some(routed)
        })
    });
    fields.finish(context);
    let names: Vec<&str> = all.iter().map(|rollout| rollout.name).collect();
    for problem in context.shared.dependencies.problems(&names) {
        context.problems.keep(problem);
    }
    Some(Parts { revision: u64::try_from(revision?).ok()?, holdouts, rollouts: rollouts? })
}

fn plan(hash: u32, parts: Parts, context: &mut Context) -> Plan {
    let mut index = Index::default();
    for (order, (_, alternatives)) in parts.rollouts.iter().enumerate() {
        for alternative in alternatives {
            for host in &alternative.hosts {
                let conditions = Rc::clone(&alternative.conditions);
                index.add(host, &alternative.path, Posting { order, conditions });
            }
        }
    }
    index.finish();
    Plan {
        revision: parts.revision,
        hash,
        rollouts: parts.rollouts.into_iter().map(|(rollout, _)| rollout).collect(),
        index,
        inputs: std::mem::take(&mut context.shared.inputs),
        versions: context.shared.versions,
        holdouts: parts.holdouts.into(),
        issuers: std::mem::take(&mut context.shared.issuers).into(),
    }
}
