//! The configuration of a plugin: a document, or the role of the module where it is not the filter of a listener.
//!
//! One module has two roles, so that both run in one VM and can share what they know. A document never has a field `role`.

use super::context::Context;
use super::place::Place;
use super::problem::Refused;
use super::reader::{At, Fields};
use super::{Compiled, compile_node, read};

/// The field that makes a configuration a role.
const ROLE: &str = "role";

/// What a plugin is configured to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Configuration {
    /// The filter of a listener, with its document.
    Rollouts(Box<Compiled>),
    /// The upstream filter of a cluster for copies: `{"role": "shadow"}`.
    Shadow,
}

/// Reads the configuration of a plugin: the role that it names, or else the document that it is.
///
/// # Errors
///
/// Returns all problems at once, each with its path.
pub fn configuration(bytes: &[u8]) -> Result<Configuration, Refused> {
    let node = read(bytes)?;
    if node.field(ROLE).is_none() {
        return compile_node(&node).map(|compiled| Configuration::Rollouts(Box::new(compiled)));
    }
    let mut context = Context::default();
    let role =
        Fields::of(At { node: &node, place: &Place::DOCUMENT }, &mut context).and_then(|mut fields| {
            let role = fields.required(ROLE, &mut context, |at, context| at.one_word(context, &["shadow"]));
            fields.finish(&mut context);
            role
        });
    match role.filter(|_| context.problems.all.is_empty()) {
        Some(_) => Ok(Configuration::Shadow),
        None => Err(Refused { hash: Some(node.hash()), problems: context.problems.all }),
    }
}
