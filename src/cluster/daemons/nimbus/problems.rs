//! What keeps processes from running, as supervisors publish it: read when an operator asks, when an upgrade is late, or
//! when a topology is to be killed.

use std::collections::BTreeMap;

use crate::cluster::coordination::{RecordAccessError, read_record};
use crate::cluster::daemons::nimbus::found::FoundTopology;
use crate::cluster::daemons::nimbus::standing::{Fence, LeadError};
use crate::cluster::daemons::supervisor::{ProblemsRecord, Role, problems_node};
use crate::cluster::problem::ProblemInfo;
use crate::cluster::topologies::{MasterRecord, TopologyId, Wanted};
use crate::text::shown;

/// Problems that the reason of a rolled back upgrade names.
const NAMED_MAX: usize = 3;

/// The problems of all hosts, and how many more each has, by host.
#[derive(Debug, Default)]
pub(super) struct HostProblems(BTreeMap<String, (Vec<ProblemInfo>, u32)>);

impl HostProblems {
    /// Reads them. Usually there are none, and this is one call.
    pub fn read(fence: &Fence<'_>) -> Result<HostProblems, LeadError> {
        let node = problems_node();
        let mut hosts = BTreeMap::new();
        for host in fence.coordination.children(&node)?.unwrap_or_default() {
            let Ok(path) = node.child(&host) else { continue };
            let record = match read_record::<ProblemsRecord>(fence.coordination, &path) {
                Ok(Some((record, _))) => record,
                // It is over.
                Ok(None) => continue,
                // A supervisor of another version has written it. Nothing depends on it, so the rest is shown.
                Err(RecordAccessError::Record(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let problems = record.problems.into_iter().map(|problem| ProblemInfo {
                topology: problem.topology,
                host: host.clone(),
                process: problem.process.to_string(),
                problem: problem.problem,
                since: problem.since,
            });
            let problems = problems.collect();
            hosts.insert(host, (problems, record.left_out));
        }
        Ok(HostProblems(hosts))
    }

    /// Those of a topology.
    pub fn of_topology(&self, id: &TopologyId) -> Vec<ProblemInfo> {
        let all = self.0.values().flat_map(|(problems, _)| problems);
        all.filter(|problem| problem.topology == *id).cloned().collect()
    }

    /// Why the master of a topology that is to be killed does not run on its host, if it does not.
    pub fn of_absent_masters(
        fence: &Fence<'_>,
        topologies: &[FoundTopology],
    ) -> Result<BTreeMap<TopologyId, String>, LeadError> {
        let mut why = BTreeMap::new();
        let mut problems = None;
        for found in topologies {
            let assignment = found.assignment.as_ref().map(|stored| &stored.record);
            let host = assignment.and_then(|assignment| assignment.master.as_deref());
            let Some(host) =
                host.filter(|_| found.spec.record.wanted == Wanted::Killed && !found.has_ended())
            else {
                continue;
            };
            if problems.is_none() {
                problems = Some(HostProblems::read(fence)?);
            }
            let of_host = problems.as_ref().and_then(|problems| problems.0.get(host));
            let is_it = |it: &&ProblemInfo| it.topology == found.id && it.process == Role::Master.to_string();
            let problem = of_host.and_then(|(problems, _)| problems.iter().find(is_it));
            // One with an address runs, however often it has ended before, and reports the end itself.
            if let Some(problem) = problem
                && read_record::<MasterRecord>(fence.coordination, &found.nodes.master)?
                    .is_none_or(|(record, _)| record.address.is_none())
            {
                why.insert(found.id.clone(), shown(&problem.problem));
            }
        }
        Ok(why)
    }

    /// Those of a host, and how many it has beside these.
    pub fn of_host(&self, host: &str) -> (Vec<ProblemInfo>, u32) {
        self.0.get(host).cloned().unwrap_or_default()
    }

    /// The first ones of a topology, as they go on after what its master says; empty if there are none.
    pub fn reason_for(&self, id: &TopologyId) -> String {
        let problems = self.of_topology(id);
        let named = problems.iter().take(NAMED_MAX);
        let mut reason: String = named.map(|problem| format!("; {}", shown(problem))).collect();
        if problems.len() > NAMED_MAX {
            reason.push_str(&format!("; and {} more problems", problems.len() - NAMED_MAX));
        }
        reason
    }
}
