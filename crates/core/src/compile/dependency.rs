//! Which rollouts ask which others: no way leads back, and none of them asks too many.

use super::reader::Place;
use crate::problem::Problem;

/// Protects the request path: a request may have to be decided in each rollout that its own depends on.
const MOST: usize = 32;

/// A rollout that asks another, and where it says so.
struct Edge {
    from: usize,
    to: usize,
    path: String,
}

/// All that versions require of other rollouts.
#[derive(Default)]
pub(super) struct Dependencies(Vec<Edge>);

impl Dependencies {
    /// Must be called in document order.
    pub(super) fn add(&mut self, from: usize, to: usize, place: &Place<'_>) {
        self.0.push(Edge { from, to, path: place.to_string() });
    }

    /// Every way that leads back, by the names on it; where there is none, every rollout that asks too many others.
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

    /// Depth first, each rollout entered once. A way may be as long as the document has rollouts, so the walk keeps its own stack.
    fn cycles(&self, names: &[&str]) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut entered = vec![false; names.len()];
        for start in 0..names.len() {
            let mut way = Vec::new();
            let mut open = Vec::new();
            let mut next = Some(start);
            loop {
                if let Some(rollout) = next.take()
                    && let Some(entered) = entered.get_mut(rollout).filter(|entered| !**entered)
                {
                    *entered = true;
                    way.push(rollout);
                    open.push(self.out_of(rollout).iter());
                }
                let Some(edges) = open.last_mut() else { break };
                let Some(edge) = edges.next() else {
                    open.pop();
                    way.pop();
                    continue;
                };
                next = Some(edge.to);
                if let Some(begin) = way.iter().position(|on| *on == edge.to) {
                    let cycle = way.iter().skip(begin).chain([&edge.to]);
                    let cycle: Vec<&str> = cycle.filter_map(|rollout| names.get(*rollout).copied()).collect();
                    let message = format!("a cycle: {}", cycle.join(" -> "));
                    found.push(Problem { path: edge.path.clone(), message });
                }
            }
        }
        found
    }

    /// How many others a rollout asks, itself or through others; counted no further than it matters.
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
