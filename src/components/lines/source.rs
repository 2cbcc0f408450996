//! What lines are read from: regular files directly, everything else by a thread.
//!
//! A read from a regular file does not wait for anybody. A read from a pipe, a terminal or a
//! device may wait for ever, and so may opening one; a thread of its own does both and hands
//! chunks over by a bounded channel, so that the spout never waits. The thread ends with its input
//! or, at the next chunk, when the spout is gone.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use flume::{Receiver, Sender, TryRecvError};
use smol_str::SmolStr;

use crate::api::TaskContext;
use crate::components::lines::buffer::{LineBuffer, READ_SIZE};

/// Chunks that a reader thread may be ahead.
const CHUNKS_AHEAD_MAX: usize = 8;

/// The key of a [`StandardInput`] among the worker's resources.
pub const STDIN_RESOURCE: &str = "stdin";

/// What `-` reads instead of the process's standard input, for tests and programs that embed
/// squall. The first spout that opens it takes it.
pub struct StandardInput(Mutex<Option<Box<dyn Read + Send>>>);

impl StandardInput {
    /// Reads from there.
    pub fn new(reader: impl Read + Send + 'static) -> StandardInput {
        StandardInput(Mutex::new(Some(Box::new(reader))))
    }
}

/// Which file it is, whatever its name: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    pub(super) inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}

enum Source {
    File(File),
    Thread(Receiver<io::Result<Vec<u8>>>),
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read1 {
    /// Some bytes.
    Some,
    /// Nothing now; more may come.
    Nothing,
    /// Nothing, and for a source that cannot grow: never again.
    End,
}

/// An open source and its lines.
pub(super) struct Opened {
    /// What errors and the field `file` call it.
    pub(super) name: SmolStr,
    pub(super) lines: LineBuffer,
    /// Bytes read so far.
    pub(super) position: u64,
    /// The number of the line in hand, from 1.
    pub(super) number: u64,
    source: Source,
}

impl Opened {
    /// Opens a path.
    pub(super) fn path(path: &Path, line_len_max: usize) -> io::Result<Opened> {
        let source = if path.metadata()?.is_file() {
            Source::File(File::open(path)?)
        } else {
            let path = PathBuf::from(path);
            read_by_thread(move || Ok(Box::new(File::open(path)?)))?
        };
        Ok(Opened::new(path.display().to_string(), source, line_len_max))
    }

    /// A regular file that is open already.
    pub(super) fn file(name: String, file: File, line_len_max: usize) -> Opened {
        Opened::new(name, Source::File(file), line_len_max)
    }

    /// Standard input, or what stands for it.
    pub(super) fn standard_input(context: &TaskContext, line_len_max: usize) -> io::Result<Opened> {
        let given = context.resources().get::<StandardInput>(STDIN_RESOURCE);
        let given = given.and_then(|input| input.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        let source = read_by_thread(move || Ok(given.unwrap_or_else(|| Box::new(io::stdin()))))?;
        Ok(Opened::new("-".to_owned(), source, line_len_max))
    }

    fn new(name: String, source: Source, line_len_max: usize) -> Opened {
        let lines = LineBuffer::new(line_len_max);
        Opened { name: name.into(), lines, position: 0, number: 0, source }
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
        let len = match &mut self.source {
            Source::File(file) => match file.read(self.lines.space()) {
                Ok(0) => return Ok(Read1::End),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Read1::Nothing),
                Err(error) => return Err(error),
            },
            Source::Thread(chunks) => match chunks.try_recv() {
                Ok(chunk) => {
                    let chunk = chunk?;
                    self.lines.space()[..chunk.len()].copy_from_slice(&chunk);
                    chunk.len()
                }
                Err(TryRecvError::Empty) => return Ok(Read1::Nothing),
                Err(TryRecvError::Disconnected) => return Ok(Read1::End),
            },
        };
        self.lines.filled(len);
        self.position += len as u64;
        Ok(Read1::Some)
    }

    /// Goes back to the beginning of a file that was cut short.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        if let Source::File(file) = &mut self.source {
            io::Seek::rewind(file)?;
        }
        (self.position, self.number) = (0, 0);
        Ok(())
    }
}

type OpenReader = dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send;

fn read_by_thread(
    open: impl FnOnce() -> io::Result<Box<dyn Read + Send>> + Send + 'static,
) -> io::Result<Source> {
    let (sender, receiver) = flume::bounded(CHUNKS_AHEAD_MAX);
    let open: Box<OpenReader> = Box::new(open);
    thread::Builder::new().name("squall-lines".to_owned()).spawn(move || send_chunks(open, &sender))?;
    Ok(Source::Thread(receiver))
}

fn send_chunks(open: Box<OpenReader>, chunks: &Sender<io::Result<Vec<u8>>>) {
    let mut reader = match open() {
        Ok(reader) => reader,
        Err(error) => return drop(chunks.send(Err(error))),
    };
    let mut space = vec![0; READ_SIZE];
    loop {
        let sent = match reader.read(&mut space) {
            Ok(0) => return,
            Ok(len) => chunks.send(Ok(space[..len].to_vec())),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return drop(chunks.send(Err(error))),
        };
        if sent.is_err() {
            return;
        }
    }
}
