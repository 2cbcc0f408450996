//! The options with which an embedder starts workers.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::api::MetricsReporting;
use crate::cluster::control::LogSpec;
use crate::cluster::processes::Executable;
use crate::components::print::PrintStyle;
use crate::config::{NetOptions, WorkerOptions};
use crate::ids::WorkerId;
use crate::runtime::CheckpointBegin;
use crate::secrets::SecretDirectory;

/// Returns the address by which one worker dials another, if that differs from the address on which the
/// other listens: for address translation, and for proxies in tests. Arguments: the dialing worker, the
/// dialed worker, and the address on which the dialed worker listens.
pub type DialThrough = Arc<dyn Fn(WorkerId, WorkerId, SocketAddr) -> SocketAddr + Send + Sync>;
/// Takes the lines that workers write.
pub type OutputLines = Arc<dyn Fn(WorkerId, &str) + Send + Sync>;

/// Options of the workers of a run.
#[derive(Clone)]
pub struct WorkersOptions {
    /// How many workers, at most. Fewer are started if fewer have something to do.
    pub workers: u16,
    /// The program that they run. It must call `squall::cli::run` with the components of the topology.
    pub executable: Executable,
    /// `[net]`.
    pub net: NetOptions,
    /// `[worker]`.
    pub worker: WorkerOptions,
    /// Where the secrets of this host are.
    pub secrets: SecretDirectory,
    /// Where the master logs.
    pub logger: slog::Logger,
    /// What the workers log, and how.
    pub log: LogSpec,
    /// Takes what the workers write to stderr, line by line. `None`: the master's logger does.
    pub stderr: Option<OutputLines>,
    /// How `print` bolts show rows.
    pub print: PrintStyle,
    /// Takes the rows that workers write to stdout, line by line. `None`: the workers write to this
    /// process's stdout themselves, which is much faster.
    pub stdout: Option<OutputLines>,
    /// Whether workers may read this process's stdin; otherwise their stdin is empty. If the worker that
    /// reads it dies, its replacement reads a regular file again, from the offset that it had at the start
    /// of the run. From anything else, what was read and not processed is lost, and counts as lost: the
    /// replacement reads on where the worker stopped.
    pub stdin: bool,
    /// What becomes of checkpoints of an earlier run, if the topology is exactly-once.
    pub checkpoints: CheckpointBegin,
    /// What of the checkpoint is left behind: `COMPONENT`, if the topology does not have it any more, or `COMPONENT.STATE`
    /// for one state of a component, also written `COMPONENT:STATE`, which is clear if a name has a dot. Otherwise what
    /// does not fit the topology is an error.
    pub allow_dropped_state: Vec<String>,
    /// Addresses by which workers dial each other. `None`: the addresses on which they listen.
    pub dial_through: Option<DialThrough>,
    /// Gets the counters of all workers while they run.
    pub metrics: Option<MetricsReporting>,
}

impl WorkersOptions {
    /// Options for this number of workers of this program. The master itself logs nothing.
    pub fn new(workers: u16) -> WorkersOptions {
        WorkersOptions {
            workers,
            executable: Executable::This,
            net: NetOptions::default(),
            worker: WorkerOptions::default(),
            secrets: SecretDirectory::none(),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            log: LogSpec::default(),
            stderr: None,
            print: PrintStyle::default(),
            stdout: None,
            stdin: false,
            checkpoints: CheckpointBegin::default(),
            allow_dropped_state: Vec::new(),
            dial_through: None,
            metrics: None,
        }
    }
}
