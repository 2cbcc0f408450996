//! Component types for tests of documents: they declare what real ones would, and do nothing.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;
use squall::prelude::*;
use squall::topology::registry::{NoSettings, SettingError};
use squall::trident::MemoryStore;

/// Declares streams and does nothing.
pub struct Inert(pub Streams);

impl Spout for Inert {
    fn declare(&self) -> Streams {
        self.0.clone()
    }
    fn next_tuple(&mut self, _out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        Ok(SpoutStatus::Exhausted)
    }
    fn is_rewindable(&self) -> bool {
        true
    }
}

impl Bolt for Inert {
    fn declare(&self) -> Streams {
        self.0.clone()
    }
    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WantsSettings {
    /// A field that every input must have.
    #[serde(default)]
    pub field: Option<String>,
    /// Whether a tick is needed.
    #[serde(default)]
    pub ticks: bool,
    /// A resource to claim.
    #[serde(default)]
    pub device: Option<String>,
    /// A state to use.
    #[serde(default)]
    pub state: Option<String>,
}

/// Refuses places where it cannot work.
pub struct Wants(pub WantsSettings);

impl Bolt for Wants {
    fn check(&self, check: &mut Check<'_>) {
        if let Some(field) = &self.0.field {
            check.require_field("field", field);
        }
        if self.0.ticks && check.tick().is_none() {
            check.refuse("ticks", "there is no tick");
        }
        if let Some(state) = &self.0.state {
            check.use_state("state", state, &[]);
        }
        if let Some(device) = &self.0.device {
            check.claim("device", device);
        }
    }
    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

/// The first task, or as many as the settings say.
struct First(usize);

impl CustomGrouping for First {
    fn choose(&mut self, _tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
        chosen.extend(targets.iter().take(self.0));
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileSettings {
    /// Which files.
    path: String,
    /// Whether to wait for more.
    #[serde(default)]
    follow: bool,
    rotation: Option<Rotation>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// Bytes of a file.
    size: u64,
    keep: Option<NonZeroU32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct SplitSettings {
    pattern: String,
    emit: String,
}

impl Default for SplitSettings {
    fn default() -> SplitSettings {
        SplitSettings { pattern: " ".to_owned(), emit: "word".to_owned() }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TopSettings {
    /// How many tasks get every tuple.
    tasks: usize,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ShelfSettings {
    /// Where it stands.
    #[allow(dead_code, reason = "a store of documents that are not run")]
    room: String,
}

/// A hook that does nothing.
struct Silent;

impl squall::api::TaskHook for Silent {}

/// Forgets to deny unknown fields.
#[derive(Deserialize, JsonSchema)]
struct LaxSettings {
    #[serde(default)]
    limit: u32,
    #[serde(default)]
    inner: LaxInner,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct LaxInner {
    deep: u32,
}

/// The state `shelf`; `wants`; `file` (line) and `picker` (direct stream), `split` (word), `count`, `print`, `lax`; the custom
/// groupings `first` and `top`, the hook `audit`.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    registry
        .spout("file", "Lines of files.", |_: &FileSettings| Ok(Inert(Streams::new(["line"]))))
        .blocking()
        .output("line")
        .example("[spout.lines]\ntype = \"file\"\nconfig = { path = \"a.txt\" }");
    registry.spout("picker", "Picks tasks.", |_: &NoSettings| {
        Ok(Inert(Streams::none().direct_stream("picked", ["line"])))
    });
    registry.bolt("split", "Words.", |settings: &SplitSettings| {
        if settings.pattern.is_empty() {
            return Err(SettingError::at("pattern", "a pattern cannot be empty"));
        }
        Ok(Inert(Streams::new([settings.emit.as_str()]).stream("long", ["line", "length"])))
    });
    registry.bolt("count", "Counts.", |_: &NoSettings| Ok(Inert(Streams::new(["word", "count"]))));
    registry.bolt("print", "Shows.", |_: &NoSettings| Ok(Inert(Streams::none())));
    registry.bolt("lax", "Lax.", |settings: &LaxSettings| {
        if settings.limit == 100 {
            std::panic::resume_unwind(Box::new("no instance"));
        }
        if settings.limit + settings.inner.deep > 100 {
            return Err(SettingError::new("too much"));
        }
        Ok(Inert(Streams::none()))
    });
    registry.bolt("wants", "Wants.", |settings: &WantsSettings| Ok(Wants(settings.clone())));
    registry.grouping("first", || First(1));
    registry.grouping_with("top", |settings: &TopSettings| match settings.tasks {
        0 => Err(SettingError::at("tasks", "no task would get a tuple")),
        tasks => Ok(First(tasks)),
    });
    registry.state_type("shelf", "A shelf.", |_: &ShelfSettings| Ok(MemoryStore::default()));
    registry.hook("audit", || Silent);
    registry
}
