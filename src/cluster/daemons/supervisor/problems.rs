//! What keeps processes of a host from running, as its supervisor publishes it for operators.
//!
//! ```text
//!   core ── problems ──▶ PublishedProblems ── held node /problems/<supervisor> ──▶ nimbus ──▶ squall status, squall cluster
//! ```
//!
//! 1. The node is held: it vanishes with the supervisor, because nobody knows then what is still true.
//! 2. It is there only while there is a problem, and is written only when a problem begins, changes or ends. A problem
//!    has no text that changes with each attempt.
//! 3. It is bounded: so many problems, of so many bytes each. Each topology that has problems has one of them there before
//!    any topology has its second one. How many are left out is there, too.
//! 4. It has what squall itself says of a failure, and nothing that the program of a user has printed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::coordination::{
    Coordination, CoordinationError, NodePath, PathError, Record, RecordAccessError, be_present,
    encode_record,
};
use crate::cluster::daemons::supervisor::child::{ChildId, Role};
use crate::cluster::topologies::TopologyId;
use crate::text::shown;

/// Problems of one supervisor that are published at a time.
const PROBLEMS_MAX: usize = 32;
/// Bytes of the longest text of a problem.
const TEXT_MAX: usize = 512;

/// The node below which supervisors publish problems.
pub(crate) fn problems_node() -> NodePath {
    NodePath::root().child("problems").expect("it is a name")
}

/// A process that does not run as it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessProblem {
    /// Its topology.
    pub topology: TopologyId,
    /// Which process of it.
    pub process: Role,
    /// What is wrong, for people. It goes on from the name of the process: `cannot be started: the disk is full`.
    pub problem: String,
    /// Since when, by the clock of the host. For people.
    pub since: String,
}

/// The problems of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemsRecord {
    /// The id of the supervisor.
    pub supervisor: String,
    /// Random, and new with each start of the supervisor.
    pub token: String,
    /// The problems.
    pub problems: Vec<ProcessProblem>,
    /// How many there are beside these.
    pub left_out: u32,
}

impl Record for ProblemsRecord {
    const KIND: &'static str = "problems";
    const VERSION: u32 = 1;
}

/// What a supervisor publishes.
#[derive(Debug)]
pub(super) struct PublishedProblems {
    node: NodePath,
    record: ProblemsRecord,
}

impl PublishedProblems {
    /// Nothing yet.
    ///
    /// # Errors
    /// When the id of the supervisor is not a name of a node.
    pub fn new(supervisor: &str, token: &str) -> Result<PublishedProblems, PathError> {
        let (supervisor, token) = (supervisor.to_owned(), token.to_owned());
        let node = problems_node().child(&supervisor)?;
        let record = ProblemsRecord { supervisor, token, problems: Vec::new(), left_out: 0 };
        Ok(PublishedProblems { node, record })
    }

    /// These are the problems at this time. A process that had one before has it since then, whatever has changed about it.
    pub fn set(&mut self, found: &[(ChildId, String)], now: &str) {
        let since = |id: &ChildId| {
            let mut before = self.record.problems.iter();
            let before = before.find(|before| before.topology == id.topology && before.process == id.role);
            before.map_or_else(|| now.to_owned(), |before| before.since.clone())
        };
        let mut of_topology: BTreeMap<&TopologyId, usize> = BTreeMap::new();
        let mut ranked: Vec<(usize, ProcessProblem)> = Vec::new();
        for (id, text) in found {
            let rank = of_topology.entry(&id.topology).or_default();
            let (topology, process) = (id.topology.clone(), id.role);
            let problem = ProcessProblem { topology, process, problem: bounded(text), since: since(id) };
            ranked.push((*rank, problem));
            *rank += 1;
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        let left_out = ranked.len().saturating_sub(PROBLEMS_MAX);
        self.record.left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
        self.record.problems = ranked.into_iter().take(PROBLEMS_MAX).map(|(_, problem)| problem).collect();
    }

    /// Has the node be as it should.
    ///
    /// # Errors
    /// When the service does not answer, or the supervisor before this one still has the node.
    pub fn publish(&self, coordination: &dyn Coordination) -> Result<(), RecordAccessError> {
        if self.record.problems.is_empty() {
            return Ok(self.release(coordination)?);
        }
        let data = encode_record(&self.node, &self.record)?;
        be_present(coordination, &self.node, &data)?;
        Ok(())
    }

    /// Removes the node.
    ///
    /// # Errors
    /// When the service does not answer.
    pub fn release(&self, coordination: &dyn Coordination) -> Result<(), CoordinationError> {
        coordination.release(&self.node)
    }
}

/// A text that may be shown, cut to its bound.
fn bounded(text: &str) -> String {
    let mut text = shown(text);
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX - '…'.len_utf8()).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::topologies::CLUSTER_NAME_MAX;
    use crate::ids::WorkerId;

    fn worker(topology: &str, number: u16) -> ChildId {
        ChildId { topology: topology.parse().expect("an id"), role: Role::Worker(WorkerId(number)) }
    }

    fn published() -> PublishedProblems {
        PublishedProblems::new("host-1", "token").expect("it is a name")
    }

    #[test]
    fn a_problem_has_its_time_until_it_is_gone() {
        let mut published = published();
        let since = |published: &PublishedProblems| -> Vec<(String, String)> {
            let problems = published.record.problems.iter();
            problems.map(|problem| (problem.problem.clone(), problem.since.clone())).collect()
        };
        let problem = |text: &str| [(worker("words-1", 0), text.to_owned())];
        let expected = |text: &str, since: &str| vec![(text.to_owned(), since.to_owned())];
        published.set(&problem("cannot be started: the disk is full"), "8:00");
        published.set(&problem("ends again and again"), "8:01");
        assert_eq!(since(&published), expected("ends again and again", "8:00"));
        published.set(&[], "8:02");
        published.set(&problem("ends again and again"), "8:03");
        assert_eq!(since(&published), expected("ends again and again", "8:03"));
    }

    #[test]
    fn each_topology_has_a_problem_before_one_has_two_and_the_rest_is_counted() {
        let mut published = published();
        let of = |topology: &str, count: u16| -> Vec<(ChildId, String)> {
            (0..count).map(|number| (worker(topology, number), "cannot be started".to_owned())).collect()
        };
        let found = [of("aa-1", 40), of("bb-2", 2), of("cc-3", 1)].concat();
        published.set(&found, "8:00");
        let problems = &published.record.problems;
        let first: Vec<String> = problems.iter().take(3).map(|it| it.topology.to_string()).collect();
        assert_eq!(first, ["aa-1", "bb-2", "cc-3"]);
        assert_eq!((problems.len(), published.record.left_out), (PROBLEMS_MAX, 11));
    }

    #[test]
    fn the_longest_record_can_be_written_and_its_texts_can_be_shown() {
        let mut published = published();
        let name = "n".repeat(CLUSTER_NAME_MAX);
        let text = "\"\n\u{1b}[2J\u{1f600}".repeat(1000);
        let found: Vec<_> = (0..200).map(|n| (worker(&format!("{name}-{n}"), 65535), text.clone())).collect();
        published.set(&found, "2026-11-30T08:00:00.000000000Z");
        for problem in &published.record.problems {
            assert!(problem.problem.len() <= TEXT_MAX && problem.problem.ends_with('…'), "{problem:?}");
            assert!(!problem.problem.contains(['\n', '\u{1b}']));
        }
        encode_record(&published.node, &published.record).expect("it is small enough");
    }
}
