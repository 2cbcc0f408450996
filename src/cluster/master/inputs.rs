//! Which workers read from sources that cannot be read again.
//!
//! Standard input is such a source, unless it is a regular file.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::api::{Check, STANDARD_INPUT};
use crate::cluster::master::counts::Sources;
use crate::ids::WorkerId;
use crate::topology::assignment::Assignment;
use crate::topology::graph::{Component, Constructor, Topology};
use crate::topology::plan::{Part, Plan};

/// The worker whose spout reads standard input; validation allows one such spout, with one task.
pub fn stdin_reader(topology: &Topology, plan: &Plan, assignment: &Assignment) -> Option<WorkerId> {
    let at = topology.components().iter().position(claims_stdin)?;
    let executor = plan.executors_of(Part::Component(at)).first()?;
    Some(assignment.worker_of(executor.id))
}

/// Where the spouts of each worker read. `reads_once` is the worker that reads from a source whose bytes
/// can be read only once.
pub fn sources(
    topology: &Topology,
    plan: &Plan,
    assignment: &Assignment,
    workers: u16,
    reads_once: Option<WorkerId>,
) -> Vec<Sources> {
    let sources = |worker| match worker {
        _ if reads_once == Some(worker) => Sources::ReadOnce,
        _ if assignment.has_spouts(topology, plan, worker) => Sources::ReadAgain,
        _ => Sources::None,
    };
    (0..workers).map(WorkerId).map(sources).collect()
}

/// Standard input that is a regular file, which every incarnation of its reader can read from the same
/// position. Processes share the offset of an open file, and a spout may move it.
pub struct RereadInput {
    /// The only worker that reads it.
    pub reader: WorkerId,
    file: File,
    offset: u64,
}

impl RereadInput {
    /// Standard input of this process, from its present offset; `None` if it is no regular file.
    pub fn new(reader: WorkerId, stdin: impl AsFd) -> Option<RereadInput> {
        let mut file = File::from(stdin.as_fd().try_clone_to_owned().ok()?);
        let is_file = file.metadata().is_ok_and(|found| found.is_file());
        let offset = is_file.then(|| file.stream_position().ok()).flatten()?;
        Some(RereadInput { reader, file, offset })
    }

    /// Moves the offset back to where it was. To be called before each incarnation of the reader starts;
    /// the one before has ended by then.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn rewind(&self) -> io::Result<()> {
        (&self.file).seek(SeekFrom::Start(self.offset)).map(|_| ())
    }
}

/// Whether a component is a spout that claims standard input for itself. As in validation, an instance
/// is made to ask it, and dropped.
fn claims_stdin(component: &Component) -> bool {
    let Constructor::Spout(factory) = &component.constructor else { return false };
    let claims = || {
        let mut check = Check::new(&[], None, component.options.parallelism as usize);
        factory().ok()?.check(&mut check);
        let (_, claims) = check.into_parts();
        Some(claims.iter().any(|claim| claim.resource == STANDARD_INPUT))
    };
    catch_unwind(AssertUnwindSafe(claims)).ok().flatten().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn each_incarnation_reads_a_file_from_where_the_first_began() {
        let mut stdin = tempfile::tempfile().expect("a temporary file");
        stdin.write_all(b"before after").expect("it can be written");
        stdin.seek(SeekFrom::Start(7)).expect("it has an offset");
        let input = RereadInput::new(WorkerId(0), &stdin).expect("it is a file");
        for _ in 0..2 {
            input.rewind().expect("it can be moved");
            let mut text = String::new();
            stdin.read_to_string(&mut text).expect("it can be read");
            assert_eq!(text, "after");
        }
    }

    #[test]
    fn a_pipe_is_read_once() {
        let (reader, _writer) = io::pipe().expect("a pipe");
        assert!(RereadInput::new(WorkerId(0), reader).is_none());
    }
}
