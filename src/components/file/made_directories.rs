//! Directories that got a new one for a file, and are to be durable with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::components::file::part;

#[derive(Debug, Default)]
pub(super) struct MadeDirectories(Vec<PathBuf>);

impl MadeDirectories {
    /// Notes the directories in which others are to be made for this file.
    pub(super) fn note_missing(&mut self, file: &Path) {
        let (directory, _) = part::split(file);
        let missing = directory.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        for parent in missing.map(|path| part::split(path).0) {
            if !self.0.iter().any(|path| path == parent) {
                self.0.push(parent.to_owned());
            }
        }
    }

    /// Makes durable what was made in them.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.0.iter().try_for_each(|path| fs::File::open(path)?.sync_all())?;
        self.0.clear();
        Ok(())
    }
}
