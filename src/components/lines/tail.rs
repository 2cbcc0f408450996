//! One file that is followed: what is known of it, and how far it was read.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::clock::Time;
use crate::components::lines::backoff::Backoff;
use crate::components::lines::growing::{Growing, Trace};
use crate::components::lines::paths::FileId;
use crate::components::lines::position::{Extent, FileHead, FilePosition};
use crate::components::lines::source::Opened;

pub(super) struct Tail {
    pub(super) id: FileId,
    pub(super) path: PathBuf,
    pub(super) opened: Opened,
    /// Its length at the last scan.
    len: u64,
    /// Since when the file is gone and silent; `None` while it is there.
    pub(super) gone_since: Option<Time>,
    /// When reading it, which fails, is tried again.
    pub(super) trouble: Option<Backoff>,
    /// What it held before it was truncated, until its new content is read.
    pub(super) before: Option<Truncated>,
    /// Whether reading begins anew when what is left of the old content is emitted.
    pub(super) rewinds: bool,
    /// What the file begins with as of the checkpoint, until it is opened.
    pub(super) head: FileHead,
}

/// What is known of the content that a truncated file had.
pub(super) struct Truncated {
    pub(super) trace: Trace,
    /// Complete lines in it.
    pub(super) lines: u64,
    /// Bytes of its last line that were read without a newline; 0 once they were emitted.
    pub(super) partial: u64,
    /// When it was noticed.
    pub(super) at: Time,
}

impl Tail {
    /// A file that is read from this position on, not open yet.
    pub(super) fn new(id: FileId, path: &Path, len: u64, position: u64, line_len_max: usize) -> Tail {
        let opened = Opened::growing(path, Growing::new(position), position, line_len_max);
        Tail {
            id,
            path: path.to_owned(),
            opened,
            len,
            gone_since: None,
            trouble: None,
            before: None,
            rewinds: false,
            head: FileHead::default(),
        }
    }

    /// Where reading stands.
    pub(super) fn position(&mut self) -> FilePosition {
        let is_read = !self.has_more() && self.opened.lines.unread() == 0;
        let extent = match self.gone_since {
            _ if self.rewinds && self.opened.lines.unread() > 0 => Extent::Truncated,
            Some(_) if is_read => Extent::All,
            _ => Extent::Part,
        };
        // What is left of a truncated file is all new.
        let (offset, lines) = match self.rewinds && extent == Extent::Part {
            true => (0, 0),
            false => (self.opened.offset(), self.opened.number),
        };
        let read = self.opened.as_growing().trace().head();
        let head = if read.is_empty() { self.head } else { FileHead::of(read) };
        let head = if self.rewinds { FileHead::default() } else { head };
        let path = self.path.to_string_lossy().into_owned();
        FilePosition { path, id: self.id, offset, lines, head, extent }
    }

    /// The file is there, under this name and so long.
    pub(super) fn see(&mut self, path: &Path, len: u64, now: Time) {
        self.gone_since = None;
        self.len = len;
        if self.path != path {
            self.path = path.to_owned();
            self.opened.name = path.to_string_lossy().into();
        }
        if len < self.opened.position && !self.rewinds {
            let (lines, partial) = self.opened.lines.rest();
            let lines = self.opened.number + lines;
            let trace = self.opened.as_growing().trace().clone();
            self.before = Some(Truncated { trace, lines, partial: partial.unwrap_or(0), at: now });
            self.rewinds = true;
        }
    }

    /// Begins the new content of a truncated file, once the lines of the old one are emitted.
    pub(super) fn rewind(&mut self) {
        if let Some(before) = self.before.as_mut().filter(|_| self.rewinds) {
            // A copy that is found from now on has no line to complete.
            before.partial = 0;
        }
        if self.rewinds && !self.opened.finish() {
            self.opened.rewind();
            self.rewinds = false;
        }
    }

    pub(super) fn is_open(&mut self) -> bool {
        self.opened.as_growing().is_open()
    }

    /// Whether there was something to read at the last scan.
    pub(super) fn has_more(&self) -> bool {
        self.len > self.opened.position
    }

    /// Opens the file, or opens it again where reading stood.
    pub(super) fn open(&mut self) -> io::Result<()> {
        let file = File::open(&self.path)?;
        // The name may lead to another file by now, which the next scan finds.
        if FileId::of(&file.metadata()?) != self.id {
            return Err(io::ErrorKind::NotFound.into());
        }
        let position = self.opened.position;
        self.opened.as_growing().open(file, position)
    }

    /// Closes the file; reading goes on after it is opened again.
    pub(super) fn close(&mut self) {
        self.opened.as_growing().close();
        self.opened.lines.shrink();
    }
}
