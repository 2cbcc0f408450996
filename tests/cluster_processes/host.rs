//! A host whose supervisor is the test: it writes orders, starts masters and workers, and kills them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use squall::cli::Files;
use squall::cluster::TopologySource;
use squall::cluster::access::TopologyAccess;
use squall::cluster::schedule::{ClusterView, Demand, Host as PlanHost, plan};
use squall::cluster::topologies::{
    AssignmentRecord, BlobHash, LogSpec, MasterOrder, MasterPlace, MasterReport, ORDER_FILE, REPORT_FILE,
    SOURCE_FILE, SpecRecord, TopologyBegin, TopologyPhase, Wanted, WorkerOrder, read_order, write_order,
    write_secret,
};
use squall::config::{HostOptions, LogFileOptions, NetOptions, WorkerOptions};
use squall::ids::WorkerId;
use squall::net::Secret;
use squall::prelude::Registry;

/// How long anything may take before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until something holds.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain waited for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The host.
pub struct Host {
    directory: tempfile::TempDir,
    order: MasterOrder,
    source: Vec<u8>,
    secret: Secret,
    pub workers: Vec<WorkerId>,
    pub master: Option<Child>,
    processes: BTreeMap<WorkerId, Child>,
}

impl Host {
    /// A host on which a topology is to run in so many workers. `document` may name the directory by `DIR`.
    pub fn new(document: &str, workers: u16) -> Host {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("topology.toml");
        let document = document.replace("DIR", directory.path().to_str().expect("it is UTF-8"));
        fs::write(&file, document).expect("it is written");
        let registry = Registry::with_standard();
        let overrides = [format!("topology.workers={workers}")];
        let file = file.to_str().expect("it is UTF-8");
        let (source, topology) =
            TopologySource::record(&Files, file, &registry, &overrides).expect("it is valid");
        let options = HostOptions { slots: 8, ..HostOptions::default() };
        let view = ClusterView { hosts: vec![PlanHost::new("host", &options)], guarantees: Vec::new() };
        let planned = plan(&view, &[Demand::new(&topology)]);
        let placement = planned.topologies[0].placement.clone().expect("there is room");
        let workers = placement.slots.iter().map(|(worker, _)| *worker).collect();
        let id = squall::cluster::topologies::TopologyId::new(topology.name(), 1).expect("an id");
        let source = serde_json::to_vec(&source).expect("it is JSON");
        let order = MasterOrder {
            epoch: 0,
            spec: SpecRecord {
                epoch: 1,
                id: id.clone(),
                change: 1,
                owner: String::new(),
                access: TopologyAccess::default(),
                submitted_at: String::new(),
                source: BlobHash::of(&source),
                generation: 1,
                spreads: false,
                run: "0123456789abcdef0123456789abcdef".to_owned(),
                begin: TopologyBegin::default(),
                wanted: Wanted::Active,
                savepoint: None,
                log: None,
                upgrade: None,
                dropped: Vec::new(),
                ended: None,
            },
            assignment: AssignmentRecord {
                epoch: 1,
                id,
                change: 1,
                source: BlobHash::of(&source),
                generation: 1,
                is_upgrade: false,
                placement: Some(placement),
                needs: Vec::new(),
                master: Some("host".to_owned()),
                short: None,
            },
            savepoint: None,
            net: patient(),
            worker: WorkerOptions { heartbeat_timeout: PATIENCE, ..WorkerOptions::default() },
            log: LogSpec::default(),
            log_files: LogFileOptions::default(),
        };
        let secret = Secret::new([7; 32]);
        Host { directory, order, source, secret, workers, master: None, processes: BTreeMap::new() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn private(&self, name: &str) -> PathBuf {
        let directory = self.path().join(name);
        fs::create_dir_all(&directory).expect("it is made");
        write_secret(&directory, &self.secret).expect("it is written");
        directory
    }

    fn start(&self, command: &str, directory: &Path) -> Child {
        let output = fs::File::options().create(true).append(true).open(directory.join("output"));
        let output = output.expect("it is made");
        let mut command_line = Command::new(env!("CARGO_BIN_EXE_squall"));
        command_line.args([command, "--directory"]).arg(directory).stdin(Stdio::null());
        command_line.stdout(output.try_clone().expect("it is open")).stderr(output);
        command_line.spawn().expect("it starts")
    }

    /// Starts one more process for a private directory.
    pub fn start_process(&self, command: &str, directory: &str) -> Child {
        self.start(command, &self.path().join(directory))
    }

    /// The source of the topology is no longer what it was.
    pub fn break_source(&mut self) {
        self.source = b"[]".to_vec();
    }

    /// Starts the next process of the master.
    pub fn start_master(&mut self) {
        let directory = self.private("master");
        fs::write(directory.join(SOURCE_FILE), &self.source).expect("it is written");
        self.order.epoch += 1;
        write_order(&directory, ORDER_FILE, &self.order).expect("it is written");
        self.master = Some(self.start("master", &directory));
    }

    /// What the present master reports.
    pub fn report(&self) -> Option<MasterReport> {
        let report =
            read_order::<MasterReport>(&self.path().join("master"), REPORT_FILE).expect("it is whole");
        report.filter(|report| report.state.epoch == self.order.epoch)
    }

    pub fn phase(&self) -> TopologyPhase {
        self.report().map(|report| report.state.phase).unwrap_or_default()
    }

    /// Changes what is wanted of the topology.
    pub fn want(&mut self, wanted: Wanted) {
        self.order.spec.wanted = wanted;
        write_order(&self.path().join("master"), ORDER_FILE, &self.order).expect("it is written");
    }

    /// Has the workers know where the master is.
    pub fn show_master(&self) {
        wait_until("the master listens", || self.report().is_some());
        let address = self.report().and_then(|report| report.address).expect("it listens");
        self.show_master_at(address);
    }

    /// Has the workers look for the master at another address.
    pub fn show_master_at(&self, address: std::net::SocketAddr) {
        let master = Some(MasterPlace { epoch: self.order.epoch, address });
        self.workers.iter().for_each(|worker| self.write_worker_order(*worker, master));
    }

    fn write_worker_order(&self, worker: WorkerId, master: Option<MasterPlace>) {
        let order = WorkerOrder {
            id: self.order.spec.id.clone(),
            run: self.order.spec.run.clone(),
            worker,
            host: String::new(),
            change: self.order.assignment.change,
            master,
            needs: None,
            secrets: Default::default(),
            net: patient(),
            log: LogSpec::default(),
            log_files: LogFileOptions::default(),
        };
        let directory = self.private(&format!("worker-{worker}"));
        write_order(&directory, ORDER_FILE, &order).expect("it is written");
    }

    pub fn start_worker(&mut self, worker: WorkerId) {
        let directory = self.private(&format!("worker-{worker}"));
        if !directory.join(ORDER_FILE).exists() {
            self.write_worker_order(worker, None);
        }
        let process = self.start("worker", &directory);
        self.processes.insert(worker, process);
    }

    pub fn start_workers(&mut self) {
        self.workers.clone().into_iter().for_each(|worker| self.start_worker(worker));
    }

    pub fn worker(&mut self, worker: WorkerId) -> &mut Child {
        self.processes.get_mut(&worker).expect("it was started")
    }

    /// Kills a worker, and reaps it.
    pub fn kill_worker(&mut self, worker: WorkerId) {
        let process = self.worker(worker);
        process.kill().expect("it is ours");
        process.wait().expect("it is ours");
    }

    pub fn kill_master(&mut self) {
        let mut master = self.master.take().expect("it runs");
        master.kill().expect("it is ours");
        master.wait().expect("it is ours");
    }

    /// Starts workers again that have ended otherwise than with code 0.
    pub fn start_again_what_died(&mut self) {
        let mut dead = Vec::new();
        for (worker, process) in &mut self.processes {
            if process.try_wait().expect("it is ours").is_some_and(|status| status.code() != Some(0)) {
                dead.push(*worker);
            }
        }
        dead.into_iter().for_each(|worker| self.start_worker(worker));
    }

    /// Waits for the end of the topology and of all processes, which must be in order.
    pub fn wait_for_end(&mut self) {
        wait_until("the topology ends", || {
            self.start_again_what_died();
            self.phase() == TopologyPhase::Ended
        });
        let mut master = self.master.take().expect("it runs");
        assert_eq!(master.wait().expect("it is ours").code(), Some(0), "{}", self.logs());
        for process in self.processes.values_mut() {
            wait_until("a worker ends", || process.try_wait().expect("it is ours").is_some());
        }
    }

    /// Everything that was logged.
    pub fn logs(&self) -> String {
        let names = self.workers.iter().map(|worker| format!("worker-{worker}")).chain(["master".to_owned()]);
        let read = |name: String| {
            let of = |file| fs::read_to_string(self.path().join(&name).join(file)).unwrap_or_default();
            format!("== {name}\n{}{}", of("worker.log"), of("output"))
        };
        names.map(read).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        for process in self.processes.values_mut().chain(&mut self.master) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Where nobody is taken for dead because the machine is busy.
fn patient() -> NetOptions {
    NetOptions { silence: PATIENCE, link_lost: PATIENCE, ..NetOptions::default() }
}
