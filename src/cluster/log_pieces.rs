//! Pieces of what the processes of a topology log and print, as they travel from a process to an operator.
//!
//! ```text
//!   squall logs ─ HTTP ─▶ nimbus ─ observer ─▶ master ─ control channel ─▶ worker ─▶ worker.log, output
//! ```
//!
//! A piece has at most as many bytes as were asked for, and ends with a position, from which the next one goes on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Processes of which one question asks, at most.
pub const ASKED_MAX: usize = 24;
/// Bytes of all pieces of one answer, at most, before they are written as JSON.
pub const PIECES_MAX: usize = 128 << 10;
/// Lines that may be asked for of each process.
pub const LINES_MAX: u32 = 10_000;

/// A file of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFile {
    /// What squall and the components log.
    #[default]
    Log,
    /// What the process writes to stdout and stderr.
    Output,
}

/// From where on a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFrom {
    /// So many lines before its end.
    Last(u32),
    /// From this position on.
    At(LogPosition),
}

/// A place in a file that may have been renamed since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPosition {
    /// Which file, as its file system numbers it; 0: there was none.
    pub file: u64,
    /// How many bytes of it are before the place.
    pub offset: u64,
}

/// What of a file is wanted of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogWish {
    /// Which file.
    pub file: LogFile,
    /// From where on.
    pub from: LogFrom,
    /// Only the lines that name this component.
    pub component: Option<String>,
    /// Bytes of the piece, at most.
    pub bytes_max: usize,
}

/// A piece of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPiece {
    /// What was read. Its last line may be without its end, and go on in the next piece.
    pub text: String,
    /// Where the next piece begins.
    pub next: LogPosition,
    /// Whether there is no more for now.
    pub is_end: bool,
    /// Whether something before this piece is missing, because its file is gone.
    pub has_gap: bool,
}

/// What is asked of the processes of a topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogQuestion {
    /// Which file of each.
    #[serde(default)]
    pub file: LogFile,
    /// Only the lines that name this component.
    #[serde(default)]
    pub component: Option<String>,
    /// Of which processes: 1 to 24.
    pub of: Vec<LogAsked>,
}

/// One process of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogAsked {
    /// Which process.
    pub process: LogSource,
    /// From where on its file is read.
    pub from: LogFrom,
}

/// A process of a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogSource {
    /// The master.
    Master,
    /// The worker with this number.
    Worker(u16),
}

/// What a process answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogAnswer {
    /// Which process.
    pub process: LogSource,
    /// The piece; null if there is none.
    pub piece: Option<LogPiece>,
    /// Why there is none, for people.
    pub missing: Option<String>,
}

impl LogQuestion {
    /// What is wanted of each process. All pieces together have at most [`PIECES_MAX`] bytes.
    ///
    /// # Errors
    /// When too much is asked for, for people.
    pub fn wishes(&self) -> Result<Vec<(LogSource, LogWish)>, String> {
        let count = self.of.len();
        if !(1..=ASKED_MAX).contains(&count) {
            return Err(format!(
                "the logs of 1 to {ASKED_MAX} processes can be asked for at a time, not {count}"
            ));
        }
        let too_many = |asked: &LogAsked| matches!(asked.from, LogFrom::Last(lines) if lines > LINES_MAX);
        if self.of.iter().any(too_many) {
            return Err(format!("at most {LINES_MAX} lines can be asked for"));
        }
        let wish = |from: LogFrom| LogWish {
            file: self.file,
            from,
            component: self.component.clone(),
            bytes_max: PIECES_MAX / count,
        };
        Ok(self.of.iter().map(|asked| (asked.process, wish(asked.from))).collect())
    }
}

impl LogAnswer {
    /// What a process has read, or why it could not.
    pub fn new(process: LogSource, read: Result<LogPiece, String>) -> LogAnswer {
        match read {
            Ok(piece) => LogAnswer { process, piece: Some(piece), missing: None },
            Err(why) => LogAnswer { process, piece: None, missing: Some(why) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_bounds() {
        let question = |count: u16, lines| {
            let asked = |worker| LogAsked { process: LogSource::Worker(worker), from: LogFrom::Last(lines) };
            let of = (0..count).map(asked).collect();
            LogQuestion { file: LogFile::Log, component: None, of }
        };
        for count in [1, 3, 24] {
            let wishes = question(count, LINES_MAX).wishes().expect("it is within the bounds");
            let bytes: usize = wishes.iter().map(|(_, wish)| wish.bytes_max).sum();
            assert!(wishes.len() == usize::from(count) && bytes <= PIECES_MAX && bytes > PIECES_MAX / 2);
        }
        for (count, lines) in [(0, 1), (25, 1), (1, LINES_MAX + 1)] {
            assert!(question(count, lines).wishes().is_err(), "{count} {lines}");
        }
    }

    /// The longest question is read by a master before it trusts its sender with more.
    #[test]
    fn the_longest_question_is_short() {
        let from = LogFrom::At(LogPosition { file: u64::MAX, offset: u64::MAX });
        let of = vec![LogAsked { process: LogSource::Worker(u16::MAX), from }; ASKED_MAX];
        let component = Some("c".repeat(128));
        let text = serde_json::to_string(&LogQuestion { file: LogFile::Output, component, of });
        let len = text.expect("it is JSON").len();
        assert!(len < 3500, "{len}");
    }
}
