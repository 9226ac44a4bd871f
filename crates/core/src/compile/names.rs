//! The names of rollouts and versions, read before anything that refers to them.
//!
//! So a rollout can refer to a version or a rollout that comes later in the document.

use super::context::Context;
use super::json::Node;
use super::place::shown;
use super::reader::{At, name_of};

/// The name of a rollout and the names of its versions.
#[derive(Default)]
pub(super) struct Known<'n> {
    pub(super) name: &'n str,
    pub(super) versions: Vec<&'n str>,
    /// The clusters of its versions.
    pub(super) clusters: Vec<&'n str>,
    pub(super) stable: Option<usize>,
    /// Ordinal of its first version.
    pub(super) first: usize,
}

/// The names of all rollouts, in document order.
pub(super) fn peek(rollouts: &Node) -> Vec<Known<'_>> {
    let Node::Array(items) = rollouts else { return Vec::new() };
    let mut first = 0_usize;
    let known = items.iter().map(|item| {
        let known = Known { first, ..Known::of(item) };
        first = first.saturating_add(known.versions.len());
        known
    });
    known.collect()
}

impl<'n> Known<'n> {
    fn of(rollout: &'n Node) -> Self {
        let items = match rollout.field("versions") {
            Some(Node::Array(items)) => items.as_slice(),
            _ => &[],
        };
        let versions: Vec<&str> = items.iter().map(|item| name_of(item).unwrap_or_default()).collect();
        let clusters = items.iter().map(cluster_of).collect();
        let stable = rollout.field("stable").and_then(name_of).and_then(|stable| position(&versions, stable));
        Self { name: name_of(rollout).unwrap_or_default(), versions, stable, clusters, first: 0 }
    }

    /// The position of the version that this text names.
    pub(super) fn resolve(&self, at: At<'_, '_>, context: &mut Context) -> Option<usize> {
        let name = at.any_text(context)?;
        match position(&self.versions, name) {
            Some(position) => Some(position),
            None => at.problem(context, &format!("no version is named {}", shown(name))),
        }
    }
}

fn cluster_of(version: &Node) -> &str {
    version.field("cluster").and_then(Node::text).unwrap_or_default()
}

pub(super) fn position(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|known| *known == name && !name.is_empty())
}

/// The names that the parts of one rollout may refer to.
#[derive(Clone, Copy)]
pub(super) struct Names<'n> {
    pub(super) all: &'n [Known<'n>],
    /// Position of the rollout that is being read.
    pub(super) order: usize,
}

impl<'n> Names<'n> {
    /// The first version in the document that has this cluster.
    pub(super) fn version_of(&self, cluster: &str) -> Option<&'n str> {
        self.all.iter().find_map(|rollout| {
            let position = position(&rollout.clusters, cluster)?;
            rollout.versions.get(position).copied()
        })
    }
}
