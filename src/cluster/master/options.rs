//! What workers are started with, by their embedder.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::api::MetricsReporting;
use crate::cluster::control::LogSpec;
use crate::cluster::processes::Executable;
use crate::components::print::PrintStyle;
use crate::config::{NetOptions, WorkerOptions};
use crate::ids::WorkerId;

/// The address by which one worker dials another, when it is not the one that is listened at: for
/// address translation, and for proxies of tests. From, to, and where that one listens.
pub type DialThrough = Arc<dyn Fn(WorkerId, WorkerId, SocketAddr) -> SocketAddr + Send + Sync>;
/// Takes the lines that workers write.
pub type OutputLines = Arc<dyn Fn(WorkerId, &str) + Send + Sync>;

/// What workers are started with.
#[derive(Clone)]
pub struct WorkersOptions {
    /// How many. At most as many are started as have something to do.
    pub workers: u16,
    /// Which program they run. It must call `squall::cli::run` with the components of the topology.
    pub executable: Executable,
    /// `[net]`.
    pub net: NetOptions,
    /// `[worker]`.
    pub worker: WorkerOptions,
    /// Where the master logs.
    pub logger: slog::Logger,
    /// What the workers log, and how.
    pub log: LogSpec,
    /// Where the workers' logs and complaints go, line by line; `None`: to the master's logger.
    pub stderr: Option<OutputLines>,
    /// How `print` bolts show rows.
    pub print: PrintStyle,
    /// Where rows go, line by line; `None`: they are written to this process's stdout by the workers
    /// themselves, which is a lot faster.
    pub stdout: Option<OutputLines>,
    /// Whether workers may read this process's stdin; otherwise theirs is empty. What a worker has
    /// read and not processed is gone with it, and counts as lost: a replacement goes on where it
    /// stopped.
    pub stdin: bool,
    /// Addresses as one worker should dial another; `None`: those that they listen at.
    pub dial_through: Option<DialThrough>,
    /// Who is told of the counters of all workers while they run.
    pub metrics: Option<MetricsReporting>,
}

impl WorkersOptions {
    /// So many workers of this program, no logs of the master's own.
    pub fn new(workers: u16) -> WorkersOptions {
        WorkersOptions {
            workers,
            executable: Executable::This,
            net: NetOptions::default(),
            worker: WorkerOptions::default(),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            log: LogSpec::default(),
            stderr: None,
            print: PrintStyle::default(),
            stdout: None,
            stdin: false,
            dial_through: None,
            metrics: None,
        }
    }
}
