//! What the processes of a host may use, as `[supervisor.limits]` wants it.
//!
//! ```text
//!   supervisor ── starts ─▶ squall confine ── joins its group, or limits itself ── becomes ─▶ worker, master
//! ```
//!
//! A worker may have the memory that its tasks are counted with when it is placed, and `memory_extra`. A master has no
//! tasks. [Decision 0041](../../../../../docs/decisions/0041-limits-of-processes.md) says why.
//!
//! `hierarchies`: where control groups are. `group`: that of one process. `stage`: what a process does before it becomes a
//! program.

mod group;
mod hierarchies;
mod stage;

use std::path::Path;
use std::process::{Command, Stdio};

use slog::{Logger, info, warn};

use crate::cluster::daemons::supervisor::actions::Exit;
use crate::cluster::daemons::supervisor::child::{ChildId, Role};
use crate::cluster::daemons::supervisor::limits::group::{ControlGroup, GroupLimits};
use crate::cluster::daemons::supervisor::limits::hierarchies::Hierarchies;
use crate::cluster::processes::{Executable, program};
use crate::cluster::topologies::{BlobHash, ORDER_FILE, WorkerOrder, read_order, write_order};
use crate::config::units::show_size;
use crate::config::{LimitedBy, ProcessLimits, Resources};
use crate::text::{shown, with_causes};

pub(crate) use stage::confine;

/// The file with the [`ControlGroup`] of a process.
const GROUP_FILE: &str = "group.json";
/// Digits of the hash of the directory of a supervisor, in the names of its groups.
const DIGITS: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Limits {
    by: By,
    memory_extra: u64,
    threads: u32,
    /// The names of groups begin so: two supervisors may have the group below which these are.
    prefix: String,
    /// The squall that processes are until they have their limits.
    stage: Executable,
}

#[derive(Debug)]
enum By {
    Nothing,
    Groups(Hierarchies),
    Rlimit,
}

impl Limits {
    /// Makes ready what the options want. `directory`: that of the supervisor; `stage`: a squall.
    ///
    /// # Errors
    /// When there are no control groups, or they cannot be used, and the options want nothing else.
    pub fn prepare(
        options: &ProcessLimits,
        directory: &Path,
        stage: Executable,
        logger: &Logger,
    ) -> Result<Limits, String> {
        let directory = directory.canonicalize().map_err(|error| error.to_string())?;
        let hash = BlobHash::of(directory.as_os_str().as_encoded_bytes());
        let prefix = format!("squall-{}", &hash.as_str()[..DIGITS]);
        let groups = || {
            let found = find(options)?;
            found.prepare()?;
            try_out(&found, &prefix, &stage).map(|()| found)
        };
        let by = match options.by {
            LimitedBy::Nothing => By::Nothing,
            LimitedBy::Rlimit => By::Rlimit,
            LimitedBy::ControlGroups => By::Groups(groups().map_err(|why| refused(&why))?),
            LimitedBy::Auto => groups().map_or_else(
                |why| {
                    warn!(logger, "each process is limited by itself, without control groups"; "why" => why);
                    By::Rlimit
                },
                By::Groups,
            ),
        };
        if let By::Groups(hierarchies) = &by {
            info!(logger, "processes have limits"; "by" => hierarchies.describe());
        }
        let (memory_extra, threads) = (options.memory_extra, options.threads_max);
        Ok(Limits { by, memory_extra, threads, prefix, stage })
    }

    /// What the options come to on this host, for people. Changes nothing. `None`: there are no limits.
    ///
    /// # Errors
    /// As [`Limits::prepare`], as far as that can be seen.
    pub fn foresee(options: &ProcessLimits) -> Result<Option<String>, String> {
        let each = "each process is limited by itself".to_owned();
        match options.by {
            LimitedBy::Nothing => Ok(None),
            LimitedBy::Rlimit => Ok(Some(each)),
            LimitedBy::ControlGroups => {
                find(options).map(|found| Some(found.describe())).map_err(|why| refused(&why))
            }
            LimitedBy::Auto => Ok(Some(find(options).map_or(each, |found| found.describe()))),
        }
    }

    /// The command that is this program within the limits of a process. Its arguments are to follow.
    ///
    /// # Errors
    /// When what was there before does not end, or its control group cannot be made.
    pub(super) fn command(
        &self,
        id: &ChildId,
        directory: &Path,
        executable: &Executable,
    ) -> Result<Command, String> {
        self.end(id, directory)?;
        let limits = || self.limits_of(id, directory);
        let confined = match &self.by {
            By::Nothing => None,
            By::Groups(hierarchies) => {
                let group = ControlGroup::of(hierarchies, &self.name(id));
                write_order(directory, GROUP_FILE, &group).map_err(|error| with_causes(&error))?;
                group.make(&limits())?;
                Some(stage::command(&self.stage, executable, &group.entrances(), None))
            }
            By::Rlimit => {
                let memory = limits().resources.memory;
                Some(stage::command(&self.stage, executable, &[], Some(memory)))
            }
        };
        let command = confined.unwrap_or_else(|| program(executable));
        command.map_err(|error| error.to_string())
    }

    /// What a process may use. Of a worker whose needs are not known, only the threads are limited.
    fn limits_of(&self, id: &ChildId, directory: &Path) -> GroupLimits {
        let extra = Resources { memory: self.memory_extra, ..Resources::default() };
        let needs = match id.role {
            Role::Master => Some(Resources::NONE),
            Role::Worker(_) => {
                let order: Option<WorkerOrder> = read_order(directory, ORDER_FILE).ok().flatten();
                order.and_then(|order| order.needs)
            }
        };
        // A nimbus of an earlier version does not say what workers need.
        let unlimited = Resources { memory: i64::MAX as u64, ..extra };
        GroupLimits { resources: needs.map_or(unlimited, |needs| needs + extra), threads: self.threads }
    }

    /// A process has ended, and no other one has its directory: ends what it has left, and says so if it has used up its
    /// memory.
    pub(super) fn ended(&self, id: &ChildId, directory: &Path, exit: &mut Exit) -> Result<(), String> {
        let killed = self.recorded(id, directory).is_some_and(|group| group.killed_for_memory() > 0);
        let aborted = matches!(self.by, By::Rlimit) && exit.how.contains("SIGABRT");
        if !exit.is_done && (killed || aborted) {
            let has = show_size(self.limits_of(id, directory).resources.memory);
            let whether = if killed { "it has" } else { "maybe it has" };
            let more = match id.role {
                Role::Master => "`supervisor.limits.memory_extra`",
                Role::Worker(_) => {
                    "`resources.memory` of its components, and `supervisor.limits.memory_extra`"
                }
            };
            exit.how =
                format!("{}: {whether} used up the {has} of memory that it may have ({more})", exit.how);
        }
        self.end(id, directory)
    }

    /// Ends what is left of an earlier process of the directory.
    pub(super) fn end(&self, id: &ChildId, directory: &Path) -> Result<(), String> {
        // The file is where the process could write it, so what it should say is ended, too.
        let present = match &self.by {
            By::Groups(hierarchies) => Some(ControlGroup::of(hierarchies, &self.name(id))),
            By::Nothing | By::Rlimit => None,
        };
        let mut groups = self.recorded(id, directory).into_iter().chain(present);
        groups.try_for_each(|group| group.end()).map_err(|error| {
            format!("what its last process has started does not end, or its control group stays: {error}")
        })
    }

    /// The group that stands in a private directory. A name that is not that of the process is somebody else's.
    fn recorded(&self, id: &ChildId, directory: &Path) -> Option<ControlGroup> {
        let group: ControlGroup = read_order(directory, GROUP_FILE).ok().flatten()?;
        group.is_called(&self.name(id)).then_some(group)
    }

    fn name(&self, id: &ChildId) -> String {
        format!("{}.{}.{}", self.prefix, id.topology, id.role)
    }
}

/// Whether a process can be started in a group.
fn try_out(hierarchies: &Hierarchies, prefix: &str, stage: &Executable) -> Result<(), String> {
    let group = ControlGroup::of(hierarchies, &format!("{prefix}.try"));
    let limits =
        GroupLimits { resources: Resources { memory: 1 << 30, ..Resources::default() }, threads: 64 };
    group.make(&limits)?;
    let program = Executable::At("true".into(), Vec::new());
    let tried = stage::command(stage, &program, &group.entrances(), None)
        .and_then(|mut command| command.stdin(Stdio::null()).stdout(Stdio::null()).output());
    let ended = group.end();
    match tried {
        Ok(output) if output.status.success() => ended.map_err(|error| error.to_string()),
        Ok(output) => Err(format!(
            "a process cannot be started in the control group: {}",
            shown(String::from_utf8_lossy(&output.stderr).trim())
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn find(options: &ProcessLimits) -> Result<Hierarchies, String> {
    Hierarchies::find(Path::new("/proc"), options.group.as_deref())
}

fn refused(why: &str) -> String {
    format!("`supervisor.limits.by`: {why}; \"rlimit\" limits each process by itself, and \"nothing\" none")
}
