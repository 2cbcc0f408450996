//! What an executor of tasks has for checkpoints.
//!
//! Executors begin *halted*: they have no instances, and drop what comes. Then they are given what was restored. When
//! all have it, they run, so that nothing new is dropped. If a task has lost what no other has, all executors halt
//! again, and begin once more with the latest checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::checkpoint::TaskName;
use crate::clock::Time;
use crate::config::doubled;
use crate::ids::CheckpointId;
use crate::runtime::flow::checkpoint::{CheckpointEvent, StorageJob};
use crate::runtime::flow::inbox::InboxSender;
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::lifecycle::rest::Rest;

/// A task writes at most about this many bytes of its state in a step.
pub const SNAPSHOT_BYTES_PER_STEP: usize = 64 << 10;

/// While so many bytes wait to be written, tasks write no more.
const QUEUED_MAX: usize = 64 << 20;

/// When tasks look again whether they may write.
pub const QUEUE_LOOK_PERIOD: Duration = Duration::from_millis(2);

/// The pauses before `committed` is called again after it failed.
const COMMIT_PAUSE_MIN: Duration = Duration::from_millis(100);
const COMMIT_PAUSE_MAX: Duration = Duration::from_secs(10);

/// After so many failures of a commit no other barrier is passed on until it has succeeded.
const COMMIT_FAILURES_MAX: u32 = 3;

/// How many bytes of state wait to be written. Shared by all executors of a process.
#[derive(Debug, Default)]
pub struct StorageQueue {
    bytes: AtomicUsize,
}

impl StorageQueue {
    /// So many bytes were written, or dropped.
    pub fn took(&self, bytes: usize) {
        // Relaxed, here and below: it bounds memory, and orders nothing.
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn puts(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether no more may be put in now.
    pub fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= QUEUED_MAX
    }
}

/// The way to the executor that writes checkpoints.
#[derive(Clone)]
pub struct StorageSender {
    /// Its inbox.
    pub inbox: InboxSender,
    /// What waits there.
    pub queue: Arc<StorageQueue>,
}

impl StorageSender {
    /// Sends a job.
    pub fn send(&self, job: StorageJob) {
        if let StorageJob::Append { chunk, .. } = &job {
            self.queue.puts(chunk.len());
        }
        self.inbox.send_control(job, Urgency::WhenDone);
    }
}

/// Tells the coordinator that a task cannot take its part of a checkpoint.
pub fn refuse(task: &TaskName, checkpoint: CheckpointId, why: &str, coordinator: &InboxSender) {
    let TaskName { component, task_index } = task;
    let why = format!("`{component}`, task {task_index}: {why}");
    coordinator.send_control(CheckpointEvent::Refused { checkpoint, why }, Urgency::WhenDone);
}

/// A checkpoint that is complete and that tasks are to commit.
#[derive(Clone, Copy, Debug)]
struct Commit {
    checkpoint: CheckpointId,
    /// When tasks are called (again).
    due: Time,
    failures: u32,
}

/// Whether an executor does what it is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// What comes is dropped: it belongs to what all executors leave behind.
    Halted,
    /// It has what was restored, and waits until all executors have. What comes waits, too.
    Restored,
    Running,
}

/// What an executor of tasks has for checkpoints, whichever place it has in its chain.
pub struct ExecutorCheckpoints {
    /// Where snapshots go.
    pub storage: StorageSender,
    mode: Mode,
    /// Whether it counts as outstanding, because it has not done everything that was restored.
    is_restoring: bool,
    commit: Option<Commit>,
    /// The barrier for which `pre_commit` was called.
    pub prepared: Option<CheckpointId>,
    /// What the coordinator gets at the end of the step.
    answers: Vec<CheckpointEvent>,
}

impl ExecutorCheckpoints {
    /// Of an executor that has not begun.
    pub fn new(storage: StorageSender) -> ExecutorCheckpoints {
        ExecutorCheckpoints {
            storage,
            mode: Mode::Halted,
            is_restoring: false,
            commit: None,
            prepared: None,
            answers: Vec::new(),
        }
    }

    /// Whether it does what it is there for.
    pub fn runs(&self) -> bool {
        self.mode == Mode::Running
    }

    /// Whether it drops what comes.
    pub fn drops(&self) -> bool {
        self.mode == Mode::Halted
    }

    /// Notes an answer to the coordinator.
    fn answer(&mut self, event: CheckpointEvent) {
        self.answers.push(event);
    }

    /// Sends the answers.
    pub fn send_answers(&mut self, coordinator: &InboxSender) {
        for answer in self.answers.drain(..) {
            coordinator.send_control(answer, Urgency::Now);
        }
    }

    /// It drops what it has. Returns how many messages that count as outstanding that was.
    pub fn halt(&mut self) -> i64 {
        self.mode = Mode::Halted;
        self.commit = None;
        self.prepared = None;
        self.answer(CheckpointEvent::Halted);
        i64::from(std::mem::take(&mut self.is_restoring))
    }

    /// It has what was restored, which is of this checkpoint. Nobody knows whether tasks had committed that. Until its
    /// instances are built, and have the tuples that they held, the executor counts as outstanding.
    pub fn begin_restore(&mut self, checkpoint: Option<CheckpointId>, rest: &Rest) {
        rest.sending();
        self.is_restoring = true;
        self.mode = Mode::Restored;
        self.answer(CheckpointEvent::Restored);
        if let Some(checkpoint) = checkpoint {
            self.commits(checkpoint);
        }
    }

    /// Whether there is something to do that was restored.
    pub fn is_restoring(&self) -> bool {
        self.is_restoring
    }

    /// Notes that everything is done that was restored. Returns how many messages that count as outstanding that was.
    pub fn end_restore(&mut self) -> i64 {
        i64::from(std::mem::take(&mut self.is_restoring))
    }

    /// All executors have what was restored.
    pub fn resume(&mut self) {
        if self.mode == Mode::Restored {
            self.mode = Mode::Running;
        }
    }

    /// Tasks are to commit a checkpoint, and those before it. If they could not commit one of these, the pause goes on.
    pub fn commits(&mut self, checkpoint: CheckpointId) {
        let (due, failures) = self.commit.map_or((Time::ZERO, 0), |commit| (commit.due, commit.failures));
        self.commit = Some(Commit { checkpoint, due, failures });
    }

    /// The checkpoint that tasks are to commit now.
    pub fn due_commit(&self, now: Time) -> Option<CheckpointId> {
        self.commit.filter(|commit| commit.due <= now).map(|commit| commit.checkpoint)
    }

    /// When tasks are to commit next.
    pub fn commit_due(&self) -> Time {
        self.commit.map_or(Time::NEVER, |commit| commit.due)
    }

    /// Whether tasks fail again and again to commit a checkpoint. What they are to commit waits in memory, so it must not
    /// become more with each checkpoint.
    pub fn cannot_commit(&self) -> bool {
        self.commit.is_some_and(|commit| commit.failures >= COMMIT_FAILURES_MAX)
    }

    /// All tasks have committed, or one could not.
    pub fn committed(&mut self, succeeded: bool, now: Time) {
        let Some(commit) = &mut self.commit else { return };
        if succeeded {
            let checkpoint = commit.checkpoint;
            self.commit = None;
            self.answer(CheckpointEvent::Committed(checkpoint));
        } else {
            commit.failures += 1;
            commit.due = now.after(doubled(COMMIT_PAUSE_MIN, commit.failures, COMMIT_PAUSE_MAX));
        }
    }
}
