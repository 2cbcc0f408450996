//! A part that is complete and durable, and waits until the checkpoint that it belongs to is.
//!
//! It is kept in checkpoints, so that any instance can publish it. Publishing is a rename, which happens once: where
//! the name that it waits under is gone, it was published before.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Stat, statat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::components::file::part::{self, Entry, Own};
use crate::components::file::path::PathTemplate;

/// What a checkpoint has of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SealedPart {
    /// The path that it waits under.
    pub(super) pending: String,
    /// The path that it is to get.
    pub(super) published: String,
    /// The template, filled in when the part was begun, and which of its names the part has.
    pub(super) base: String,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) rows: u64,
}

/// What became of a part that was to be published.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Publication {
    /// It has its name, or had it before.
    Done,
    /// Somebody else has its name, so it got this one.
    Renamed(PathBuf),
    /// Its rows are lost, or some of them.
    Lost(String),
}

impl SealedPart {
    /// Gives it its name, if it does not have it, and makes that durable.
    pub(super) fn publish(&self) -> io::Result<Publication> {
        let (pending, published) = (Path::new(&self.pending), Path::new(&self.published));
        let gone = || {
            let (pending, published) = (pending.display(), published.display());
            Ok(Publication::Lost(format!("neither `{pending}` nor `{published}` is there")))
        };
        let Some(place) = Entry::of(pending)? else { return gone() };
        let (_, name) = part::split(published);
        let there = found(statat(&place.directory, &name, AtFlags::SYMLINK_NOFOLLOW))?;
        let Some(waiting) = found(statat(&place.directory, &place.name, AtFlags::SYMLINK_NOFOLLOW))? else {
            // A crash may have come between the rename and this.
            return if there.is_some() { place.sync_directory().map(|()| Publication::Done) } else { gone() };
        };
        if there.is_some_and(|there| (there.st_dev, there.st_ino) == (waiting.st_dev, waiting.st_ino)) {
            // Where the file system cannot rename to a free name, the file has both names for a moment.
            unlinkat(&place.directory, &place.name, AtFlags::empty())?;
            return place.sync_directory().map(|()| Publication::Done);
        }
        let bytes = waiting.st_size.cast_unsigned();
        if bytes < self.bytes {
            let (pending, expected) = (pending.display(), self.bytes);
            return Ok(Publication::Lost(format!(
                "somebody cut `{pending}` from {expected} to {bytes} bytes"
            )));
        }
        let path = part::publish(&place, &name, true)?.path;
        let is_own_name = path.file_name() == Some(&*name);
        Ok(if is_own_name { Publication::Done } else { Publication::Renamed(path) })
    }
}

fn found(stat: rustix::io::Result<Stat>) -> io::Result<Option<Stat>> {
    match stat {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What was done with the parts that belong to no checkpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Removal {
    /// These were removed.
    pub(super) removed: Vec<PathBuf>,
    /// These have a writer, or are none of squall's making, and were left alone.
    pub(super) foreign: Vec<PathBuf>,
}

/// Removes what an earlier instance of the task left and that is not in `keep`. A file that is locked has a writer
/// and is left alone.
pub(super) fn remove_others(template: &PathTemplate, keep: &[&SealedPart]) -> io::Result<Removal> {
    let mut removal = Removal::default();
    for leftover in template.leftovers() {
        let is_kept = |part: &&SealedPart| plain(Path::new(&part.pending)) == plain(&leftover);
        if keep.iter().any(is_kept) {
            continue;
        }
        let Some(place) = Entry::of(&leftover)? else { continue };
        match part::open_own(&place)? {
            Own::Gone => {}
            Own::File(file) if file.try_lock().is_ok() => {
                unlinkat(&place.directory, &place.name, AtFlags::empty())?;
                removal.removed.push(leftover);
            }
            Own::File(_) | Own::Foreign => removal.foreign.push(leftover),
        }
    }
    Ok(removal)
}

fn plain(path: &Path) -> &Path {
    path.strip_prefix(".").unwrap_or(path)
}
