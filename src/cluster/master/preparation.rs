//! What a master has to work out before it begins, whoever starts the workers.

use std::io;

use crate::api::WorkerResources;
use crate::checkpoint::CheckpointStore;
use crate::cluster::control::Start;
use crate::cluster::master::counts::Sources;
use crate::cluster::master::events::{Appointment, CoreOptions};
use crate::cluster::master::inputs::sources;
use crate::cluster::master::options::WorkersOptions;
use crate::cluster::source::TopologySource;
use crate::components::standard;
use crate::ids::{Incarnation, WorkerId};
use crate::net::{Members, Secret};
use crate::runtime::checkpoint_actions::Parts;
use crate::runtime::checkpoint_start::{
    DroppedOfRun, checkpoint_directory, open_directory, open_directory_of_run,
};
use crate::runtime::registration_trial::Trial;
use crate::runtime::{CheckpointStartError, host_name};
use crate::topology::assignment::Assignment;
use crate::topology::graph::Topology;
use crate::topology::plan::Plan;

/// Why workers could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartWorkersError {
    /// The options ask for 0 workers.
    #[error("a topology runs in at least one worker")]
    NoWorkers,
    /// The master's thread could not be started.
    #[error("cannot start the thread that watches the workers")]
    Thread(#[source] io::Error),
    /// The system has no random bytes for the secret of the run.
    #[error("the operating system has no randomness")]
    Randomness,
    /// The directory of the checkpoints has a name that is not UTF-8, so workers cannot be told of it.
    #[error("the name of the directory for checkpoints, `{0}`, is not UTF-8: choose another `storage`")]
    DirectoryName(String),
    /// The topology cannot begin with its checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointStartError),
}

/// What distinguishes one run of a topology from another.
pub(super) struct RunIdentity {
    /// Its name.
    pub run: [u8; 16],
    /// What its processes prove to each other.
    pub secret: Secret,
    /// The number of its first recovery.
    pub first_recovery: u64,
    /// If supervisors start the workers: how the master begins.
    pub appointment: Option<Appointment>,
    /// What generations leave behind.
    pub dropped: Vec<(u64, Vec<String>)>,
}

/// What a master begins with.
pub(super) struct Prepared {
    /// The start of a worker, without what differs between workers.
    pub start: Start,
    /// What the core is made with.
    pub core: CoreOptions,
    /// The store of checkpoints, if the topology takes any. An epoch has begun in it.
    pub store: Option<CheckpointStore>,
}

/// Works it out for a placed topology. `reads_once`: the worker that reads what can be read only once.
///
/// # Errors
/// When the topology cannot begin with its checkpoints.
pub(super) fn prepare(
    topology: &Topology,
    (plan, assignment): (&Plan, Assignment),
    source: TopologySource,
    options: &WorkersOptions,
    reads_once: Option<WorkerId>,
    identity: RunIdentity,
) -> Result<Prepared, StartWorkersError> {
    let workers = assignment.used_workers().last().map_or(1, |last| last.0 + 1);
    let mut sources = sources(topology, plan, &assignment, workers, reads_once);
    let opened = match topology.options().delivery.is_exactly_once() {
        true => {
            // What a worker had open when it died is emitted again after the checkpoint.
            sources.fill(Sources::None);
            let holder = format!("process {} on {}", std::process::id(), host_name());
            let directory = checkpoint_directory(topology)?;
            let unnamed = || StartWorkersError::DirectoryName(directory.display().to_string());
            let directory = directory.to_str().ok_or_else(unnamed)?.to_owned();
            let resources = WorkerResources::default();
            resources.set_secrets(options.secrets.clone());
            let trial = Trial { resources, workers: options.workers };
            let (begin, dropped) = (options.checkpoints.clone(), &options.allow_dropped_state);
            let opened = match identity.appointment {
                Some(_) => {
                    let run: String = identity.run.iter().map(|byte| format!("{byte:02x}")).collect();
                    let dropped = DroppedOfRun { at_begin: dropped, by_generation: &identity.dropped };
                    open_directory_of_run(topology, &run, begin, dropped, (&holder, &trial))?
                }
                None => open_directory(topology, begin, dropped, &holder, &trial)?,
            };
            opened.warn_of_given_up(&options.logger);
            Some((directory, opened))
        }
        false => None,
    };
    let start = Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        source,
        assignment,
        worker: WorkerId(0),
        incarnation: Incarnation(0),
        workers,
        run: identity.run,
        secret: identity.secret,
        members: Members::default(),
        net: options.net.clone(),
        worker_options: options.worker.clone(),
        secrets: options.secrets.clone(),
        log: options.log.clone(),
        print: options.print,
        checkpoints: opened.as_ref().map(|(directory, _)| directory.clone()),
        left_behind: opened
            .as_ref()
            .map(|(_, opened)| opened.store.left_behind().clone())
            .unwrap_or_default(),
        stdin: options.stdin,
        closed: standard::closed(),
    };
    let core = CoreOptions {
        sources,
        worker: options.worker.clone(),
        link_lost: options.net.link_lost,
        bolts: topology.components().iter().filter(|component| !component.is_spout()).count(),
        drain_timeout: topology.options().drain_timeout,
        start_inactive: topology.options().start_inactive,
        checkpoints: opened.as_ref().map(|(_, opened)| {
            let parts = Parts::new(topology, plan, usize::from(workers));
            (topology.options().checkpoint_at_pace(), parts, opened.epoch)
        }),
        first_recovery: identity.first_recovery,
        appointment: identity.appointment,
    };
    Ok(Prepared { start, core, store: opened.map(|(_, opened)| opened.store) })
}
