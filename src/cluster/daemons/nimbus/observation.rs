//! What a nimbus asks the masters of topologies, for operators.
//!
//! A master is asked when somebody wants to know, on a connection of its own, without the work lock. A nimbus keeps
//! nothing of the answers.

use std::time::Duration;

use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::clock::Clock;
use crate::cluster::daemons::nimbus::answers::info_of;
use crate::cluster::daemons::nimbus::found::{find, no_topology};
use crate::cluster::daemons::nimbus::leader::Leader;
use crate::cluster::daemons::nimbus::problems::HostProblems;
use crate::cluster::link::{Known, ObserverAccess};
use crate::cluster::log_pieces::LogQuestion;
use crate::cluster::operations::{OperationError, TopologyInfo, TopologyLogs, TopologyStatus};
use crate::cluster::topologies::TopologyPhase;
use crate::net::tls::Tls;

/// How long a master may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);

impl Leader {
    /// A topology, and what its master answers.
    pub(super) fn status_of(&self, name: &str) -> Result<TopologyStatus, OperationError> {
        let (topology, run) = self.topology_and_run(name)?;
        let (stats, stats_missing) = match self.ask_master(&topology, run, |access| access.stats()) {
            Ok(observed) => (Some(observed), None),
            Err(why) => (None, Some(why)),
        };
        Ok(TopologyStatus { topology, stats, stats_missing })
    }

    /// Pieces of what the processes of a topology log.
    pub(super) fn logs_of(&self, name: &str, question: &LogQuestion) -> Result<TopologyLogs, OperationError> {
        question.wishes().map_err(OperationError::Invalid)?;
        let (topology, run) = self.topology_and_run(name)?;
        let (logs, missing) = match self.ask_master(&topology, run, |access| access.logs(question)) {
            Ok(logs) => (logs, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let workers = topology.workers.iter().map(|worker| worker.worker).collect();
        Ok(TopologyLogs { id: topology.id, phase: topology.phase, workers, logs, missing })
    }

    fn topology_and_run(&self, name: &str) -> Result<(TopologyInfo, String), OperationError> {
        let found = self.look(|fence| {
            let (_, found) = find(fence, name)?;
            let problems = HostProblems::read(fence)?;
            let info = |found| Ok((info_of(fence, &found, &problems)?, found.spec.record.run));
            found.map(info).transpose()
        })?;
        found.ok_or_else(|| no_topology(name))
    }

    fn ask_master<T>(
        &self,
        topology: &TopologyInfo,
        run: String,
        ask: impl FnOnce(ObserverAccess<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        if topology.phase == TopologyPhase::Ended {
            return Err("it has ended, and its master with it".to_owned());
        }
        let master = topology.master.as_ref().ok_or("it has no master, because it runs nowhere")?;
        let address = master.address.ok_or("its master does not listen yet")?;
        let access = self.masters.as_ref().ok_or("this nimbus has no key of the cluster")?;
        let cannot = |why: String| format!("its master at {address} does not answer this nimbus: {why}");
        let tls = access.tls.as_ref().map(|paths| Tls::load(paths, &Clock::real())).transpose();
        let tls = tls.map_err(|error| cannot(error.to_string()))?;
        let mut nonce = [0; 16];
        SysRng.try_fill_bytes(&mut nonce).map_err(|error| cannot(error.to_string()))?;
        let secret = access.key.secret_of(&topology.id, &run);
        let known = Known { id: topology.id.clone(), run, secret };
        let nonce = u128::from_be_bytes(nonce);
        let access =
            ObserverAccess { address, tls: tls.as_ref(), known: &known, nonce, at_most: ANSWER_TIME };
        ask(access).map_err(cannot)
    }
}
