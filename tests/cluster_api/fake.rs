//! Operations in memory. What a topology does next is what a test has written down.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use slog::{Discard, Logger, o};
use squall::cluster::TopologySource;
use squall::cluster::access::{AccessChange, Caller, TopologyAccess};
use squall::cluster::api::{ApiLimits, ApiOptions, ApiServer};
use squall::cluster::log_pieces::{LogAnswer, LogQuestion};
use squall::cluster::observed::Observed;
use squall::cluster::operations::{
    ClusterInfo, HostInfo, HostedInfo, LogLevelInfo, LogLevelRequest, MasterInfo, MoveInfo, NimbusInfo,
    OperationError, Operations, RebalanceRequest, Rebalanced, SavepointRequest, SubmitRequest, Submitted,
    SupervisorInfo, TopologyInfo, TopologyLogs, TopologyStatus, UpgradeRequest, Upgraded, WorkerInfo,
};
use squall::cluster::platform::{Glibc, Platform};
use squall::cluster::topologies::{
    BlobHash, Outcome, SavepointWish, TopologyPhase, Upgrade, UpgradeOutcome, Wanted,
};
use squall::config::Resources;
use squall::topology::registry::Registry;

/// What happens to a topology before it is looked at the next time.
pub type Turn = fn(&mut TopologyInfo);

#[derive(Default)]
pub struct Inside {
    pub blobs: BTreeMap<BlobHash, Vec<u8>>,
    pub submitted: Vec<SubmitRequest>,
    /// Who has submitted each.
    pub asked_by: Vec<Caller>,
    pub topologies: BTreeMap<String, TopologyInfo>,
    /// One is taken each time that a topology is looked at.
    pub turns: VecDeque<Turn>,
    /// What each call is answered with, if something is set.
    pub error: Option<OperationError>,
    /// Whether there is no room.
    pub short: Option<String>,
    /// Whether calls wait until this is false again.
    pub holds: bool,
    /// How many calls have begun.
    pub begun: usize,
    /// What the master of each topology answers; `None`: it does not.
    pub stats: Option<Observed>,
    /// Whether the host is to be empty.
    pub drained: bool,
    /// What is on the host, one after the other each time that it is looked at; nothing after that.
    pub hosted: VecDeque<Vec<HostedInfo>>,
    /// What was asked about logs, and what is answered, one after the other; after that the master does not answer.
    pub questions: Vec<LogQuestion>,
    pub logs: VecDeque<Vec<LogAnswer>>,
    next: u64,
}

#[derive(Default)]
pub struct Fake {
    inside: Mutex<Inside>,
    changed: Condvar,
}

/// Any free port of loopback.
pub fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Fake {
    pub fn new() -> Arc<Fake> {
        Arc::default()
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("no call panics while it has the lock")
    }

    pub fn change(&self, change: impl FnOnce(&mut Inside)) {
        change(&mut self.inside());
        self.changed.notify_all();
    }

    /// Waits until so many calls have begun.
    pub fn wait_until_begun(&self, calls: usize) {
        let inside = self.inside();
        drop(self.changed.wait_while(inside, |inside| inside.begun < calls).expect("it is not poisoned"));
    }

    /// A server of these operations.
    pub fn serve(self: &Arc<Fake>) -> ApiServer {
        self.serve_within(ApiLimits::default())
    }

    pub fn serve_within(self: &Arc<Fake>, limits: ApiLimits) -> ApiServer {
        self.serve_with(ApiOptions { limits, ..ApiOptions::on(any_port()) })
    }

    pub fn serve_with(self: &Arc<Fake>, options: ApiOptions) -> ApiServer {
        let operations: Arc<dyn Operations> = Arc::clone(self) as _;
        ApiServer::start(options, operations, &Logger::root(Discard, o!())).expect("it starts")
    }

    /// A topology that is there.
    pub fn has(&self, name: &str, phase: TopologyPhase) {
        self.change(|inside| _ = inside.add(name, Wanted::Active, phase));
    }

    fn begin(&self) -> Result<MutexGuard<'_, Inside>, OperationError> {
        let mut inside = self.inside();
        inside.begun += 1;
        self.changed.notify_all();
        let inside = self.changed.wait_while(inside, |inside| inside.holds).expect("it is not poisoned");
        match &inside.error {
            Some(error) => Err(error.clone()),
            None => Ok(inside),
        }
    }
}

impl Inside {
    fn add(&mut self, name: &str, wanted: Wanted, phase: TopologyPhase) -> TopologyInfo {
        self.next += 1;
        let worker = |worker| WorkerInfo { worker, host: "ada".to_owned(), slot: worker + 1 };
        let runs = self.short.is_none();
        let info = TopologyInfo {
            id: format!("{name}-{}", self.next).parse().expect("an id"),
            name: name.to_owned(),
            owner: "somebody".to_owned(),
            access: TopologyAccess::default(),
            submitted_at: "2026-11-30T09:00:00Z".to_owned(),
            wanted,
            generation: 1,
            runs: 1,
            phase,
            savepoint_wanted: None,
            savepoint: None,
            log: None,
            upgrade: None,
            verdict: None,
            outcome: (phase == TopologyPhase::Ended).then(Outcome::default),
            workers: if runs { vec![worker(0), worker(1)] } else { Vec::new() },
            master: runs.then(|| MasterInfo {
                host: "ada".to_owned(),
                epoch: 1,
                address: Some(([127, 0, 0, 1], 4000).into()),
            }),
            short: self.short.clone(),
            problems: Vec::new(),
        };
        self.topologies.insert(name.to_owned(), info.clone());
        info
    }

    fn host(&mut self) -> HostInfo {
        HostInfo {
            id: "ada".to_owned(),
            is_there: true,
            drained_since: self.drained.then(|| "2026-11-30T09:00:00Z".to_owned()),
            blacklisted_for: None,
            runs: self.hosted.pop_front().unwrap_or_default(),
            problems: self.topologies.values().flat_map(|info| info.problems.clone()).collect(),
            ..HostInfo::default()
        }
    }

    fn find(&mut self, name: &str) -> Result<&mut TopologyInfo, OperationError> {
        let missing = || OperationError::NoTopology { name: name.to_owned() };
        self.topologies.get_mut(name).ok_or_else(missing)
    }
}

impl Operations for Fake {
    fn submit(&self, request: &SubmitRequest, by: &Caller) -> Result<Submitted, OperationError> {
        let mut inside = self.begin()?;
        let Some(source) = inside.blobs.get(&request.source) else {
            return Err(OperationError::Invalid(format!("there is no blob {}", request.source)));
        };
        // Tests of requests alone put bytes that are no source.
        let source = serde_json::from_slice::<TopologySource>(source).ok();
        let topology =
            source.map(|source| source.load(&Registry::with_standard()).expect("it was validated"));
        let name = topology.map_or_else(|| "words".to_owned(), |topology| topology.name().to_owned());
        if inside.topologies.get(&name).is_some_and(|other| other.phase != TopologyPhase::Ended) {
            return Err(OperationError::Conflict(format!("there is a topology `{name}` already")));
        }
        inside.submitted.push(request.clone());
        inside.asked_by.push(by.clone());
        let wanted = if request.inactive { Wanted::Inactive } else { Wanted::Active };
        let info = inside.add(&name, wanted, TopologyPhase::Starting);
        if request.dry_run {
            inside.topologies.remove(&name);
        }
        let id = (!request.dry_run).then_some(info.id);
        Ok(Submitted { id, name, workers: info.workers, short: info.short })
    }

    fn topologies(&self) -> Result<Vec<TopologyInfo>, OperationError> {
        Ok(self.begin()?.topologies.values().cloned().collect())
    }

    fn topology(&self, name: &str) -> Result<TopologyInfo, OperationError> {
        let mut inside = self.begin()?;
        inside.find(name)?;
        if let Some(turn) = inside.turns.pop_front() {
            turn(inside.find(name)?);
        }
        inside.find(name).cloned()
    }

    fn stats(&self, name: &str) -> Result<TopologyStatus, OperationError> {
        let topology = self.topology(name)?;
        let stats = self.inside().stats.clone();
        let stats_missing = stats.is_none().then(|| "its master does not answer".to_owned());
        Ok(TopologyStatus { topology, stats, stats_missing })
    }

    fn logs(&self, name: &str, question: &LogQuestion) -> Result<TopologyLogs, OperationError> {
        let topology = self.topology(name)?;
        let mut inside = self.inside();
        inside.questions.push(question.clone());
        let logs = inside.logs.pop_front().unwrap_or_default();
        let workers = topology.workers.iter().map(|worker| worker.worker).collect();
        let missing = logs.is_empty().then(|| "its master does not answer".to_owned());
        Ok(TopologyLogs { id: topology.id, phase: topology.phase, workers, logs, missing })
    }

    fn want(&self, name: &str, wanted: Wanted) -> Result<TopologyInfo, OperationError> {
        let mut inside = self.begin()?;
        let info = inside.find(name)?;
        if matches!(info.phase, TopologyPhase::Ending | TopologyPhase::Ended) {
            return Err(OperationError::Conflict(format!("topology `{name}` has ended or is ending")));
        }
        info.wanted = wanted;
        Ok(info.clone())
    }

    fn savepoint(&self, name: &str, request: &SavepointRequest) -> Result<TopologyInfo, OperationError> {
        let mut inside = self.begin()?;
        let info = inside.find(name)?;
        let number = info.savepoint_wanted.as_ref().map_or(1, |wish| wish.number + 1);
        let SavepointRequest { directory, stops } = request.clone();
        info.savepoint_wanted = Some(SavepointWish { number, directory, stops });
        Ok(info.clone())
    }

    fn restart(&self, name: &str) -> Result<TopologyInfo, OperationError> {
        let mut inside = self.begin()?;
        let info = inside.find(name)?;
        info.generation += 1;
        Ok(info.clone())
    }

    fn rebalance(&self, name: &str, request: &RebalanceRequest) -> Result<Rebalanced, OperationError> {
        let mut inside = self.begin()?;
        let short = inside.short.clone();
        let info = inside.find(name)?;
        info.generation += u64::from(!request.dry_run);
        let why = "new".to_owned();
        let (from, to) = (None, Some("ada:1".to_owned()));
        Ok(Rebalanced {
            id: info.id.clone(),
            generation: (!request.dry_run).then_some(info.generation),
            workers: info.workers.clone(),
            moves: vec![MoveInfo { from, to, executors: 2, why }],
            short,
        })
    }

    fn change_access(&self, name: &str, change: &AccessChange) -> Result<TopologyInfo, OperationError> {
        let mut inside = self.begin()?;
        let missing = || OperationError::NoTopology { name: name.to_owned() };
        let info = inside.topologies.get_mut(name).ok_or_else(missing)?;
        info.access.change(change);
        Ok(info.clone())
    }

    fn log_level(&self, name: &str, request: &LogLevelRequest) -> Result<TopologyInfo, OperationError> {
        let mut inside = self.begin()?;
        let info = inside.find(name)?;
        let until = format!("in {} s", request.seconds);
        info.log = request.levels.clone().map(|levels| LogLevelInfo { levels, until });
        Ok(info.clone())
    }

    fn upgrade(&self, name: &str, request: &UpgradeRequest) -> Result<Upgraded, OperationError> {
        let mut inside = self.begin()?;
        let before = request.source.clone();
        let short = inside.short.clone();
        let info = inside.find(name)?;
        let generation = info.generation + 1;
        if !request.dry_run {
            let (timeout_ms, outcome) = (request.timeout_seconds * 1000, UpgradeOutcome::Pending);
            info.upgrade = Some(Upgrade { generation, before, timeout_ms, outcome });
            info.generation = generation;
        }
        Ok(Upgraded {
            id: info.id.clone(),
            generation: (!request.dry_run).then_some(generation),
            changes: vec!["bolt `more` is new".to_owned()],
            workers: info.workers.clone(),
            moves: Vec::new(),
            short,
        })
    }

    fn remove(&self, name: &str) -> Result<(), OperationError> {
        let mut inside = self.begin()?;
        if inside.find(name)?.phase != TopologyPhase::Ended {
            return Err(OperationError::Conflict(format!("topology `{name}` has not ended")));
        }
        inside.topologies.remove(name);
        Ok(())
    }

    fn cluster(&self) -> Result<ClusterInfo, OperationError> {
        drop(self.begin()?);
        Ok(ClusterInfo {
            id: "c".repeat(32),
            leader: Some("n-1".to_owned()),
            epoch: 1,
            nimbuses: vec![NimbusInfo { id: "n-1".to_owned(), address: "127.0.0.1:7070".to_owned() }],
            supervisors: vec![SupervisorInfo {
                host: self.inside().host(),
                rack: "default-rack".to_owned(),
                slots: 4,
                used: 2,
                resources: Resources::new(4.0, 4 << 30),
                platform: Platform {
                    arch: "x86_64".to_owned(),
                    glibc: Some(Glibc { major: 2, minor: 36 }),
                    protocol: 1,
                },
                started_at: "2026-11-30T08:00:00Z".to_owned(),
            }],
            missing: Vec::new(),
        })
    }

    fn has_blob(&self, hash: &BlobHash) -> Result<bool, OperationError> {
        Ok(self.begin()?.blobs.contains_key(hash))
    }

    fn blob(&self, hash: &BlobHash) -> Result<Vec<u8>, OperationError> {
        let inside = self.begin()?;
        let bytes = inside.blobs.get(hash).cloned();
        bytes.ok_or_else(|| OperationError::Invalid(format!("there is no blob {hash}")))
    }

    fn drain(&self, host: &str, drained: bool) -> Result<HostInfo, OperationError> {
        let mut inside = self.begin()?;
        if host != "ada" {
            return Err(OperationError::NoSupervisor { id: host.to_owned() });
        }
        inside.drained = drained;
        Ok(inside.host())
    }

    fn put_blob(&self, hash: &BlobHash, bytes: &[u8]) -> Result<(), OperationError> {
        let mut inside = self.begin()?;
        if BlobHash::of(bytes) != *hash {
            return Err(OperationError::Invalid(format!("these bytes have another hash than {hash}")));
        }
        inside.blobs.insert(hash.clone(), bytes.to_vec());
        Ok(())
    }
}
