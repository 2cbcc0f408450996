//! `file`: writes rows to part files, one at a time per task, or to a stream.
//!
//! There are three ways: `acked` acks rows when they are written, at least once and at most once; exactly once,
//! `committed` publishes rows when the checkpoint that they belong to is complete, and `dirty` writes them at once and
//! takes back what belongs to no checkpoint. Which one a task takes is decided when it is prepared. Both write `part`s, under names that `path` makes, with rows as
//! `layout` and `rows` write them; only `acked` writes to a stream (`place`).

mod acked;
mod committed;
mod dirty;
mod layout;
mod made_directories;
mod part;
mod path;
mod place;
mod rows;
mod sealed;
mod settings;
#[cfg(test)]
mod tests;

use crate::api::{Bolt, Check, Input, JournaledBolt, Outputs, TaskContext, TaskError, TwoPhaseBolt};
use crate::components::file::acked::AckedFile;
use crate::components::file::committed::CommittedFile;
use crate::components::file::dirty::DirtyFile;
use crate::components::file::path::PathTemplate;
use crate::ids::CheckpointId;
use crate::topology::registry::{Registry, SettingError};

pub use rows::Format;
pub use settings::FileSettings;

/// The bolt `file`.
pub struct File {
    settings: FileSettings,
    mode: Mode,
}

enum Mode {
    Acked(Box<AckedFile>),
    /// Exactly once.
    Committed(Box<TwoPhaseBolt<CommittedFile>>),
    /// Exactly once, with `dirty`.
    Dirty(Box<JournaledBolt<DirtyFile>>),
}

impl File {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When the path is no template, or a limit is 0.
    pub fn new(settings: FileSettings) -> Result<File, SettingError> {
        PathTemplate::check(&settings.path).map_err(|why| SettingError::at("path", why))?;
        settings.check_limits()?;
        let mode = Mode::Acked(Box::new(AckedFile::new(settings.clone())));
        Ok(File { settings, mode })
    }

    fn bolt(&mut self) -> &mut dyn Bolt {
        match &mut self.mode {
            Mode::Acked(bolt) => &mut **bolt,
            Mode::Committed(bolt) => &mut **bolt,
            Mode::Dirty(bolt) => &mut **bolt,
        }
    }
}

impl Bolt for File {
    fn check(&self, check: &mut Check<'_>) {
        if self.settings.dirty && !check.delivery().is_exactly_once() {
            check.refuse(
                "dirty",
                "goes with `delivery = \"exactly-once\"` only; without it, rows stay as they are written",
            );
        }
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let settings = || self.settings.clone();
        match (context.delivery().is_exactly_once(), self.settings.dirty) {
            (true, false) => {
                self.mode = Mode::Committed(Box::new(TwoPhaseBolt::new(CommittedFile::new(settings()))));
            }
            (true, true) => self.mode = Mode::Dirty(Box::new(JournaledBolt::new(DirtyFile::new(settings())))),
            (false, _) => {}
        }
        self.bolt().prepare(context)
    }

    fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().init_state(out)
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().execute(input, out)
    }

    fn flush(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().flush(out)
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().tick(out)
    }

    fn pre_commit(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().pre_commit(checkpoint, out)
    }

    fn committed(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().committed(checkpoint, out)
    }

    fn keeps_data(&self) -> bool {
        match &self.mode {
            Mode::Acked(bolt) => bolt.keeps_data(),
            Mode::Committed(bolt) => bolt.keeps_data(),
            Mode::Dirty(bolt) => bolt.keeps_data(),
        }
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().finish(out)
    }

    fn cleanup(&mut self) {
        self.bolt().cleanup();
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt("file", "Writes rows to files as text, CSV or JSON lines.", |settings: &FileSettings| {
            File::new(settings.clone())
        })
        .output("none")
        .example(
            r#"
[bolt.store]
type = "file"
parallelism = 2
inputs = ["parse"]
config = { path = "out/%Y-%m-%d/hits-{task}.csv", rotate_size = "64MiB", sync = true }
"#,
        )
        .blocking();
}
