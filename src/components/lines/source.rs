//! What lines are read from: regular files directly, everything else by a thread.
//!
//! A read from a regular file does not wait for anybody. A read from a pipe, a terminal or a
//! device may wait for ever, and so may opening one; a thread of its own does both and hands
//! chunks over by a bounded channel, so that the spout never waits. The thread ends with its input
//! or, at the next chunk, when the spout is gone.
//!
//! Behind a write-ahead log the thread reads a chunk when it is asked for one, so that little is read and not in the log.
//! A spout that is paused asks for none.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use flume::{Receiver, Sender, TryRecvError};
use memchr::memchr;
use smol_str::SmolStr;

use crate::api::{TaskContext, TaskError};
use crate::components::lines::buffer::{LineBuffer, READ_SIZE};
use crate::components::lines::growing::Growing;
use crate::components::lines::standard_input::{self, Inherited};
use crate::components::lines::unpack::{Unpack, too_short};

/// Chunks that a reader thread may be ahead.
const CHUNKS_AHEAD_MAX: usize = 8;

enum Source {
    /// Read here: it never waits.
    Direct(Unpack),
    /// Read by a thread.
    Thread(Chunks),
    /// A file that may grow.
    Growing(Growing),
}

/// What a thread reads.
struct Chunks {
    received: Receiver<io::Result<Vec<u8>>>,
    /// If it reads only what it is asked for.
    asks: Option<Asks>,
}

struct Asks {
    sender: Sender<()>,
    /// Whether a chunk was asked for that has not come.
    is_waiting: bool,
    is_paused: bool,
}

impl Chunks {
    fn next(&mut self) -> Result<io::Result<Vec<u8>>, TryRecvError> {
        let received = self.received.try_recv();
        if let Some(asks) = &mut self.asks {
            asks.is_waiting &= received.is_err();
            if !asks.is_waiting && !asks.is_paused {
                // If the thread is gone, its input has ended, and that is found out above.
                asks.is_waiting = asks.sender.try_send(()).is_ok();
            }
        }
        received
    }
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read1 {
    /// Some bytes.
    Some,
    /// Some bytes that stand before the position to begin at, and were dropped.
    Skipped,
    /// Nothing now; more may come.
    Nothing,
    /// Nothing, and never again.
    End,
}

/// What asking for a line came to.
pub(super) enum Pull {
    /// There is one.
    Line,
    /// Not now.
    Nothing,
    /// Not before this has passed.
    NothingFor(Duration),
    /// Never again.
    End,
}

/// An open source and its lines.
pub(super) struct Opened {
    /// What errors and the field `file` call it.
    pub(super) name: SmolStr,
    pub(super) lines: LineBuffer,
    /// Bytes read so far; of a compressed input, bytes of its text.
    pub(super) position: u64,
    /// The number of the line in hand, from 1.
    pub(super) number: u64,
    /// Whether a NUL byte was read: what text does not have.
    pub(super) has_nul: bool,
    /// Whether the first line with one was reported.
    pub(super) nul_reported: bool,
    /// Bytes of text that are still to be read and dropped, of so many in all.
    skip: u64,
    skip_all: u64,
    source: Source,
}

impl Opened {
    /// Opens a path, to be read to its end. `is_logged`: behind a write-ahead log.
    pub(super) fn path(path: &Path, line_len_max: usize, is_logged: bool) -> io::Result<Opened> {
        let is_file = path.metadata()?.is_file();
        if is_file && is_logged {
            let why = "it is a regular file, which can be read again, and would be although its rows are in the \
                write-ahead log: name it by its own path, in a spout without `wal`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let source = if is_file {
            Source::Direct(Unpack::new(Box::new(File::open(path)?)))
        } else {
            let path = PathBuf::from(path);
            read_by_thread(is_logged, move || Ok(Box::new(File::open(path)?)))?
        };
        Ok(Opened::new(&path.to_string_lossy(), source, line_len_max))
    }

    /// A regular file, to be read to its end from so many bytes of its text on, which are so many lines.
    pub(super) fn file(
        path: &Path,
        file: File,
        (offset, lines): (u64, u64),
        line_len_max: usize,
    ) -> io::Result<Opened> {
        let (unpack, skip) = Unpack::from_offset(file, offset)?;
        let opened = Opened::new(&path.to_string_lossy(), Source::Direct(unpack), line_len_max);
        Ok(Opened { position: offset - skip, number: lines, skip, skip_all: skip, ..opened })
    }

    /// A file that may grow, from so many bytes on.
    pub(super) fn growing(path: &Path, growing: Growing, position: u64, line_len_max: usize) -> Opened {
        let opened = Opened::new(&path.to_string_lossy(), Source::Growing(growing), line_len_max);
        Opened { position, ..opened }
    }

    /// Standard input, or what stands for it. `is_logged`: behind a write-ahead log.
    pub(super) fn standard_input(
        context: &TaskContext,
        line_len_max: usize,
        is_logged: bool,
    ) -> Result<Opened, TaskError> {
        let source = match standard_input::open(context)? {
            Inherited::File(_) if is_logged => {
                return Err(TaskError::fatal(
                    "standard input is a file, from which a spout with `wal = true` would read rows again that are in \
                     its log: name the file by `path`, and leave `wal` out",
                ));
            }
            Inherited::File(reader) => Source::Direct(Unpack::new(reader)),
            Inherited::Stream(reader) => read_by_thread(is_logged, move || Ok(reader))?,
        };
        Ok(Opened::new("-", source, line_len_max))
    }

    fn new(name: &str, source: Source, line_len_max: usize) -> Opened {
        let lines = LineBuffer::new(line_len_max);
        let (name, nul_reported) = (SmolStr::new(name), false);
        let (skip, skip_all) = (0, 0);
        Opened { name, lines, position: 0, number: 0, has_nul: false, nul_reported, skip, skip_all, source }
    }

    /// Where the next line begins.
    pub(super) fn offset(&self) -> u64 {
        let undecided = match &self.source {
            Source::Growing(growing) => growing.undecided(),
            Source::Direct(_) | Source::Thread(_) => 0,
        };
        (self.position + self.skip).saturating_sub(self.lines.unread() + undecided)
    }

    /// Behind a write-ahead log: whether to ask for no more than what was asked for.
    pub(super) fn pause(&mut self, is_paused: bool) {
        if let Source::Thread(Chunks { asks: Some(asks), .. }) = &mut self.source {
            asks.is_paused = is_paused;
        }
    }

    /// The file that grows.
    pub(super) fn as_growing(&mut self) -> &mut Growing {
        match &mut self.source {
            Source::Growing(growing) => growing,
            Source::Direct(_) | Source::Thread(_) => unreachable!("`follow` opens growing files only"),
        }
    }

    /// Goes to the next line, if a complete one is there.
    #[inline]
    pub(super) fn advance(&mut self) -> bool {
        let found = self.lines.advance();
        self.number += u64::from(found);
        found
    }

    /// Reads once. Never waits.
    pub(super) fn read(&mut self) -> io::Result<Read1> {
        let Opened { lines, position, skip, .. } = self;
        let len = match &mut self.source {
            Source::Direct(file) => match file.read(lines.space()) {
                Ok(0) if *skip > 0 => return Err(too_short(self.skip_all)),
                Ok(0) => return Ok(Read1::End),
                Ok(len) if *skip > 0 => {
                    let skipped = (len as u64).min(*skip) as usize;
                    *skip -= skipped as u64;
                    *position += skipped as u64;
                    if skipped == len {
                        return Ok(Read1::Skipped);
                    }
                    lines.space().copy_within(skipped..len, 0);
                    len - skipped
                }
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Read1::Nothing),
                Err(error) => return Err(error),
            },
            Source::Thread(chunks) => match chunks.next() {
                Ok(chunk) => {
                    let chunk = chunk?;
                    lines.space()[..chunk.len()].copy_from_slice(&chunk);
                    chunk.len()
                }
                Err(TryRecvError::Empty) => return Ok(Read1::Nothing),
                Err(TryRecvError::Disconnected) => return Ok(Read1::End),
            },
            Source::Growing(growing) => {
                let read = growing.read(lines.space())?;
                *position += read.taken as u64;
                if read.taken == 0 {
                    return Ok(Read1::Nothing);
                }
                // Counted already.
                self.take(read.text);
                return Ok(Read1::Some);
            }
        };
        *position += len as u64;
        self.take(len);
        Ok(Read1::Some)
    }

    /// So many bytes of text stand in the buffer's space.
    fn take(&mut self, len: usize) {
        self.has_nul |= memchr(0, &self.lines.space()[..len]).is_some();
        self.lines.filled(len);
    }

    /// Nothing more comes: ends a last line that has no newline. Returns whether any line is left.
    pub(super) fn finish(&mut self) -> bool {
        if let Source::Growing(growing) = &mut self.source {
            let text = growing.finish();
            self.lines.space()[..text.len()].copy_from_slice(&text);
            self.lines.filled(text.len());
        }
        self.lines.finish()
    }

    /// Goes back to the beginning of a file that was cut short.
    pub(super) fn rewind(&mut self) {
        self.as_growing().rewind();
        (self.position, self.number, self.has_nul) = (0, 0, false);
    }
}

type OpenReader = dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send;

fn read_by_thread(
    is_logged: bool,
    open: impl FnOnce() -> io::Result<Box<dyn Read + Send>> + Send + 'static,
) -> io::Result<Source> {
    let (sender, received) = flume::bounded(CHUNKS_AHEAD_MAX);
    let (asks, asked) = if is_logged {
        let (sender, asked) = flume::bounded(1);
        (Some(Asks { sender, is_waiting: false, is_paused: false }), Some(asked))
    } else {
        (None, None)
    };
    let open: Box<OpenReader> = Box::new(open);
    let read = move || send_chunks(open, &sender, asked.as_ref());
    thread::Builder::new().name("squall-lines".to_owned()).spawn(read)?;
    Ok(Source::Thread(Chunks { received, asks }))
}

fn send_chunks(open: Box<OpenReader>, chunks: &Sender<io::Result<Vec<u8>>>, asked: Option<&Receiver<()>>) {
    let mut reader = match open() {
        Ok(reader) => Unpack::new(reader),
        Err(error) => return drop(chunks.send(Err(error))),
    };
    let mut space = vec![0; READ_SIZE];
    loop {
        if asked.is_some_and(|asked| asked.recv().is_err()) {
            return;
        }
        let read = loop {
            match reader.read(&mut space) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let sent = match read {
            Ok(0) => return,
            Ok(len) => chunks.send(Ok(space[..len].to_vec())),
            Err(error) => return drop(chunks.send(Err(error))),
        };
        if sent.is_err() {
            return;
        }
    }
}
