//! What is said over the socket of a run: one request and one reply, each a line of JSON.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of the longest line.
const LINE_MAX: u64 = 64 << 10;

/// What is asked of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// What it is.
    Info,
    /// Take a savepoint.
    Savepoint {
        /// The directory, an absolute path; `None`: the run chooses one.
        directory: Option<PathBuf>,
        /// Whether the run ends with it.
        stop: bool,
    },
    /// Take a checkpoint that begins now, and say which one it is when it is complete.
    Checkpoint {
        /// How long that may take, in milliseconds.
        wait_ms: u64,
    },
    /// End in order, as after SIGINT.
    Drain,
}

/// What a run replies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// What it is.
    Info(Box<RunInfo>),
    /// A savepoint was taken.
    Savepoint {
        /// The checkpoint that it is a copy of.
        checkpoint: String,
        /// Where it is.
        directory: PathBuf,
    },
    /// This checkpoint was taken.
    Checkpoint(String),
    /// It ends.
    Draining,
    /// It cannot do that, for this reason.
    Error(String),
}

/// What a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunInfo {
    pub(super) topology: String,
    /// The document, or the name that the program registers.
    pub(super) file: String,
    pub(super) pid: u32,
    /// Worker processes; 0 if it runs in the process that was started.
    pub(super) workers: u16,
    pub(super) seconds: f64,
    pub(super) emitted: u64,
    /// The latest complete checkpoint, if the topology takes any.
    pub(super) checkpoint: Option<String>,
    /// The directory of its checkpoints, an absolute path, if it takes any.
    #[serde(default)]
    pub(super) checkpoints: Option<PathBuf>,
}

/// Sends a request, and reads the reply. `wait`: how long that may take.
pub(super) fn exchange(stream: UnixStream, request: &Request, wait: Option<Duration>) -> io::Result<Reply> {
    stream.set_read_timeout(wait)?;
    stream.set_write_timeout(wait)?;
    write(&stream, request)?;
    read(&stream)
}

/// Writes a message.
pub(super) fn write<M: Serialize>(mut stream: &UnixStream, message: &M) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads a message.
pub(super) fn read<M: DeserializeOwned>(stream: &UnixStream) -> io::Result<M> {
    let mut line = Vec::new();
    BufReader::new(stream.take(LINE_MAX)).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the other side has ended, or wrote no line"));
    }
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let wanted = Request::Savepoint { directory: Some("/tmp/s".into()), stop: true };
        write(&here, &wanted).expect("it is written");
        assert_eq!(read::<Request>(&there).expect("it is read"), wanted);
        write(&there, &Reply::Error("no".to_owned())).expect("it is written");
        drop(there);
        assert_eq!(read::<Reply>(&here).expect("it is read"), Reply::Error("no".to_owned()));
        assert_eq!(read::<Reply>(&here).map_err(|error| error.kind()), Err(ErrorKind::UnexpectedEof));
    }

    #[test]
    fn a_line_that_is_too_long_or_none_is_refused() {
        let (mut here, there) = UnixStream::pair().expect("a pair");
        let writer = std::thread::spawn(move || here.write_all(&vec![b' '; 1 << 20]));
        assert_eq!(read::<Request>(&there).map_err(|error| error.kind()), Err(ErrorKind::UnexpectedEof));
        drop(there);
        let _ = writer.join();
        let (mut here, there) = UnixStream::pair().expect("a pair");
        here.write_all(b"{\"unknown\":1}\n").expect("it is written");
        assert_eq!(read::<Request>(&there).map_err(|error| error.kind()), Err(ErrorKind::InvalidData));
    }
}
