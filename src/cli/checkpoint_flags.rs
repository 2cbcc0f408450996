//! The flags of `squall run` about checkpoints of earlier runs.

use std::path::{Path, PathBuf};

use crate::cli::error::CommandError;
use crate::cluster::topologies::{BeginFrom, TopologyBegin};
use crate::ids::CheckpointId;
use crate::runtime::CheckpointBegin;
use crate::runtime::checkpoint_start::checkpoint_directory;
use crate::text::shown;
use crate::topology::graph::Topology;

/// The error for these flags where there are no checkpoints.
const NO_CHECKPOINTS: &str = "`--resume`, `--from-savepoint`, `--discard-checkpoints` and `--allow-dropped-state` are \
    about checkpoints, and only a topology with `delivery = \"exactly-once\"` takes them";

/// With which checkpoint a run begins, and what becomes of those of an earlier run.
#[derive(clap::Args, Debug)]
pub(super) struct CheckpointFlags {
    /// Continue a run that was killed, from its latest checkpoint, or go back to an earlier one
    ///
    /// For topologies with `delivery = "exactly-once"`. If there is no checkpoint yet, the run begins at the beginning.
    ///
    /// --resume=CHECKPOINT goes back to that checkpoint, as `squall checkpoint list` shows it. Later checkpoints are
    /// given up, and rows that sinks published since are published again.
    #[arg(
        long,
        value_name = "CHECKPOINT",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with = "discard_checkpoints"
    )]
    resume: Option<Option<CheckpointId>>,

    /// Go on from a savepoint, as `squall savepoint create` and `squall stop --savepoint` write them
    ///
    /// It is copied, and stays as it is. If there are checkpoints of a run that has not come to its end, the run is not
    /// started, unless --discard-checkpoints deletes them.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    from_savepoint: Option<PathBuf>,

    /// Begin at the beginning, and delete the checkpoints of an earlier run that has not come to its end
    ///
    /// Without this flag and without --resume, a run is not started while there are such checkpoints.
    #[arg(long)]
    discard_checkpoints: bool,

    /// Leave behind what a component that is gone kept in the checkpoint, or one state of a component
    ///
    /// COMPONENT is for a component that is gone. COMPONENT.STATE is for a state that the component does not register any
    /// more, or registers as another one on purpose: it begins empty. If a name has a dot itself, COMPONENT:STATE is clear
    /// in every case. Without this flag such state is an error, so that nothing is lost unnoticed. May be repeated.
    #[arg(long, value_name = "COMPONENT[.STATE]")]
    pub(super) allow_dropped_state: Vec<String>,
}

impl CheckpointFlags {
    /// What becomes of the checkpoints of an earlier run.
    pub(super) fn begin(&self, topology: &Topology) -> Result<CheckpointBegin, CommandError> {
        let discard = self.discard_checkpoints;
        let begin = match (self.resume, &self.from_savepoint) {
            (Some(None), _) => CheckpointBegin::Resume,
            (Some(Some(checkpoint)), _) => CheckpointBegin::ResumeFrom(checkpoint),
            (None, Some(directory)) => CheckpointBegin::Savepoint { directory: directory.clone(), discard },
            (None, None) if discard => CheckpointBegin::Discard,
            (None, None) => CheckpointBegin::New,
        };
        let says_something = begin != CheckpointBegin::New || !self.allow_dropped_state.is_empty();
        match says_something && !topology.options().delivery.is_exactly_once() {
            true => Err(CommandError::Refused(NO_CHECKPOINTS.to_owned())),
            false => Ok(begin),
        }
    }
}

/// How a topology of a cluster begins. `--from-savepoint` is a directory of the hosts; a relative one is meant as it is
/// here.
pub(super) fn begin_in_cluster(
    flags: &CheckpointFlags,
    topology: &Topology,
) -> Result<TopologyBegin, CommandError> {
    let from = match flags.begin(topology)? {
        CheckpointBegin::New => BeginFrom::Nothing,
        CheckpointBegin::Resume => BeginFrom::Latest,
        CheckpointBegin::ResumeFrom(checkpoint) => BeginFrom::Checkpoint(checkpoint.to_string()),
        CheckpointBegin::Discard => BeginFrom::Discard,
        CheckpointBegin::Savepoint { directory, discard } => {
            BeginFrom::Savepoint { directory: absolute_text(&directory)?, discard }
        }
    };
    Ok(TopologyBegin { from, allow_dropped_state: flags.allow_dropped_state.clone() })
}

/// A directory for a cluster: as an absolute path, and in UTF-8.
pub(super) fn absolute_text(directory: &Path) -> Result<String, CommandError> {
    let absolute = std::path::absolute(directory).map_err(CommandError::io("find the directory"))?;
    let unnamed = |path: PathBuf| {
        let text = format!("`{}` is not UTF-8, so it cannot be named to a cluster", shown(path.display()));
        CommandError::Refused(text)
    };
    absolute.into_os_string().into_string().map_err(|path| unnamed(path.into()))
}

/// Where the checkpoints of the topology are, as an absolute path, if it takes any.
pub(super) fn checkpoints_of(topology: &Topology) -> Option<PathBuf> {
    if !topology.options().delivery.is_exactly_once() {
        return None;
    }
    std::path::absolute(checkpoint_directory(topology).ok()?).ok()
}
