//! Any text as a topology document, with what it includes and what is set on a command line.

use schemars::JsonSchema;
use serde::Deserialize;
use squall::prelude::*;
use squall::topology::declare::{MemorySource, load};

/// Stands between the document, the file `more.toml` that it may include, and each override.
const SEPARATOR: char = '\0';

/// Declares streams and does nothing.
struct Inert(Streams);

impl Spout for Inert {
    fn declare(&self) -> Streams {
        self.0.clone()
    }

    fn next_tuple(&mut self, _out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        Ok(SpoutStatus::Exhausted)
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only read from documents")]
struct FileSettings {
    path: String,
    #[serde(default)]
    follow: bool,
    rotation: Option<Rotation>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "only read from documents")]
enum Rotation {
    Never,
    Size(u64),
    Every { seconds: f64 },
}

#[derive(Deserialize, JsonSchema)]
struct SplitSettings {
    emit: String,
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.spout("file", "Lines.", |_: &FileSettings| Ok(Inert(Streams::new(["line"]))));
    registry.spout("picker", "Picks tasks.", |_: &NoSettings| {
        Ok(Inert(Streams::none().direct_stream("picked", ["line"])))
    });
    registry.bolt("split", "Words.", |settings: &SplitSettings| {
        if settings.emit.is_empty() {
            return Err(SettingError::at("emit", "a field has a name"));
        }
        Ok(Inert(Streams::new([settings.emit.as_str()])))
    });
    registry.bolt("count", "Counts.", |_: &NoSettings| Ok(Inert(Streams::new(["word", "count"]))));
    registry.bolt("print", "Shows.", |_: &NoSettings| Ok(Inert(Streams::none())));
    registry
}

/// A document becomes a topology, or a list of problems that can be shown.
pub fn topology_toml(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut parts = text.split(SEPARATOR);
    let source = MemorySource::new()
        .file("main.toml", parts.next().unwrap_or_default())
        .file("more.toml", parts.next().unwrap_or_default())
        .set("NAME", "value")
        .set("NESTED", "${NAME}");
    let overrides: Vec<String> = parts.map(str::to_owned).collect();
    if let Err(errors) = load(&source, "main.toml", &registry(), &overrides) {
        assert!(!errors.diagnostics().is_empty(), "a refusal says why");
        assert!(!errors.render(false).is_empty());
        assert!(!errors.render(true).is_empty());
    }
}
