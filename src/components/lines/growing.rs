//! A regular file that is read while it grows, and that may be closed between two reads.
//!
//! ```text
//!   0 .. head | … | recent .. position | not read yet
//! ```
//!
//! `head` and `recent` are what a copy of the file has, too: they distinguish a copy from a new file
//! (see `copies`).

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use crate::components::lines::head::{self, HEAD_MAX, Head};

/// Bytes kept of the beginning of a file.
const TRACE_HEAD_LEN: usize = 1 << 10;
/// Bytes kept of what was read last.
const TRACE_RECENT_LEN: usize = 4 << 10;

/// What a read took from the file, and how many bytes of text that put into the space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) taken: usize,
    pub(super) text: usize,
}

pub(super) struct Growing {
    /// `None` while it is closed to leave its descriptor to others.
    file: Option<File>,
    /// The first bytes, while they can still be a signature.
    head: Option<Vec<u8>>,
    trace: Trace,
}

impl Growing {
    /// A file that is read from this position on, once it is [opened](Growing::open).
    pub(super) fn new(position: u64) -> Growing {
        Growing { file: None, head: (position == 0).then(Vec::new), trace: Trace::default() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Goes on with this file from this position.
    pub(super) fn open(&mut self, mut file: File, position: u64) -> io::Result<()> {
        file.seek(SeekFrom::Start(position))?;
        if position > 0 && self.trace.position == 0 {
            self.trace = Trace::before(&file, position)?;
        }
        self.file = Some(file);
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.file = None;
    }

    pub(super) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Bytes that were read and are no text yet.
    pub(super) fn undecided(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.len() as u64)
    }

    /// Reads once. Takes nothing when there is nothing now.
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<Taken> {
        let Some(file) = &mut self.file else { return Ok(Taken::default()) };
        let Some(head) = &mut self.head else {
            let taken = ignoring_interrupts(file.read(space))?;
            self.trace.extend(&space[..taken]);
            return Ok(Taken { taken, text: taken });
        };
        let mut more = [0; HEAD_MAX];
        let room = &mut more[head.len()..];
        let taken = ignoring_interrupts(file.read(room))?;
        self.trace.extend(&room[..taken]);
        head.extend_from_slice(&room[..taken]);
        match head::look(head, false) {
            Head::Undecided => Ok(Taken { taken, text: 0 }),
            Head::Text { mark_len } => {
                let text = self.head.take().unwrap_or_default().split_off(mark_len);
                space[..text.len()].copy_from_slice(&text);
                Ok(Taken { taken, text: text.len() })
            }
            Head::Gzip => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is compressed by gzip, and a compressed file is not followed; leave it out of the \
                 pattern, or read it without `follow`",
            )),
            Head::Foreign(foreign) => Err(foreign.to_error()),
        }
    }

    /// Nothing more comes: the text of a head that was too short to decide.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut head = self.head.take().unwrap_or_default();
        match head::look(&head, true) {
            Head::Text { mark_len } => head.split_off(mark_len),
            Head::Undecided | Head::Gzip | Head::Foreign(_) => Vec::new(),
        }
    }

    /// Begins anew with the first byte, and nothing read.
    pub(super) fn rewind(&mut self) {
        // Should seeking fail, the file is closed, and whoever opens it again reports why.
        let file = self.file.take().filter(|file| {
            let mut file: &File = file;
            file.rewind().is_ok()
        });
        *self = Growing { file, ..Growing::new(0) };
    }
}

fn ignoring_interrupts(read: io::Result<usize>) -> io::Result<usize> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        read => read,
    }
}

/// The beginning and the latest bytes of what was read of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    head: Vec<u8>,
    recent: Vec<u8>,
    /// Where `recent` ends.
    position: u64,
}

impl Trace {
    /// The trace of a file that is read from this position on.
    fn before(file: &File, position: u64) -> io::Result<Trace> {
        let mut head = vec![0; TRACE_HEAD_LEN.min(position as usize)];
        let mut recent = vec![0; TRACE_RECENT_LEN.min(position as usize)];
        file.read_exact_at(&mut head, 0)?;
        let recent_begins = position - recent.len() as u64;
        file.read_exact_at(&mut recent, recent_begins)?;
        Ok(Trace { head, recent, position })
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.position == self.head.len() as u64 && self.head.len() < TRACE_HEAD_LEN {
            let room = TRACE_HEAD_LEN - self.head.len();
            self.head.extend_from_slice(&bytes[..room.min(bytes.len())]);
        }
        let kept = &bytes[bytes.len().saturating_sub(TRACE_RECENT_LEN)..];
        let too_many = (self.recent.len() + kept.len()).saturating_sub(TRACE_RECENT_LEN);
        self.recent.drain(..too_many);
        self.recent.extend_from_slice(kept);
        self.position += bytes.len() as u64;
    }

    /// The first bytes, as far as they were read.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// How much was read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether another file of this length has the same bytes where both have any: at the
    /// beginning, and just before the end of the shorter one.
    pub(super) fn is_in(&self, other: &File, len: u64) -> io::Result<bool> {
        let common = len.min(self.position);
        let recent_begins = self.position - self.recent.len() as u64;
        if common == 0 || (common <= recent_begins && common > self.head.len() as u64) {
            return Ok(false);
        }
        let head = &self.head[..self.head.len().min(common as usize)];
        let recent = &self.recent[..common.saturating_sub(recent_begins) as usize];
        Ok(has_at(other, head, 0)? && has_at(other, recent, recent_begins)?)
    }
}

fn has_at(file: &File, expected: &[u8], at: u64) -> io::Result<bool> {
    let mut found = vec![0; expected.len()];
    match file.read_exact_at(&mut found, at) {
        Ok(()) => Ok(found == expected),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(bytes).expect("it can be written");
        file
    }

    fn trace_of(bytes: &[u8], step: usize) -> Trace {
        let mut trace = Trace::default();
        bytes.chunks(step).for_each(|piece| trace.extend(piece));
        trace
    }

    #[test]
    fn a_trace_is_the_same_however_a_file_is_read() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let whole = trace_of(&bytes, bytes.len());
        assert!([1000, 4096, 65536].iter().all(|step| trace_of(&bytes, *step) == whole));
        assert_eq!(Trace::before(&file_of(&bytes), bytes.len() as u64).ok(), Some(whole));
    }

    #[test]
    fn a_trace_is_in_copies_and_in_nothing_else() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let check = |read: &[u8], other: &[u8], expected: bool| {
            let found = trace_of(read, 4096).is_in(&file_of(other), other.len() as u64);
            assert_eq!(found.ok(), Some(expected), "{} of {}", read.len(), other.len());
        };
        check(&bytes, &bytes, true);
        check(&bytes[..300_000], &bytes, true);
        check(&bytes, &bytes[..bytes.len() - 100], true);
        check(&bytes[..10], &bytes, true);
        check(b"", &bytes, false);
        check(&bytes, b"", false);
        check(b"a header\n1\n", b"a header\n2\n", false);
        let mut changed = bytes.clone();
        changed[bytes.len() - 1] ^= 1;
        check(&bytes, &changed, false);
        changed = bytes.clone();
        changed[0] ^= 1;
        check(&bytes, &changed, false);
        check(&bytes, &bytes[..200_000], false);
    }
}
