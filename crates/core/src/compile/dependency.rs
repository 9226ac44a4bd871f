//! The graph of `requires` between rollouts: finds cycles, and rollouts that depend on too many others.
//!
//! Without cycles a decision always ends, and the limit bounds what it costs.

use super::place::{Place, shown};
use super::problem::Problem;

/// Protects the request path: a request may have to be decided in each rollout that its own depends on.
const MOST: usize = 32;

/// A rollout that depends on another, and the place in the document that says so.
struct Edge {
    from: usize,
    to: usize,
    path: String,
}

/// All that versions require of other rollouts.
#[derive(Default)]
pub(super) struct Dependencies(Vec<Edge>);

impl Dependencies {
    /// Adds an edge. Edges must be added in document order.
    pub(super) fn add(&mut self, from: usize, to: usize, place: &Place<'_>) {
        self.0.push(Edge { from, to, path: place.to_string() });
    }

    /// Every cycle with the names on it. If there is none, every rollout that depends on too many others.
    pub(super) fn problems(&self, names: &[&str]) -> Vec<Problem> {
        let cycles = self.cycles(names);
        if !cycles.is_empty() {
            return cycles;
        }
        let asking = self.0.chunk_by(|one, next| one.from == next.from).filter_map(|edges| edges.first());
        let too_many = asking.filter(|edge| self.asked_by(edge.from) > MOST);
        let message = format!("the rollout depends on more than {MOST} others");
        too_many.map(|edge| Problem { path: edge.path.clone(), message: message.clone() }).collect()
    }

    fn out_of(&self, from: usize) -> &[Edge] {
        let start = self.0.partition_point(|edge| edge.from < from);
        let end = self.0.partition_point(|edge| edge.from <= from);
        self.0.get(start..end).unwrap_or_default()
    }

    /// Depth-first search that enters each rollout once. It keeps its own stack, because a path may contain every rollout.
    fn cycles(&self, names: &[&str]) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut entered = vec![false; names.len()];
        let mut enter = |rollout: usize| {
            let is_first = entered.get_mut(rollout).is_some_and(|entered| !std::mem::replace(entered, true));
            is_first.then(|| (rollout, self.out_of(rollout).iter()))
        };
        for start in 0..names.len() {
            let mut way: Vec<_> = enter(start).into_iter().collect();
            while let Some((_, edges)) = way.last_mut() {
                let Some(edge) = edges.next() else {
                    way.pop();
                    continue;
                };
                if let Some(begin) = way.iter().position(|(on, _)| *on == edge.to) {
                    let cycle = way.iter().skip(begin).map(|(on, _)| on).chain([&edge.to]);
                    let cycle: Vec<String> =
                        cycle.filter_map(|rollout| names.get(*rollout).map(|name| shown(name))).collect();
                    let message = format!("`requires` forms a cycle: {}", cycle.join(" -> "));
                    found.push(Problem { path: edge.path.clone(), message });
                }
                way.extend(enter(edge.to)); // nothing if the rollout was entered before
            }
        }
        found
    }

    /// How many others a rollout depends on, directly or not. Counting stops above the limit.
    fn asked_by(&self, rollout: usize) -> usize {
        let mut asked = vec![rollout];
        let mut position = 0;
        while let Some(from) = asked.get(position).copied().filter(|_| asked.len() <= MOST.saturating_add(1))
        {
            position = position.saturating_add(1);
            for edge in self.out_of(from) {
                if !asked.contains(&edge.to) {
                    asked.push(edge.to);
                }
            }
        }
        asked.len().saturating_sub(1)
    }
}
