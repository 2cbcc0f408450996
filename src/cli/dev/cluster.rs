//! The threads of a cluster of one process.
//!
//! ```text
//!   "squall-dev"        sessions and their time          KeptService ◀── coordination.json
//!   "squall-nimbus"     elects itself, leads; API            ▲ ▲
//!   "squall-host-N"     a supervisor, and its processes ─────┘ │  ... each with a client of its own
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io};

use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _};
use slog::{FilterLevel, Logger, o};

use crate::cli::daemons::api::api_options;
use crate::cli::error::CommandError;
use crate::clock::{Clock, Time};
use crate::cluster::Executable;
use crate::cluster::api::ApiServer;
use crate::cluster::blobs::BlobStore;
use crate::cluster::coordination::{
    CandidateRecord, ClusterRecord, Coordination, KeptClient, KeptService, MemoryOptions, NodePath,
};
use crate::cluster::daemons::belonging::{Belonging, supervisors_node};
use crate::cluster::daemons::{
    self, AtTheEnd, Children, ChildrenOptions, EndRequest, HostSettings, Leader, LeaderOptions, Limits,
    MasterAccess, Nimbus, Supervisor, SupervisorRecord, host,
};
use crate::cluster::operations::Operations;
use crate::cluster::topologies::{ClusterKey, LOCK_FILE, LogSpec};
use crate::config::EngineOptions;
use crate::files::make_private_directory;
use crate::logging::{Levels, LogFormat};
use crate::runtime::secret_directory;
use crate::topology::registry::Registry;
use crate::tuple::Timestamp;

/// How often sessions are looked at.
const BEAT_EVERY: Duration = Duration::from_millis(200);

/// What a cluster is started with.
pub(super) struct DevOptions {
    pub supervisors: u16,
    pub slots: u16,
    pub directory: PathBuf,
    pub listen: SocketAddr,
    pub engine: EngineOptions,
    pub format: LogFormat,
    pub registry: Registry,
    pub logger: Logger,
    pub end: EndRequest,
}

/// A cluster of one process.
pub(super) struct DevCluster {
    endpoint: String,
    supervisors: u16,
    watcher: Arc<KeptClient>,
    operations: Option<Arc<dyn Operations>>,
    clock: Clock,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

/// Deletes what an earlier cluster has left in its directory, which this process has.
pub(super) fn forget(directory: &Path) -> Result<(), CommandError> {
    let failed = |path: &Path| CommandError::io(format!("delete `{}`", path.display()));
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_ours = ["coordination.json", "nimbus", "blobs", "cluster.key"].contains(&&*name)
            || name.starts_with("supervisor-");
        if !is_ours || name == LOCK_FILE {
            continue;
        }
        let deleted = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        deleted.map_err(failed(&path))?;
    }
    Ok(())
}

impl DevCluster {
    /// Starts all threads.
    ///
    /// # Errors
    /// When something of it cannot be had.
    pub fn start(options: DevOptions) -> Result<DevCluster, CommandError> {
        let refused = |error: &dyn std::fmt::Display| CommandError::Refused(error.to_string());
        let clock = Clock::real();
        let memory = MemoryOptions {
            notices_at_once: true,
            latency: Duration::ZERO,
            session_timeout: Duration::from_secs(30),
            ..MemoryOptions::default()
        };
        let service =
            KeptService::open(&options.directory, clock.clone(), memory).map_err(|error| refused(&error))?;
        let mut rng = StdRng::try_from_rng(&mut SysRng)
            .map_err(|error| CommandError::Refused(format!("the system gives no random numbers: {error}")))?;
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        let key_file = options.directory.join("cluster.key");
        ClusterKey::make(&key_file, &bytes).map_err(|error| refused(&error))?;
        let key = ClusterKey::read(&key_file).map_err(|error| refused(&error))?;
        let blobs = BlobStore::new(options.directory.join("blobs"));
        let clients: Vec<Arc<KeptClient>> =
            (0..options.supervisors + 2).map(|_| Arc::new(service.client())).collect();
        let mut cluster = DevCluster {
            endpoint: String::new(),
            supervisors: options.supervisors,
            watcher: Arc::clone(&clients[0]),
            operations: None,
            clock: clock.clone(),
            threads: Vec::new(),
        };
        cluster.keep_sessions(service, clients.clone(), options.end.clone())?;
        cluster.start_nimbus(Arc::clone(&clients[1]), &options, (&key, blobs.clone()), &mut rng)?;
        for (number, client) in (1..).zip(&clients[2..]) {
            cluster.start_supervisor(number, Arc::clone(client), &options, (&key, &blobs), &mut rng)?;
        }
        Ok(cluster)
    }

    /// Where commands reach the API, as `--nimbus` takes it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        self.clock.now().since(Time::ZERO)
    }

    /// Whether all supervisors belong to the cluster, and its nimbus does what it is asked for.
    pub fn is_ready(&self) -> bool {
        let leads = self.operations.as_ref().is_some_and(|operations| operations.topologies().is_ok());
        let there = self.watcher.children(&supervisors_node()).ok().flatten();
        leads && there.is_some_and(|there| there.len() >= usize::from(self.supervisors))
    }

    /// Whether a part of it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits for the end of all parts, which was requested.
    ///
    /// # Errors
    /// Why a part has ended by itself.
    pub fn finish(self) -> Result<(), CommandError> {
        let mut failure = None;
        for thread in self.threads {
            let result = thread.join().unwrap_or_else(|_| Err("a thread has panicked".to_owned()));
            failure = failure.or(result.err());
        }
        failure.map_or(Ok(()), |why| Err(CommandError::Refused(why)))
    }

    fn spawn(
        &mut self,
        name: String,
        run: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), CommandError> {
        let thread =
            thread::Builder::new().name(name).spawn(run).map_err(CommandError::io("start a thread"))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Does what a real service and its clients do by themselves.
    fn keep_sessions(
        &mut self,
        service: KeptService,
        clients: Vec<Arc<KeptClient>>,
        end: EndRequest,
    ) -> Result<(), CommandError> {
        self.spawn("squall-dev".to_owned(), move || {
            while !end.is_there() {
                clients.iter().for_each(|client| client.beat());
                service.step();
                thread::sleep(BEAT_EVERY);
            }
            Ok(())
        })
    }

    fn start_nimbus(
        &mut self,
        client: Arc<KeptClient>,
        options: &DevOptions,
        (key, blobs): (&ClusterKey, BlobStore),
        rng: &mut StdRng,
    ) -> Result<(), CommandError> {
        let logger = options.logger.new(o!("daemon" => "nimbus"));
        let clock = self.clock.clone();
        let belonging = belonging(&options.directory.join("nimbus"))?.of_key(key);
        let leader = Arc::new(Leader::new(LeaderOptions {
            coordination: client.clone(),
            clock: clock.clone(),
            blobs,
            registry: options.registry.clone(),
            supervisor_timeout: options.engine.nimbus.supervisor_timeout,
            blacklist: options.engine.nimbus.blacklist.into(),
            rng: StdRng::from_rng(rng),
            masters: Some(MasterAccess { key: key.clone(), tls: options.engine.net.tls.clone() }),
            logger: logger.clone(),
        }));
        let operations: Arc<dyn Operations> = leader.clone();
        self.operations = Some(Arc::clone(&operations));
        let api_options = api_options(&options.engine.nimbus, options.listen, &clock, &logger)?;
        let api = ApiServer::start(api_options, operations, &logger)?;
        api.endpoint().clone_into(&mut self.endpoint);
        let me = CandidateRecord::new("nimbus", rng.next_u64(), self.endpoint.clone());
        let token = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let new = ClusterRecord::new(token, clock.wall_nanos()).of_key(key.fingerprint());
        let mut nimbus = Nimbus::new(belonging, me, new, logger)
            .map_err(|error| CommandError::Refused(error.to_string()))?;
        let end = options.end.clone();
        self.spawn("squall-nimbus".to_owned(), move || {
            daemons::run(&*client, &[NodePath::root()], &end, || {
                let state = nimbus.step(&*client, clock.now());
                let next = leader.step(&state, nimbus.leader_address());
                state.next_step(client.session().timeout).min(next)
            });
            drop(api);
            leader.end();
            nimbus.end(&*client);
            Ok(())
        })
    }

    fn start_supervisor(
        &mut self,
        number: u16,
        client: Arc<KeptClient>,
        options: &DevOptions,
        (key, blobs): (&ClusterKey, &BlobStore),
        rng: &mut StdRng,
    ) -> Result<(), CommandError> {
        let id = format!("supervisor-{number}");
        let logger = options.logger.new(o!("daemon" => id.clone()));
        let directory = options.directory.join(&id);
        let belonging = belonging(&directory)?.of_key(key);
        let secrets = secret_directory(&options.engine.secrets);
        let (engine, clock) = (&options.engine, self.clock.clone());
        let limits = &engine.supervisor.limits;
        let limits =
            Limits::prepare(limits, &directory, Executable::This, &logger).map_err(CommandError::Refused)?;
        let children = ChildrenOptions {
            directory,
            executable: Executable::This,
            key: key.clone(),
            read_blob: blobs.clone().reader(),
            limits,
            logger: logger.clone(),
        };
        let settings = HostSettings {
            id: id.clone(),
            net: engine.net.clone(),
            worker: engine.worker.clone(),
            log_files: engine.supervisor.log_files,
            secrets: secrets.clone(),
            log: LogSpec { levels: Levels::all(FilterLevel::Info), format: options.format, color: false },
        };
        let failed = |error: io::Error| CommandError::Refused(error.to_string());
        let children = Children::open(children, settings, clock.now()).map_err(failed)?;
        let me = SupervisorRecord {
            slots: options.slots,
            token: format!("{:016x}", rng.next_u64()),
            started_at: Timestamp(clock.wall_nanos()).to_string(),
            ..SupervisorRecord::new(id, &engine.supervisor.host)
        };
        let mut supervisor = Supervisor::new(belonging, me, logger)
            .map_err(|error| CommandError::Refused(error.to_string()))?
            .with_secrets(secrets);
        let (end, mut rng) = (options.end.clone(), StdRng::from_rng(rng));
        self.spawn(format!("squall-host-{number}"), move || {
            let at_the_end = (&end, AtTheEnd::Kill);
            let ended = host(&mut supervisor, children, &*client, &clock, at_the_end, || rng.next_u64());
            supervisor.end(&*client);
            ended.map_err(|error| error.to_string())
        })
    }
}

/// What a daemon remembers in this directory, which is made.
fn belonging(directory: &Path) -> Result<Belonging, CommandError> {
    make_private_directory(directory)
        .map_err(CommandError::io(format!("make the directory `{}`", directory.display())))?;
    Belonging::read(directory).map_err(|error| CommandError::Refused(error.to_string()))
}
