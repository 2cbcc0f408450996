//! A worker process, as user code sees it: its identity, and hooks that run once in it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use ::serde::de::DeserializeOwned;
use smol_str::SmolStr;

use crate::api::error::TaskError;
use crate::api::resources::WorkerResources;
use crate::ids::{Incarnation, WorkerId};
use crate::secrets::{Secret, SecretError, SecretValue};

/// What a [`WorkerContext`] is made of; the runtime fills it in.
pub struct WorkerParts {
    /// The topology.
    pub topology: SmolStr,
    /// The worker.
    pub worker: WorkerId,
    /// The incarnation of the worker.
    pub incarnation: Incarnation,
    /// How many workers the topology has.
    pub workers: usize,
    /// The name of the machine.
    pub host: SmolStr,
    /// The address at which other workers dial this one. Set once the worker listens; never set for a
    /// topology in one process.
    pub address: OnceLock<SocketAddr>,
    /// The topology's `[settings]`.
    pub settings: toml::Table,
    /// Shared objects.
    pub resources: WorkerResources,
    /// Where the worker logs.
    pub logger: slog::Logger,
}

/// The worker process that a task runs in. A topology that runs in one process has one worker, which
/// listens at no address.
///
/// # Examples
/// ```
/// use squall::prelude::*;
///
/// /// A name for connections of this task, to be seen in the log of a server.
/// fn client_id(context: &TaskContext) -> String {
///     let worker = context.worker();
///     format!("{}@{} pid {} task {}", worker.id(), worker.host(), worker.process_id(), context.task())
/// }
/// # let context = squall::testing::HarnessOptions::default().task_context();
/// # assert!(client_id(&context).starts_with("0@localhost pid "));
/// # assert_eq!((context.worker().port(), context.worker().workers()), (None, 1));
/// ```
#[derive(Clone)]
pub struct WorkerContext(Arc<WorkerParts>);

impl WorkerContext {
    /// For the runtime and for tests of a component by itself.
    ///
    /// # Examples
    /// A test of a component does not need the parts: [`HarnessOptions`](crate::testing::HarnessOptions) fills
    /// them in.
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// assert_eq!(context.worker().host(), "localhost");
    /// ```
    pub fn new(parts: WorkerParts) -> WorkerContext {
        WorkerContext(Arc::new(parts))
    }

    /// The topology's name.
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// assert_eq!(context.worker().topology(), "test");
    /// ```
    pub fn topology(&self) -> &str {
        &self.0.topology
    }

    /// The worker's number, from 0 to `workers() - 1`. A restarted worker keeps it.
    ///
    /// # Examples
    /// A directory of the worker, which its next incarnation uses again:
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn directory(worker: &WorkerContext) -> String {
    ///     format!("{}/worker-{}", worker.topology(), worker.id())
    /// }
    /// # let context = squall::testing::HarnessOptions::default().task_context();
    /// # assert_eq!(directory(context.worker()), "test/worker-0");
    /// ```
    pub fn id(&self) -> WorkerId {
        self.0.worker
    }

    /// The incarnation of the worker that this process is. It grows with each restart.
    ///
    /// # Examples
    /// A fencing number, by which a server can refuse requests of an earlier incarnation:
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn fence(worker: &WorkerContext) -> u64 {
    ///     u64::from(worker.incarnation().0)
    /// }
    /// # let context = squall::testing::HarnessOptions::default().task_context();
    /// # assert_eq!(fence(context.worker()), 0);
    /// ```
    pub fn incarnation(&self) -> Incarnation {
        self.0.incarnation
    }

    /// How many workers the topology has.
    ///
    /// # Examples
    /// A limit of the whole topology, shared by its workers:
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn connections(worker: &WorkerContext, of_topology: usize) -> usize {
    ///     of_topology / worker.workers()
    /// }
    /// # let context = squall::testing::HarnessOptions::default().task_context();
    /// # assert_eq!(connections(context.worker(), 12), 12);
    /// ```
    pub fn workers(&self) -> usize {
        self.0.workers
    }

    /// The name of the machine (of the *node*, in Storm's words); `localhost` in simulations.
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// assert_eq!(context.worker().host(), "localhost");
    /// ```
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The id of the process.
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// assert_eq!(context.worker().process_id(), std::process::id());
    /// ```
    pub fn process_id(&self) -> u32 {
        std::process::id()
    }

    /// The address at which the worker accepts connections of the other workers. `None` when the topology
    /// runs in one process.
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// assert_eq!(context.worker().address(), None, "nobody dials the only worker");
    /// ```
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address.get().copied()
    }

    /// The port of [`address`](WorkerContext::address) (Storm's `getThisWorkerPort`).
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn name_of(worker: &WorkerContext) -> String {
    ///     match worker.port() {
    ///         Some(port) => format!("{}:{port}", worker.host()),
    ///         None => worker.host().to_owned(),
    ///     }
    /// }
    /// # let context = squall::testing::HarnessOptions::default().task_context();
    /// # assert_eq!(name_of(context.worker()), "localhost");
    /// ```
    pub fn port(&self) -> Option<u16> {
        self.address().map(|address| address.port())
    }

    /// One of the topology's `settings`.
    ///
    /// # Errors
    /// When it is missing or of another type.
    ///
    /// # Examples
    /// ```
    /// use squall::testing::HarnessOptions;
    ///
    /// let settings = toml::toml! { pool = 8 };
    /// let context = HarnessOptions { settings, ..HarnessOptions::default() }.task_context();
    /// assert_eq!(context.worker().setting::<usize>("pool")?, 8);
    /// # Ok::<(), squall::prelude::TaskError>(())
    /// ```
    pub fn setting<T: DeserializeOwned>(&self, key: &str) -> Result<T, TaskError> {
        setting(&self.0.settings, key)
    }

    /// The text of a setting that is a secret. It is read anew each time, so who reads it whenever it connects uses a value
    /// that was replaced. The error names the secret and its file, and shows nothing of a text. It is not fatal: the task
    /// is built again after growing pauses, and the secret may be there by then.
    ///
    /// # Errors
    /// When the secret that the setting names cannot be read on this host.
    ///
    /// # Examples
    /// A pool that all tasks share, for `Registry::resource`:
    /// ```
    /// use squall::prelude::*;
    ///
    /// struct Pool {
    ///     url: String,
    /// }
    ///
    /// fn pool(worker: &WorkerContext) -> Result<Pool, TaskError> {
    ///     let url: Secret = worker.setting("database")?;
    ///     Ok(Pool { url: worker.secret(&url)?.reveal().to_owned() })
    /// }
    /// # let settings = toml::toml! { database = { secret = "orders-db" } };
    /// # let options = squall::testing::HarnessOptions { settings, ..Default::default() };
    /// # let error = pool(options.task_context().worker()).err().unwrap();
    /// # assert!(error.to_string().contains("`orders-db`"), "{error}");
    /// ```
    pub fn secret(&self, setting: &Secret) -> Result<SecretValue, TaskError> {
        self.secret_value(setting).map_err(|error| TaskError::new(error.with_remedy()))
    }

    /// The same, with an error that names what is wrong.
    pub(crate) fn secret_value(&self, setting: &Secret) -> Result<SecretValue, SecretError> {
        self.resources().secrets().value_of(setting)
    }

    /// Objects that all tasks of the worker share.
    ///
    /// # Examples
    /// A worker hook can use the resources, which are made before it starts:
    /// ```
    /// use squall::prelude::*;
    ///
    /// struct Warm;
    ///
    /// impl WorkerHook for Warm {
    ///     fn start(&mut self, worker: &WorkerContext) -> Result<(), TaskError> {
    ///         let cache = worker.resources().get::<Vec<u8>>("cache");
    ///         cache.map(drop).ok_or_else(|| TaskError::fatal("there is no cache"))
    ///     }
    /// }
    /// # let options = squall::testing::HarnessOptions::default();
    /// # assert!(Warm.start(options.task_context().worker()).is_err());
    /// # options.resources.set("cache", vec![0_u8; 16]);
    /// # Warm.start(options.task_context().worker())?;
    /// # Ok::<(), TaskError>(())
    /// ```
    pub fn resources(&self) -> &WorkerResources {
        &self.0.resources
    }

    /// Logs with the worker attached.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn report_start(worker: &WorkerContext) {
    ///     slog::info!(worker.logger(), "the cache is warm"; "entries" => 100);
    /// }
    /// # report_start(squall::testing::HarnessOptions::default().task_context().worker());
    /// ```
    pub fn logger(&self) -> &slog::Logger {
        &self.0.logger
    }

    /// Sets the address at which the worker listens. For the runtime, which calls it once.
    pub(crate) fn listens_at(&self, address: SocketAddr) {
        // The first address is kept: a worker listens at one address as long as it runs.
        let _ = self.0.address.set(address);
    }
}

impl fmt::Debug for WorkerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} of {}", self.0.worker, self.0.topology)
    }
}

/// A setting as a Rust type.
pub(super) fn setting<T: DeserializeOwned>(settings: &toml::Table, key: &str) -> Result<T, TaskError> {
    let value = settings.get(key).ok_or_else(|| TaskError::new(format!("there is no setting `{key}`")))?;
    value.clone().try_into().map_err(|error| TaskError::new(format!("setting `{key}`: {error}")))
}

/// Runs once in every worker process: at its start, before any task is prepared, and at its orderly
/// end, after all tasks have closed (Storm's `BaseWorkerHook`). Not called at the end of a killed process.
///
/// Registered by [`Registry::worker_hook`](crate::topology::registry::Registry::worker_hook), or by
/// [`TopologyBuilder::worker_hook`](crate::topology::TopologyBuilder::worker_hook) for one topology.
///
/// # Examples
/// ```
/// use squall::prelude::*;
///
/// /// Logs on which machines the workers of a topology run.
/// struct Announce;
///
/// impl WorkerHook for Announce {
///     fn start(&mut self, worker: &WorkerContext) -> Result<(), TaskError> {
///         let file = worker.setting::<String>("announce_in")?;
///         let line = format!("{} {} {}", worker.id(), worker.host(), worker.process_id());
///         std::fs::write(format!("{file}.{}", worker.id()), line)?;
///         Ok(())
///     }
/// }
///
/// let mut registry = Registry::with_standard();
/// registry.worker_hook(|| Announce);
/// ```
pub trait WorkerHook: Send {
    /// The worker starts: resources have been made, tasks have not.
    ///
    /// # Errors
    /// An error ends the run when the topology starts, with the error as the reason. In a worker that is
    /// restarted later, the start is retried up to ten times, after pauses, because the error may pass: a
    /// server may be away. [`TaskError::fatal`] ends the run there, too.
    ///
    /// # Examples
    /// See the [trait](WorkerHook). An error here ends the run before anything was processed:
    /// ```
    /// use squall::prelude::*;
    ///
    /// struct NeedsLicence;
    ///
    /// impl WorkerHook for NeedsLicence {
    ///     fn start(&mut self, worker: &WorkerContext) -> Result<(), TaskError> {
    ///         worker.setting::<String>("licence")?;
    ///         Ok(())
    ///     }
    /// }
    /// # use squall::runtime::{LocalOptions, RunningTopology};
    /// # use squall::testing::{Capture, FixedSpout};
    /// # let mut builder = TopologyBuilder::new("t");
    /// # builder.worker_hook(|| NeedsLicence);
    /// # builder.spout("numbers", || FixedSpout::new(["n"], []));
    /// # builder.bolt("sink", Capture::new().bolt()).shuffle("numbers");
    /// # let error = RunningTopology::start(builder.build()?, LocalOptions::default()).err().expect("no licence");
    /// # assert!(error.to_string().contains("there is no setting `licence`"), "{error}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn start(&mut self, _worker: &WorkerContext) -> Result<(), TaskError> {
        Ok(())
    }

    /// All tasks have closed, and the worker is about to end. Called for the hooks whose `start`
    /// succeeded, in the opposite order.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use std::time::Instant;
    ///
    /// struct Uptime(Option<Instant>);
    ///
    /// impl WorkerHook for Uptime {
    ///     fn start(&mut self, _worker: &WorkerContext) -> Result<(), TaskError> {
    ///         self.0 = Some(Instant::now());
    ///         Ok(())
    ///     }
    ///
    ///     fn shutdown(&mut self) {
    ///         if let Some(start) = self.0 {
    ///             println!("the worker ran for {:?}", start.elapsed());
    ///         }
    ///     }
    /// }
    /// # let mut uptime = Uptime(None);
    /// # uptime.start(squall::testing::HarnessOptions::default().task_context().worker())?;
    /// # uptime.shutdown();
    /// # Ok::<(), TaskError>(())
    /// ```
    fn shutdown(&mut self) {}
}
