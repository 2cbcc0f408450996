//! Copies of files that are followed, as `copytruncate` of logrotate makes them.
//!
//! `copytruncate` copies a log and then truncates it. Where the pattern matches the copy, too, its
//! lines would be read twice; and what was written between the last read and the truncation is
//! nowhere but in the copy. So a new file that begins with what was read of a followed file is not
//! taken for new:
//!
//! * when the followed file was truncated, the new one is its copy: it is read from where the
//!   followed file was read to;
//! * otherwise the copy may be under way: it waits until the followed file is truncated, or until
//!   it has not grown for [`COPY_SILENCE`]. Then it is a file in its own right, read from its
//!   beginning.
//!
//! A file is known by its first KiB and the 4 KiB that were read last (`Trace`).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::clock::Time;
use crate::components::lines::paths::FileId;
use crate::components::lines::tail::Tail;

/// How long a file that looks like a copy under way may stand still.
pub(super) const COPY_SILENCE: Duration = Duration::from_secs(5);

/// What a new file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// New: read from its beginning.
    Own,
    /// Perhaps a copy under way: decided later.
    Undecided,
    /// A copy of a truncated file, to be read from this byte on, with so many lines before it.
    Copy { position: u64, lines: u64 },
}

/// Files that may be copies under way: their length, and since when.
#[derive(Debug, Default)]
pub(super) struct Suspects(HashMap<FileId, (u64, Time)>);

impl Suspects {
    /// What this new file is, of so many bytes. A truncated file whose last line goes on in the copy
    /// forgets its part of that line.
    pub(super) fn origin(
        &mut self,
        (path, id, len): (&Path, FileId, u64),
        tails: &mut [Tail],
        now: Time,
    ) -> io::Result<Origin> {
        if len == 0 {
            return Ok(Origin::Own);
        }
        let file = File::open(path)?;
        let mut may_be_copy = false;
        for tail in tails.iter_mut() {
            if let Some(before) = &mut tail.before {
                if before.trace.is_in(&file, len)? {
                    let read = before.trace.position();
                    let partial = if len >= read { std::mem::take(&mut before.partial) } else { 0 };
                    let lines = before.lines;
                    if partial > 0 {
                        tail.opened.lines.drop_partial();
                    }
                    self.0.remove(&id);
                    return Ok(Origin::Copy { position: len.min(read) - partial, lines });
                }
            } else {
                may_be_copy |= tail.opened.as_growing().trace().is_in(&file, len)?;
            }
        }
        let known = self.0.get(&id).copied();
        let since = known.filter(|(known_len, _)| *known_len == len).map_or(now, |(_, since)| since);
        if may_be_copy && now.since(since) < COPY_SILENCE {
            self.0.insert(id, (len, since));
            return Ok(Origin::Undecided);
        }
        self.0.remove(&id);
        Ok(Origin::Own)
    }

    /// Forgets files that are there no more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&FileId) -> bool) {
        self.0.retain(|id, _| is_there(id));
    }
}
