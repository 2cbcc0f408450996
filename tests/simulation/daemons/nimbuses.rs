//! Nimbuses, and the operator who asks them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use squall::clock::Time;
use squall::cluster::access::{Caller, TopologyAccess};
use squall::cluster::coordination::{CandidateRecord, ClusterRecord, MemoryClient};
use squall::cluster::daemons::belonging::Belonging;
use squall::cluster::daemons::{Leader, LeaderOptions, Nimbus, NimbusState};
use squall::cluster::operations::{Operations, RebalanceRequest, SubmitRequest};
use squall::cluster::schedule::BlacklistOptions;
use squall::cluster::topologies::{
    AssignmentRecord, BlobHash, CatalogRecord, SpecRecord, TopologyBegin, TopologyNodes, Wanted,
    topologies_node,
};

use crate::daemons::door::{Door, Gait};
use crate::daemons::plan::{Defect, Fault};
use crate::daemons::world::{World, no_log, source};
use crate::kit::lock;

const STEP: Duration = Duration::from_millis(250);
/// What runs on a host is placed elsewhere when its supervisor was missing for so long.
pub const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(10);
const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

/// A host with a nimbus.
pub struct NimbusHost {
    name: String,
    pub mark: PathBuf,
    running: Option<Running>,
}

struct Running {
    door: Arc<Door>,
    daemon: Nimbus,
    leader: Arc<Leader>,
    state: Option<NimbusState>,
    next_step: Time,
    /// It is stopped before the call of this number of the next pass, until this time.
    stops: Option<(u64, Time)>,
    asleep: Option<(JoinHandle<()>, Time)>,
}

impl NimbusHost {
    pub fn new(i: usize, mark: PathBuf) -> NimbusHost {
        NimbusHost { name: format!("nimbus-{i}"), mark, running: None }
    }

    /// What keeps its mark from being written.
    pub fn blocked_mark(&self) -> PathBuf {
        self.mark.join("cluster.json.squall-tmp")
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub fn with_client(&self, act: impl FnOnce(&MemoryClient)) {
        if let Some(running) = &self.running {
            act(&running.door.client);
        }
    }

    /// If it is stopped, it goes on with the next step.
    pub fn goes_on(&mut self) {
        if let Some(running) = &mut self.running {
            running.stops = None;
            if let Some((_, until)) = &mut running.asleep {
                *until = Time::ZERO;
            }
        }
    }

    pub fn leads(&self) -> Option<u64> {
        match self.running.as_ref()?.state {
            Some(NimbusState::Leads { epoch, .. }) => Some(epoch),
            _ => None,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((thread, _)) = self.asleep.take() {
            self.door.client.die();
            self.door.wake();
            let _ = thread.join();
        }
    }
}

impl World {
    pub fn start_nimbus(&mut self, i: usize) {
        self.starts += 1;
        let me = CandidateRecord::new(&self.nimbuses[i].name, self.starts, format!("10.0.2.{i}:7070"));
        let new = ClusterRecord::new(u128::from(self.starts), self.clock.wall_nanos());
        let belonging = Belonging::read(&self.nimbuses[i].mark).expect("its mark can be read");
        let daemon = Nimbus::new(belonging, me, new, no_log()).expect("its id is a name");
        let door = Arc::new(Door::new(self.service.client(), Arc::clone(&self.books), self.defect));
        let leader = Leader::new(LeaderOptions {
            coordination: door.clone(),
            clock: self.clock.clone(),
            blobs: self.blobs.clone(),
            registry: self.registry.clone(),
            supervisor_timeout: SUPERVISOR_TIMEOUT,
            blacklist: BlacklistOptions::default(),
            rng: StdRng::seed_from_u64(self.starts ^ self.plan.seed << 20),
            masters: None,
            logger: no_log(),
        });
        let leader = Arc::new(leader);
        let next_step = self.soon();
        self.nimbuses[i].running =
            Some(Running { door, daemon, leader, state: None, next_step, stops: None, asleep: None });
    }

    pub fn kill_nimbus(&mut self, i: usize) {
        if let Some(running) = self.nimbuses[i].running.take() {
            running.door.client.die();
        }
    }

    /// It ends in order, unless it is stopped.
    pub fn end_nimbus(&mut self, i: usize) {
        if let Some(mut running) = self.nimbuses[i].running.take_if(|running| running.asleep.is_none()) {
            running.leader.end();
            running.daemon.end(&*running.door);
        }
    }

    /// The nimbus that leads is stopped in its next pass, between two calls.
    pub fn stop_nimbus(&mut self, until: Time) {
        let call = self.rng.random_range(0..40);
        for nimbus in &mut self.nimbuses {
            if nimbus.leads().is_some()
                && let Some(running) = &mut nimbus.running
            {
                running.stops = Some((call, until));
            }
        }
    }

    pub fn step_nimbus(&mut self, i: usize) {
        let now = self.clock.now();
        let Some(mut running) = self.nimbuses[i].running.take() else { return };
        if let Some((thread, until)) = running.asleep.take() {
            if now < until {
                running.asleep = Some((thread, until));
            } else {
                self.log(|| format!("nimbus {i} goes on"));
                running.door.wake();
                assert_eq!(running.door.wait(), Gait::Ended, "it is stopped once");
                thread.join().expect("its thread does not panic");
            }
        }
        if running.asleep.is_none() {
            running.door.client.beat();
            if now >= running.next_step {
                running.next_step = now.after(STEP);
                let state = running.daemon.step(&*running.door, now);
                if let NimbusState::Leads { epoch, .. } = state {
                    running.door.epoch.store(epoch, Ordering::Relaxed);
                }
                let address = running.daemon.leader_address().map(str::to_owned);
                let of_step = state.clone();
                running.state = Some(state);
                self.do_work(i, &mut running, move |leader| {
                    let _ = leader.step(&of_step, address.as_deref());
                });
            }
        }
        let epoch = running.door.epoch.load(Ordering::Relaxed);
        let (is_asleep, begun) = (running.asleep.is_some(), lock(&self.books).begun);
        self.nimbuses[i].running = Some(running);
        if !is_asleep && self.nimbuses[i].leads() == Some(epoch) && epoch > begun {
            self.look_whether_begun(epoch);
        }
        self.check_leaders();
    }

    /// Does something that a leader does, on its thread if it is to be stopped meanwhile.
    fn do_work(&mut self, i: usize, running: &mut Running, work: impl FnOnce(&Leader) + Send + 'static) {
        let Some((call, until)) = running.stops.take() else { return work(&running.leader) };
        running.door.stop_in(call);
        let (door, leader) = (Arc::clone(&running.door), Arc::clone(&running.leader));
        let thread = thread::spawn(move || {
            work(&leader);
            door.ended();
        });
        match running.door.wait() {
            Gait::Sleeps => {
                self.cover("a nimbus is stopped between two calls");
                self.log(|| format!("nimbus {i} is stopped before call {call}"));
                running.asleep = Some((thread, until));
            }
            // It made fewer calls: the next pass may make more.
            Gait::Runs | Gait::Ended => {
                thread.join().expect("its thread does not panic");
                running.stops = Some((call / 2, until)).filter(|_| call > 0);
            }
        }
    }

    fn look_whether_begun(&self, epoch: u64) {
        let Some(catalog) = self.read::<CatalogRecord>(&topologies_node()) else { return };
        let mut is_begun = catalog.epoch == epoch;
        for id in catalog.topologies.values() {
            let nodes = TopologyNodes::of(id);
            let spec = self.read::<SpecRecord>(&nodes.spec);
            is_begun &= spec.is_none_or(|spec| spec.epoch == epoch);
            let assignment = self.read::<AssignmentRecord>(&nodes.assignment);
            is_begun &= assignment.is_none_or(|assignment| assignment.epoch == epoch);
        }
        // A leader whose defect is that it writes less begins all the same.
        if is_begun || self.defect == Some(Defect::NoFirstWrites) {
            self.cover("a leader has begun");
            lock(&self.books).begun = epoch;
        }
    }

    /// By their clocks at most one nimbus acts, unless the service ends sessions early.
    fn check_leaders(&self) {
        let faults = [Fault::Expired, Fault::DataLost, Fault::ServiceFull, Fault::WriteLost];
        if faults.iter().any(|fault| self.plan.faults.contains(fault)) {
            return;
        }
        let now = self.clock.now();
        let acts =
            |nimbus: &&NimbusHost| match nimbus.running.as_ref().and_then(|running| running.state.as_ref()) {
                Some(NimbusState::Leads { until, .. }) => *until > now,
                _ => false,
            };
        if self.nimbuses.iter().filter(acts).count() > 1 {
            self.books_wrong("two nimbuses lead".to_owned());
        }
    }

    // ---- The operator ----

    fn leader(&self) -> Option<&Leader> {
        let leading = self.nimbuses.iter().find(|nimbus| nimbus.leads().is_some())?;
        leading.running.as_ref().map(|running| &*running.leader)
    }

    /// Has the first hosts emptied, or used again.
    pub fn drain_hosts(&self, count: usize, is_drained: bool) {
        for host in &self.hosts[..count] {
            let drained = self.leader().map(|leader| leader.drain(&host.id, is_drained));
            if let Some(Err(error)) = drained {
                self.log(|| format!("{} is not drained: {error}", host.id));
            }
        }
    }

    /// Has all topologies spread over the hosts.
    pub fn rebalance_all(&self) {
        for name in NAMES {
            let rebalanced = self.leader().map(|leader| leader.rebalance(name, &RebalanceRequest::default()));
            if let Some(Err(error)) = rebalanced {
                self.log(|| format!("not rebalanced: {error}"));
            }
        }
    }

    pub fn operate(&mut self) {
        let i = self.rng.random_range(0..self.nimbuses.len());
        let name = NAMES[self.rng.random_range(0..NAMES.len())];
        let (draw, workers) = (self.rng.random_range(0..13), self.rng.random_range(1..=3));
        let inactive = self.rng.random_bool(0.2);
        let Some(running) = self.nimbuses[i].running.as_ref().filter(|running| running.asleep.is_none())
        else {
            return;
        };
        if self.nimbuses[i].leads().is_none() || lock(&self.books).is_lost {
            return;
        }
        let leader = Arc::clone(&running.leader);
        match draw {
            0..4 => {
                self.acked.remove(name);
                let bytes = serde_json::to_vec(&source(name, workers)).expect("it is JSON");
                let hash = BlobHash::of(&bytes);
                if leader.put_blob(&hash, &bytes).is_err() {
                    return;
                }
                let request = SubmitRequest {
                    source: hash,
                    owner: String::new(),
                    access: TopologyAccess::default(),
                    inactive,
                    dry_run: false,
                    begin: TopologyBegin::default(),
                };
                match leader.submit(&request, &Caller::Anybody) {
                    Ok(submitted) => {
                        self.log(|| format!("submitted: {submitted:?}"));
                        self.cover("submitted");
                        self.acked.extend(submitted.id.map(|id| (name.to_owned(), id)));
                    }
                    Err(error) => {
                        self.log(|| format!("not submitted: {error}"));
                        self.cover("not submitted");
                    }
                }
            }
            10.. => self.upgrade(&*leader, name, workers),
            9 => match leader.rebalance(name, &RebalanceRequest::default()) {
                Ok(_) => self.cover("rebalanced"),
                Err(error) => self.log(|| format!("not rebalanced: {error}")),
            },
            4 => {
                self.acked.remove(name);
                match leader.remove(name) {
                    Ok(()) => self.cover("removed"),
                    Err(_) => self.cover("not removed"),
                }
            }
            _ => {
                let wanted = match draw {
                    5 => Wanted::Killed,
                    6 => Wanted::Drained,
                    7 => Wanted::Inactive,
                    _ => Wanted::Active,
                };
                match leader.want(name, wanted) {
                    Ok(info) => {
                        self.log(|| format!("{wanted:?} is wanted of {}", info.id));
                        self.cover(&format!("{wanted:?} was wanted"));
                        if wanted.is_end() {
                            self.to_end.insert(info.id);
                        }
                    }
                    Err(error) => self.log(|| format!("{wanted:?} is not wanted: {error}")),
                }
            }
        }
    }
}
