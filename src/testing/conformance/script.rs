//! What is done with a sink, and where its instances crash.

use std::fmt;

/// Checkpoints of a script.
pub(super) const CHECKPOINTS: u64 = 3;
/// Rows before each of them.
pub(super) const ROWS: u64 = 2;

/// A step of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SinkStep {
    Write,
    /// The barrier of the next checkpoint: flush, pre-commit, and what is kept is taken.
    PreCommit,
    /// That checkpoint is complete.
    Complete,
    /// The tasks are told so.
    Commit,
}

/// What differs between scripts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    /// Commits come after the rows that follow, and not at once.
    pub(super) late: bool,
    /// Each commit comes twice.
    pub(super) twice: bool,
    /// The instance crashes after so many steps; `None`: never.
    pub(super) crash_after: Option<usize>,
    /// The next instance crashes, too, before it has committed what it began with.
    pub(super) crash_again: bool,
    /// The instance is lost alone first: the next one has its state, writes, pre-commits, and then crashes with all
    /// others, before that checkpoint is complete.
    pub(super) alone_first: bool,
}

impl Script {
    pub(super) fn steps(&self) -> Vec<SinkStep> {
        let mut steps = Vec::new();
        for checkpoint in 0..CHECKPOINTS {
            steps.extend((0..ROWS).map(|_| SinkStep::Write));
            let commits = if self.twice { 2 } else { 1 };
            if self.late && checkpoint > 0 {
                steps.extend([SinkStep::Commit].repeat(commits));
            }
            steps.extend([SinkStep::PreCommit, SinkStep::Complete]);
            if !self.late || checkpoint + 1 == CHECKPOINTS {
                steps.extend([SinkStep::Commit].repeat(commits));
            }
        }
        steps
    }

    /// The same with an instance that is lost alone after these steps, if that may be: it has committed everything, and
    /// more rows follow.
    pub(super) fn alone(self, steps: &[SinkStep]) -> Option<Script> {
        let after = self.crash_after?;
        let may_be = matches!(steps.get(after - 1..=after), Some([SinkStep::Commit, SinkStep::Write]));
        (may_be && !self.late).then_some(Script { alone_first: true, ..self })
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps();
        for (at, step) in steps.iter().enumerate() {
            let name = match step {
                SinkStep::Write => "write",
                SinkStep::PreCommit => "pre_commit",
                SinkStep::Complete => "(complete)",
                SinkStep::Commit => "commit",
            };
            let crash = match self.crash_after == Some(at + 1) {
                true if self.alone_first => " LOST ALONE write write pre_commit CRASH",
                true if self.crash_again => " CRASH CRASH",
                true => " CRASH",
                false => "",
            };
            write!(f, "{}{name}{crash}", if at > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}
