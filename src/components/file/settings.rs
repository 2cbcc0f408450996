//! The settings of `file`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::components::file::rows::Format;
use crate::components::settings::{ByteSize, Period};
use crate::topology::registry::SettingError;

/// Settings of [`File`](crate::components::file::File).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// The file's name, relative to the working directory. `{task}` is the task's index, `{seq}` a
    /// number that makes the name new, and strftime's `%Y-%m-%d` the time the file was begun
    /// (UTC). Directories are made. When the time in the name changes the file is rotated. A
    /// device, a pipe and a descriptor (`/dev/stdout`, `/dev/fd/3`) are written to as they are.
    /// Required.
    pub path: String,
    /// How rows are written: `"text"`, `"csv"` or `"jsonl"`. Default: by the extension of `path`
    /// (`csv`; `jsonl`, `ndjson`, `json`), otherwise text.
    #[serde(default)]
    pub format: Option<Format>,
    /// The fields that are written. Default: all. The rows of one CSV file have the same fields.
    #[serde(default)]
    pub fields: Option<Vec<String>>,
    /// With CSV: whether each file begins with the names of the fields. Default: true.
    #[serde(default = "header")]
    pub header: bool,
    /// With text: what stands between values. Default: a tab.
    #[serde(default = "separator")]
    pub separator: String,
    /// Begin a new file when one has reached this size. Default: never.
    #[serde(default)]
    pub rotate_size: Option<ByteSize>,
    /// Begin a new file when one is this old, as a duration; looked at when rows come and at the
    /// component's `tick`. Default: never.
    #[serde(default)]
    pub rotate_every: Option<Period>,
    /// Whether rows are on the disk (fsync), not only with the operating system, before they are
    /// acked. Exactly once they always are before a checkpoint is complete. Default: false.
    #[serde(default)]
    pub sync: bool,
    /// Exactly once: whether rows are visible at once, and taken back if all tasks go back to a checkpoint before them.
    /// The file beside, `NAME.clean`, states which of them stay. Not with rotation. Default: false.
    #[serde(default)]
    pub dirty: bool,
}

fn header() -> bool {
    true
}

fn separator() -> String {
    "\t".to_owned()
}

impl FileSettings {
    /// Refuses limits that no file can keep.
    pub(super) fn check_limits(&self) -> Result<(), SettingError> {
        if self.rotate_size == Some(ByteSize(0)) {
            return Err(SettingError::at("rotate_size", "must be at least 1B"));
        }
        if self.dirty && self.rotate_size.is_some() {
            return Err(SettingError::at(
                "rotate_size",
                "does not go with dirty = true: rows are taken back from one file",
            ));
        }
        if self.dirty && self.rotate_every.is_some() {
            return Err(SettingError::at(
                "rotate_every",
                "does not go with dirty = true: rows are taken back from one file",
            ));
        }
        if self.rotate_every.is_some_and(|every| every.0.is_zero()) {
            return Err(SettingError::at("rotate_every", "must be more than nothing"));
        }
        Ok(())
    }

    /// How rows are written.
    pub(super) fn format(&self) -> Format {
        self.format.unwrap_or_else(|| Format::of_path(&self.path))
    }
}
