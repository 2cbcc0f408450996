//! The control channel between a parent and a worker: JSON, one message per line, over a Unix socket
//! pair.
//!
//! JSON, because these messages are few, people read them when something goes wrong, and their types have
//! `serde` implementations anyway. No tuple travels here.
//!
//! 1. The first line to a worker is [`ToWorker::Start`]. It holds all that the worker needs, secrets
//!    included, so that no secret is among the arguments or variables of a process.
//! 2. Messages arrive in the order they were sent. A worker carries out a command before it reads the
//!    next one. So the answer to a [`ToWorker::Probe`] takes all earlier commands into account.
//! 3. A line is at most [`LINE_MAX`] bytes long. After a longer line, or one that is not a message, the
//!    reader does not use the channel any more, because squall never writes such a line. So a worker
//!    leaves out parts of a message that would be too long, and reports that ([`FromWorker::TooLarge`]).
//! 4. The end of the stream means that the other side has ended.

use std::fmt;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::checkpoint::LeftBehind;
use crate::cluster::log_pieces::{LogPiece, LogWish};
use crate::cluster::source::TopologySource;
use crate::cluster::stats::WorkerStats;
use crate::components::print::PrintStyle;
use crate::components::standard::ClosedStreams;
use crate::config::{NetOptions, WorkerOptions};
use crate::ids::{Incarnation, WorkerId};
use crate::logging::{Levels, LogFormat};
use crate::net::{Members, Secret};
use crate::runtime::StopReason;
use crate::runtime::end_sequence::{EndCommand, EndProgress};
use crate::runtime::flow::checkpoint::{CheckpointOrder, CheckpointReport, StorageError};
use crate::secrets::SecretDirectory;
use crate::topology::assignment::Assignment;

/// Bytes of the longest line.
pub const LINE_MAX: usize = 16 << 20;

/// Bytes to which a reason is cut if its message is too long.
const TEXT_MAX: usize = 1 << 10;

/// A message of the parent to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Who the worker is and what it runs. The first message, sent once.
    Start(Box<Start>),
    /// The members. Sent at every change, and whenever an address becomes known.
    Members(Members),
    /// Spouts may emit (again).
    Activate,
    /// Spouts must rest.
    Deactivate,
    /// A step of the end of the topology.
    ///
    /// * `Drain` may come before the first [`ToWorker::Activate`]. Then tasks are built now, and spouts emit
    ///   nothing.
    /// * The rounds of `AskHolders` and `Finish` are to be named in the next snapshot.
    /// * After `Close`, the worker sends its last counters and [`FromWorker::Ended`].
    /// * `End` comes when all workers have closed: the process must end.
    Ending(EndCommand),
    /// What the worker is to do about a checkpoint.
    Checkpoint(CheckpointOrder),
    /// A request for [`FromWorker::Progress`].
    Probe {
        /// The wave of requests that this one belongs to.
        wave: u64,
    },
    /// A request for [`FromWorker::LogRead`], to a process that a supervisor has started.
    ReadLog {
        /// The number of the question.
        question: u64,
        /// What is wanted.
        wish: LogWish,
    },
}

/// A message of a worker to the parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// Peers can dial the worker at this address.
    Listening {
        /// The address that it has bound.
        address: SocketAddr,
    },
    /// The heartbeat. Sent every `worker.heartbeat`, and at once when something in it changes that the
    /// parent waits for.
    Beat(Beat),
    /// The answer to [`ToWorker::Probe`].
    Progress {
        /// The wave of the request.
        wave: u64,
        /// How far the worker is with the end of the topology.
        progress: EndProgress,
    },
    /// The counters of the worker, every `worker.stats_interval` if they have changed, and before its
    /// end. Of the latencies only the values whose counts have changed since the last such message.
    Stats(Box<WorkerStats>),
    /// A component requests an orderly end of the topology.
    DrainRequested,
    /// A component cannot go on: the topology must end in order, and the run has failed.
    Stopped(StopReason),
    /// What has happened in the worker to a checkpoint.
    Checkpoint(CheckpointReport),
    /// The connection by which the worker sends to a peer came up or went down.
    Link {
        /// The peer.
        peer: WorkerId,
        /// Whether it is up now.
        up: bool,
    },
    /// The connection by which the worker sends to a peer has been down for `net.link_lost` or longer.
    /// Sent again and again while it stays down.
    LinkDown {
        /// The peer.
        peer: WorkerId,
        /// For how many milliseconds it has been down.
        for_ms: u64,
    },
    /// A message was too large and was sent without some of its parts, or not at all. Sent once.
    TooLarge {
        /// Which message, and what is missing, for people.
        what: String,
    },
    /// The answer to [`ToWorker::ReadLog`].
    LogRead {
        /// The number of the question.
        question: u64,
        /// The piece, or why there is none.
        read: Result<LogPiece, String>,
    },
    /// The worker cannot go on, for this reason.
    Fatal(WorkerFailure),
    /// Executors of the worker have not closed in time because their threads got no processor. They get
    /// more time. Sent once each time that their time is over again.
    ClosesLate,
    /// All executors of the worker are closed. It waits for [`EndCommand::End`], so that its peers do not
    /// take its end for a death.
    Ended {
        /// Whether some did not answer the close in time.
        cut_short: bool,
    },
}

/// Why a worker cannot go on, or could not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerFailure {
    /// The reason, for people.
    pub why: String,
    /// Whether the next incarnation would fail, too, so that the run must end.
    pub is_permanent: bool,
}

impl From<String> for WorkerFailure {
    /// A failure that the next incarnation may not have.
    fn from(why: String) -> WorkerFailure {
        WorkerFailure { why, is_permanent: false }
    }
}

/// A heartbeat, with the state that changes often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Nothing is under way in the worker, and none of its spouts can emit.
    pub at_rest: bool,
    /// How many of its spout executors may still emit.
    pub live_spouts: u64,
    /// To how many peers its connection is up.
    pub links_up: u16,
}

/// Everything that a worker needs at its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The parent's version of squall. A worker of another version refuses to start.
    pub version: String,
    /// The document, as the parent read it.
    pub source: TopologySource,
    /// Which executors run where.
    pub assignment: Assignment,
    /// The number of the worker.
    pub worker: WorkerId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// How many workers there are.
    pub workers: u16,
    /// Random bytes that name this run.
    #[serde(with = "hex")]
    pub run: [u8; 16],
    /// The secret that the workers of this run share.
    #[serde(with = "hex_secret")]
    pub secret: Secret,
    /// The members at its start.
    pub members: Members,
    /// `[net]`.
    pub net: NetOptions,
    /// `[worker]`.
    pub worker_options: WorkerOptions,
    /// Where the secrets of the worker's host are. A worker that a supervisor has started gets that from its supervisor.
    pub secrets: SecretDirectory,
    /// What it logs, and how.
    pub log: LogSpec,
    /// How `print` bolts show rows.
    #[serde(with = "print_style")]
    pub print: PrintStyle,
    /// The directory of the checkpoints, if the topology is exactly-once.
    pub checkpoints: Option<String>,
    /// What of the checkpoint that the run begins with is not restored.
    pub left_behind: LeftBehind,
    /// Whether a descriptor for its stdin is sent along.
    pub stdin: bool,
    /// The standard streams that were closed when the parent was started.
    pub closed: ClosedStreams,
}

/// What a worker logs, and how. It writes to its stderr, which its parent reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSpec {
    /// Which records.
    pub levels: Levels,
    /// As lines for people or JSON.
    pub format: LogFormat,
    /// Whether levels are coloured.
    pub color: bool,
}

#[derive(Serialize, Deserialize)]
struct WrittenLogSpec {
    levels: String,
    json: bool,
    color: bool,
}

impl Serialize for LogSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = self.format == LogFormat::Json;
        WrittenLogSpec { levels: self.levels.to_string(), json, color: self.color }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LogSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LogSpec, D::Error> {
        let written = WrittenLogSpec::deserialize(deserializer)?;
        let levels = Levels::from_str(&written.levels).map_err(serde::de::Error::custom)?;
        let format = if written.json { LogFormat::Json } else { LogFormat::Terminal };
        Ok(LogSpec { levels, format, color: written.color })
    }
}

/// [`PrintStyle`] as whether it is JSON.
mod print_style {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::components::print::PrintStyle;

    pub(super) fn serialize<S: Serializer>(style: &PrintStyle, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(*style == PrintStyle::JsonLines)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PrintStyle, D::Error> {
        let json = bool::deserialize(deserializer)?;
        Ok(if json { PrintStyle::JsonLines } else { PrintStyle::Table })
    }
}

/// Bytes as hexadecimal digits.
mod hex {
    use std::fmt::Write;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(2 * N);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: Option<Vec<u8>> =
            text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        let bytes = digits.filter(|digits| digits.len() == 2 * N).map(|digits| {
            let mut bytes = [0; N];
            digits.chunks(2).zip(&mut bytes).for_each(|(pair, byte)| *byte = pair[0] << 4 | pair[1]);
            bytes
        });
        bytes.ok_or_else(|| serde::de::Error::custom(format!("expected {} hexadecimal digits", 2 * N)))
    }
}

/// A [`Secret`] as hexadecimal digits.
mod hex_secret {
    use serde::{Deserializer, Serializer};

    use super::hex;
    use crate::net::Secret;

    pub(super) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        hex::serialize(secret.bytes(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        hex::deserialize(deserializer).map(Secret::new)
    }
}

/// Why the control channel cannot be used any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A line exceeds [`LINE_MAX`].
    #[error("a message of more than {LINE_MAX} bytes")]
    TooLong,
    /// A line is no message.
    #[error("not a message: {0}")]
    Malformed(String),
    /// The socket cannot be read.
    #[error("cannot be read")]
    Io(#[from] io::Error),
}

/// A message as a line, its end included.
pub fn line<M: Serialize>(message: &M) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages have string keys and no broken numbers");
    line.push(b'\n');
    line
}

/// A message of a worker as a line of at most `len_max` bytes. A message that is too long loses parts
/// that the parent can do without, or is not sent at all (`None`). The second value describes what is
/// missing then, for people.
pub fn line_that_fits(message: FromWorker, len_max: usize) -> (Option<Vec<u8>>, Option<String>) {
    let whole = line(&message);
    let fits = |line: &Vec<u8>| line.len() <= len_max;
    if fits(&whole) {
        return (Some(whole), None);
    }
    let len = whole.len();
    match message {
        FromWorker::Stats(mut stats) => {
            type Step = (fn(&mut WorkerStats), &'static str);
            let steps: [Step; 3] = [
                (WorkerStats::shorten_errors, "the ends of error texts are"),
                (WorkerStats::keep_losses_only, "error texts, and metrics other than losses, are"),
                (WorkerStats::leave_out_latencies, "error texts, metrics and latencies are"),
            ];
            for (shorten, missing) in steps {
                shorten(&mut stats);
                let shorter = line(&FromWorker::Stats(stats.clone()));
                if fits(&shorter) {
                    let what = format!("statistics of {len} bytes: {missing} missing in the summary");
                    return (Some(shorter), Some(what));
                }
            }
            (None, Some(format!("statistics of {len} bytes: they are missing in the summary")))
        }
        FromWorker::Fatal(mut failure) => {
            failure.why.truncate(failure.why.floor_char_boundary(TEXT_MAX));
            (Some(line(&FromWorker::Fatal(failure))), None)
        }
        FromWorker::Checkpoint(CheckpointReport::Taken { checkpoint, part, .. }) => {
            let why = format!("the positions of {} take {len} bytes, which is too much", part.task);
            let refused = CheckpointReport::Refused { checkpoint, why };
            (Some(line(&FromWorker::Checkpoint(refused))), None)
        }
        FromWorker::Checkpoint(mut report) => {
            if let CheckpointReport::Refused { why, .. }
            | CheckpointReport::Lost { why, .. }
            | CheckpointReport::NotRestored(StorageError { why, .. }) = &mut report
            {
                why.truncate(why.floor_char_boundary(TEXT_MAX));
            }
            (Some(line(&FromWorker::Checkpoint(report))), None)
        }
        FromWorker::Listening { .. }
        | FromWorker::Beat(_)
        | FromWorker::Progress { .. }
        | FromWorker::DrainRequested
        | FromWorker::Stopped(_)
        | FromWorker::Link { .. }
        | FromWorker::LinkDown { .. }
        | FromWorker::TooLarge { .. }
        | FromWorker::LogRead { .. }
        | FromWorker::ClosesLate
        | FromWorker::Ended { .. } => (None, Some(format!("a message of {len} bytes: it was not sent"))),
    }
}

/// The message of a line, with or without its end.
///
/// # Errors
/// When it is none.
pub fn parse<M: DeserializeOwned>(line: &[u8]) -> Result<M, ControlError> {
    serde_json::from_slice(line).map_err(|error| ControlError::Malformed(error.to_string()))
}

/// Reads the next message; `None` at the end of the stream. A line without its end is dropped: its writer
/// died while it wrote.
///
/// # Errors
/// See [`ControlError`]. The stream must not be read any further then.
pub fn read<M: DeserializeOwned>(reader: &mut impl BufRead) -> Result<Option<M>, ControlError> {
    let mut lines = Lines::default();
    loop {
        let chunk = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        if chunk.is_empty() {
            return Ok(None);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n').map_or(chunk.len(), |at| at + 1);
        lines.push(&chunk[..end]);
        reader.consume(end);
        if let Some(line) = lines.take()? {
            return parse(&line).map(Some);
        }
    }
}

/// Splits a stream that arrives in pieces into lines. It holds at most one line and one piece, if the
/// caller takes all lines after each piece.
#[derive(Default)]
pub struct Lines {
    /// Bytes that have arrived and were not taken.
    pending: Vec<u8>,
    /// There is no end of a line before this place. Saves searching the same bytes again.
    searched: usize,
}

impl Lines {
    /// Appends a piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.pending.extend_from_slice(piece);
    }

    /// The next whole line, without its end.
    ///
    /// # Errors
    /// When the line is too long, whole or not.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, ControlError> {
        let found = self.pending[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = found.map(|at| self.searched + at);
        if end.unwrap_or(self.pending.len()) > LINE_MAX {
            return Err(ControlError::TooLong);
        }
        let Some(end) = end else {
            self.searched = self.pending.len();
            return Ok(None);
        };
        let rest = self.pending.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.pending, rest);
        line.pop();
        self.searched = 0;
        Ok(Some(line))
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({} bytes)", self.pending.len())
    }
}

#[cfg(test)]
mod tests;
