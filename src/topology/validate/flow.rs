//! Do tuples come everywhere, and back only where somebody meant it?

use crate::topology::draft::Draft;
use crate::topology::order::{Edge, unmarked_cycles};
use crate::topology::registry::Kind;
use crate::topology::validate::problem::{ById, InputPart, Problem, Site, named};

pub(super) fn problems(draft: &Draft, by_id: &ById<'_>) -> Vec<Problem> {
    let edges = edges(draft, by_id);
    let mut problems: Vec<Problem> = unmarked_cycles(draft.components.len(), &edges)
        .iter()
        .map(|cycle| cycle_problem(draft, cycle))
        .collect();
    let has_spout = draft.components.iter().any(|component| component.kind == Kind::Spout);
    if !has_spout && draft.complete {
        problems.push(
            Problem::new(
                Site::Document,
                "the topology has no spout, so nothing would ever happen".to_owned(),
            )
            .help(
                "a spout begins the streams: declare one by `[spout.ID]` or `TopologyBuilder::spout`"
                    .to_owned(),
            ),
        );
    } else if has_spout && problems.is_empty() {
        problems.extend(unreached(draft, by_id, &edges));
    }
    problems
}

fn edges(draft: &Draft, by_id: &ById<'_>) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (to, component) in draft.components.iter().enumerate() {
        for (position, input) in component.inputs().iter().enumerate() {
            if let Some(&from) = by_id.get(input.component.as_str()) {
                edges.push(Edge { from, to, input: position, feedback: input.feedback });
            }
        }
    }
    edges
}

fn cycle_problem(draft: &Draft, cycle: &[Edge]) -> Problem {
    let id = |at: usize| format!("`{}`", draft.components[at].id);
    let path: Vec<String> = cycle.iter().map(|edge| id(edge.from)).collect();
    let message = format!("tuples would go round in a cycle: {} → {}", path.join(" → "), path[0]);
    let (closing, others) = cycle.split_last().expect("a cycle has an edge");
    let site = |edge: &Edge| Site::Input(edge.to, edge.input, InputPart::Whole);
    let problem = Problem::new(site(closing), message).label("closes the cycle").help(
        "if it is meant, mark the input that leads back with `feedback = true` (`.feedback()` in Rust)"
            .to_owned(),
    );
    others.iter().take(8).fold(problem, |problem, edge| {
        problem.related(site(edge), format!("{} → {}", id(edge.from), id(edge.to)))
    })
}

/// Bolts that take tuples only from each other, through inputs that are marked as feedback.
fn unreached(draft: &Draft, by_id: &ById<'_>, edges: &[Edge]) -> Vec<Problem> {
    let mut next = vec![Vec::new(); draft.components.len()];
    edges.iter().for_each(|edge| next[edge.from].push(edge.to));
    // What cannot be judged counts as reached: a bolt without inputs or with one that leads
    // nowhere has been reported already.
    let roots = draft.components.iter().enumerate().filter(|(_, component)| {
        let inputs = component.inputs();
        component.kind == Kind::Spout
            || inputs.is_empty()
            || inputs.iter().any(|input| !by_id.contains_key(input.component.as_str()))
    });
    let mut stack: Vec<usize> = roots.map(|(at, _)| at).collect();
    let mut reached = vec![false; draft.components.len()];
    while let Some(at) = stack.pop() {
        if !std::mem::replace(&mut reached[at], true) {
            stack.extend(&next[at]);
        }
    }
    let lost = (0..reached.len()).filter(|&at| !reached[at]);
    lost.map(|at| {
        let message = format!("no spout leads to {}, so it would never run", named(draft, at));
        Problem::new(Site::Key(at, "inputs"), message)
    })
    .collect()
}
