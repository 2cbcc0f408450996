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
                // A supervisor of another version has written it. The rest can be used without it.
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
        let killed = topologies
            .iter()
            .filter(|found| found.spec.record.wanted == Wanted::Killed && !found.has_ended())
            .filter_map(|found| Some((found, found.assignment.as_ref()?.record.master.as_deref()?)));
        let killed: Vec<(&FoundTopology, &str)> = killed.collect();
        let mut why = BTreeMap::new();
        if killed.is_empty() {
            return Ok(why);
        }
        let problems = HostProblems::read(fence)?;
        for (found, host) in killed {
            let is_it = |it: &&ProblemInfo| it.topology == found.id && it.process == Role::Master.to_string();
            let of_host = problems.0.get(host);
            let Some(problem) = of_host.and_then(|(problems, _)| problems.iter().find(is_it)) else {
                continue;
            };
            let master = read_record::<MasterRecord>(fence.coordination, &found.nodes.master)?;
            // One with an address runs, however often it has ended before, and reports the end itself.
            if master.is_none_or(|(record, _)| record.address.is_none()) {
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
