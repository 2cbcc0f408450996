//! Standard input as it was inherited: a pipe, a terminal, a file, non-blocking, or closed.
//!
//! * Its descriptor may be non-blocking, because another process that shares it set it so. A read
//!   that finds nothing then waits with `poll`; the flag stays as it is, for the others.
//! * A regular file (`squall run t.toml < in.txt`) is read as any file, from where its offset
//!   stands, and the offset is not moved. So a worker that is started anew reads it again, and
//!   loses nothing.
//! * From anything else a byte can be read once. What a worker that was killed had read is gone.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};

use crate::api::{TaskContext, TaskError};
use crate::components::standard;

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

    fn take(&self) -> Option<Box<dyn Read + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A reader of standard input.
pub(super) enum Inherited {
    /// A regular file: reading it waits for nobody.
    File(Box<dyn Read + Send>),
    /// Anything else: reading it may wait for ever.
    Stream(Box<dyn Read + Send>),
}

/// Standard input, or what stands for it.
///
/// # Errors
/// When it cannot be read from at all: fatal.
pub(super) fn open(context: &TaskContext) -> Result<Inherited, TaskError> {
    let given = context.resources().get::<StandardInput>(STDIN_RESOURCE);
    if let Some(given) = given.and_then(|given| given.take()) {
        return Ok(Inherited::Stream(given));
    }
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(TaskError::fatal("standard input is a directory; redirect it from a file or a pipe"));
    }
    if standard::closed().input {
        return Err(TaskError::fatal(
            "standard input is closed; redirect it from a file or a pipe, or from `/dev/null` for no input",
        ));
    }
    if metadata.is_file() {
        let at = (&file).stream_position()?;
        return Ok(Inherited::File(Box::new(FromOffset { file, at })));
    }
    Ok(Inherited::Stream(Box::new(Waiting(file))))
}

/// Reads a file without moving the offset that other processes share.
struct FromOffset {
    file: File,
    at: u64,
}

impl Read for FromOffset {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(space, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

/// Waits for bytes even where the descriptor is non-blocking.
struct Waiting<F>(F);

impl<F: Read + AsFd> Read for Waiting<F> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::BorrowedFd;
    use std::sync::mpsc;

    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    use super::*;

    /// A pipe that reports each read which found it empty.
    struct Reported {
        reader: io::PipeReader,
        found_empty: mpsc::Sender<()>,
    }

    impl Read for Reported {
        fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
            let read = self.reader.read(space);
            if read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                self.found_empty.send(()).expect("the test waits for it");
            }
            read
        }
    }

    impl AsFd for Reported {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.reader.as_fd()
        }
    }

    #[test]
    fn a_non_blocking_pipe_is_waited_for() {
        let (reader, mut writer) = io::pipe().expect("a pipe can be made");
        let flags = fcntl_getfl(&reader).expect("it has flags");
        fcntl_setfl(&reader, flags | OFlags::NONBLOCK).expect("it can be non-blocking");
        let (found_empty, is_empty) = mpsc::channel();
        let mut waiting = Waiting(Reported { reader, found_empty });
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            waiting.read_to_string(&mut text).map(|_| text)
        });
        for piece in ["one\n", "two\n"] {
            is_empty.recv().expect("the reader waits when the pipe is empty, and does not end");
            writer.write_all(piece.as_bytes()).expect("the pipe is open");
        }
        is_empty.recv().expect("the reader waits for what may still come");
        drop(writer);
        let text = read.join().expect("the reader ends").expect("nothing fails");
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn a_file_is_read_from_its_offset_which_stays() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(b"before after").expect("it can be written");
        file.seek(io::SeekFrom::Start(7)).expect("it has an offset");
        let shared = file.try_clone().expect("a second descriptor");
        let mut text = String::new();
        FromOffset { at: 7, file: shared }.read_to_string(&mut text).expect("it can be read");
        assert_eq!((text.as_str(), file.stream_position().ok()), ("after", Some(7)));
    }
}
