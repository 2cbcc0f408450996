//! The shape of a graph: what comes before what, and which edges lead back.
//!
//! An edge goes from a component to a bolt that subscribes to one of its streams. Edges marked
//! `feedback` are meant to lead back, so they are left out wherever an order is asked for; without
//! them a valid topology has no cycle. Nothing here recurses: a chain may be as long as a topology
//! may have components.

use std::collections::{BTreeSet, VecDeque};

use crate::topology::graph::Topology;

/// How many cycles are reported at once.
const CYCLES_REPORTED_MAX: usize = 16;

/// A subscription as an edge between positions of [`Topology::components`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The component that emits.
    pub from: usize,
    /// The bolt that subscribes.
    pub to: usize,
    /// The position of the subscription among the bolt's inputs.
    pub input: usize,
    /// Whether it is marked as leading back.
    pub feedback: bool,
}

impl Topology {
    /// All subscriptions, by subscriber.
    pub fn edges(&self) -> Vec<Edge> {
        let components = self.components();
        let position = |id: &str| components.iter().position(|component| component.id == id);
        let mut edges = Vec::new();
        for (to, component) in components.iter().enumerate() {
            for (input, spec) in component.inputs.iter().enumerate() {
                let from = position(&spec.component).expect("inputs of a valid topology lead somewhere");
                edges.push(Edge { from, to, input, feedback: spec.feedback });
            }
        }
        edges
    }

    /// The edges that are marked as leading back.
    pub fn feedback_edges(&self) -> Vec<Edge> {
        self.edges().into_iter().filter(|edge| edge.feedback).collect()
    }

    /// Components so ordered that each comes after those it takes tuples from, feedback aside;
    /// among equals in the order of declaration.
    pub fn topological_order(&self) -> Vec<usize> {
        topological_order(self.components().len(), &self.edges())
    }

    /// For each component, whether it has event time: it reads the time of what it emits, or something that does is in
    /// front of it. What only leads back to it does not count.
    pub fn components_with_time(&self) -> Vec<bool> {
        let components = self.components();
        let mut with_time: Vec<bool> =
            components.iter().map(|component| component.options.event_time.is_some()).collect();
        let edges = self.edges();
        // In this order, everything in front of a component comes before it.
        for at in self.topological_order() {
            with_time[at] |= edges.iter().any(|edge| edge.to == at && !edge.feedback && with_time[edge.from]);
        }
        with_time
    }

    /// The components that tuples of this one can reach, feedback included, in order. The
    /// component itself is among them only when it lies on a cycle.
    pub fn downstream_of(&self, component: usize) -> Vec<usize> {
        let reached = reachable(&successors(self.components().len(), &self.edges()), component);
        (0..reached.len()).filter(|&at| reached[at]).collect()
    }

    /// The edges that lie on a cycle, as (from, to).
    pub fn cycle_edges(&self) -> BTreeSet<(usize, usize)> {
        let edges = self.edges();
        if !edges.iter().any(|edge| edge.feedback) {
            return BTreeSet::new();
        }
        let next = successors(self.components().len(), &edges);
        let mut found = BTreeSet::new();
        for to in 0..next.len() {
            // Its source can be reached again from its target.
            let reached = reachable(&next, to);
            let back = edges.iter().filter(|edge| edge.to == to && reached[edge.from]);
            found.extend(back.map(|edge| (edge.from, edge.to)));
        }
        found
    }
}

/// As [`Topology::topological_order`]; components on a cycle, and behind one, are left out.
pub(crate) fn topological_order(count: usize, edges: &[Edge]) -> Vec<usize> {
    let forward: Vec<Edge> = edges.iter().copied().filter(|edge| !edge.feedback).collect();
    let next = successors(count, &forward);
    let mut waiting = vec![0_usize; count];
    forward.iter().for_each(|edge| waiting[edge.to] += 1);
    let mut ready: BTreeSet<usize> = (0..count).filter(|&at| waiting[at] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for &to in &next[at] {
            waiting[to] -= 1;
            if waiting[to] == 0 {
                ready.insert(to);
            }
        }
    }
    order
}

/// The cycles that edges close which are not marked as feedback, as the edges walked from one
/// component until back there. Cycles that share a component with one already found are most
/// likely the same mistake and left out; so is what exceeds [`CYCLES_REPORTED_MAX`].
pub(crate) fn unmarked_cycles(count: usize, edges: &[Edge]) -> Vec<Vec<Edge>> {
    let mut left: Vec<Edge> = edges.iter().copied().filter(|edge| !edge.feedback).collect();
    let mut cycles = Vec::new();
    while cycles.len() < CYCLES_REPORTED_MAX {
        prune(count, &mut left);
        let Some(start) = on_some_cycle(count, &left) else { break };
        let cycle = way_back(count, &left, start).expect("the start lies on a cycle");
        let mut taken = vec![false; count];
        cycle.iter().for_each(|edge| taken[edge.from] = true);
        left.retain(|edge| !taken[edge.from] && !taken[edge.to]);
        cycles.push(cycle);
    }
    cycles
}

/// Leaves only edges that lie on a cycle, or on a way from one cycle to another.
fn prune(count: usize, edges: &mut Vec<Edge>) {
    for _ in 0..2 {
        let mut sorted = vec![false; count];
        topological_order(count, edges).into_iter().for_each(|at| sorted[at] = true);
        edges.retain(|edge| !sorted[edge.from] && !sorted[edge.to]);
        // Once more the other way round; the second turn restores the direction.
        edges.iter_mut().for_each(|edge| std::mem::swap(&mut edge.from, &mut edge.to));
    }
}

/// A component on a cycle of pruned edges: every end of an edge is the start of another, so that
/// walking on must come back to where it was.
fn on_some_cycle(count: usize, edges: &[Edge]) -> Option<usize> {
    let mut next = vec![None; count];
    edges.iter().rev().for_each(|edge| next[edge.from] = Some(edge.to));
    let step = |at: usize| next[at].expect("pruned edges have no end");
    let mut at = edges.iter().map(|edge| edge.from).min()?;
    let mut seen = vec![false; count];
    while !std::mem::replace(&mut seen[at], true) {
        at = step(at);
    }
    let cycle = std::iter::successors(Some(step(at)), |&on| Some(step(on)).filter(|_| on != at));
    cycle.min()
}

/// The shortest way from a component that can reach itself back to it.
fn way_back(count: usize, edges: &[Edge], start: usize) -> Option<Vec<Edge>> {
    let mut outgoing = vec![Vec::new(); count];
    edges.iter().for_each(|edge| outgoing[edge.from].push(*edge));
    let mut reached_by: Vec<Option<Edge>> = vec![None; count];
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for &edge in &outgoing[at] {
            if reached_by[edge.to].is_none() {
                reached_by[edge.to] = Some(edge);
                queue.push_back(edge.to);
            }
        }
    }
    let mut path = vec![reached_by[start]?];
    while let Some(first) = path.last().filter(|edge| edge.from != start) {
        path.push(reached_by[first.from].expect("every component on the way was reached by an edge"));
    }
    path.reverse();
    Some(path)
}

/// Which components can be reached by one edge or more.
fn reachable(next: &[Vec<usize>], from: usize) -> Vec<bool> {
    let mut reached = vec![false; next.len()];
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        for &to in &next[at] {
            if !reached[to] {
                reached[to] = true;
                queue.push_back(to);
            }
        }
    }
    reached
}

fn successors(count: usize, edges: &[Edge]) -> Vec<Vec<usize>> {
    let mut next = vec![Vec::new(); count];
    edges.iter().for_each(|edge| next[edge.from].push(edge.to));
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::graph::testing::topology;

    fn edge(from: usize, to: usize) -> Edge {
        Edge { from, to, input: 0, feedback: false }
    }

    #[test]
    fn a_component_comes_after_what_it_takes_from() {
        let diamond =
            topology(&[("d", &["b", "c"]), ("c", &["a"]), ("b", &["a"]), ("a", &[]), ("e", &["d"])]);
        assert_eq!(diamond.topological_order(), [3, 1, 2, 0, 4]);
    }

    #[test]
    fn feedback_is_left_out_of_the_order_but_is_a_way_downstream() {
        let mut looped = topology(&[("a", &[]), ("b", &["a", "c"]), ("c", &["b"]), ("d", &["a"])]);
        looped.components[1].inputs[1].feedback = true;
        assert_eq!(looped.topological_order(), [0, 1, 2, 3]);
        assert_eq!(looped.feedback_edges(), [Edge { from: 2, to: 1, input: 1, feedback: true }]);
        assert_eq!(looped.downstream_of(0), [1, 2, 3]);
        assert_eq!(looped.downstream_of(2), [1, 2]);
        assert!(looped.downstream_of(3).is_empty());
        assert_eq!(looped.cycle_edges(), [(1, 2), (2, 1)].into());
    }

    #[test]
    fn cycles_are_found_one_for_each_group() {
        let check = |count, edges: &[(usize, usize)], expected: &[&[(usize, usize)]]| {
            let edges: Vec<Edge> = edges.iter().map(|&(from, to)| edge(from, to)).collect();
            let cycles: Vec<Vec<(usize, usize)>> = unmarked_cycles(count, &edges)
                .iter()
                .map(|cycle| cycle.iter().map(|edge| (edge.from, edge.to)).collect())
                .collect();
            assert_eq!(cycles, expected);
        };
        check(3, &[(0, 1), (1, 2)], &[]);
        check(1, &[(0, 0)], &[&[(0, 0)]]);
        check(4, &[(0, 1), (1, 2), (2, 3), (3, 1)], &[&[(1, 2), (2, 3), (3, 1)]]);
        check(6, &[(0, 1), (1, 2), (2, 1), (2, 3), (3, 4), (4, 3)], &[&[(1, 2), (2, 1)], &[(3, 4), (4, 3)]]);
        check(3, &[(0, 1), (1, 0), (1, 2), (2, 0)], &[&[(0, 1), (1, 0)]]);
    }

    #[test]
    fn a_chain_of_any_length_is_no_problem() {
        let edges: Vec<Edge> = (0..50_000).map(|at| edge(at, at + 1)).collect();
        assert_eq!(topological_order(50_001, &edges).len(), 50_001);
        assert!(unmarked_cycles(50_001, &edges).is_empty());
    }
}
