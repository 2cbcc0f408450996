//! Reads pieces of the files that a process of a topology logs and prints to, while they are written and rotated.
//!
//! ```text
//!   worker.log.2   worker.log.1   worker.log        renamed when it is long: a position goes on in the next younger file
//!   output.1       output                           copied, and its begin cut off: what was not read stands in one of both
//! ```
//!
//! 1. A piece has a bounded number of bytes, and so has what is read for it.
//! 2. Whoever asks again from the position of the last piece gets all that was written, once, if the files that were
//!    renamed meanwhile are still there. Otherwise the piece says that there is a gap.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::cluster::log_pieces::{LogFile, LogFrom, LogPiece, LogPosition, LogWish};
use crate::cluster::topologies::orders::{LOG_FILE, OUTPUT_FILE};
use crate::config::limits;

/// Bytes that are read for a piece of the lines of one component.
const SCAN_MAX: usize = 1 << 20;

/// A file that was opened, and what it has.
struct Opened {
    file: File,
    number: u64,
    len: u64,
}

impl Opened {
    fn open(path: &Path) -> io::Result<Option<Opened>> {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(file) => {
                let found = file.metadata()?;
                Ok(Some(Opened { file, number: found.ino(), len: found.len() }))
            }
        }
    }

    /// The bytes from this place on, at most so many.
    fn bytes(&mut self, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        // What is written meanwhile is read the next time.
        let there = self.len.saturating_sub(offset);
        (&mut self.file).take(there.min(bytes_max as u64)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The path of an older file: 1 is the latest.
fn older(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Reads what is wanted of the files of a private directory.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn read_log(directory: &Path, wish: &LogWish) -> io::Result<LogPiece> {
    let path = directory.join(match wish.file {
        LogFile::Log => LOG_FILE,
        LogFile::Output => OUTPUT_FILE,
    });
    match wish.from {
        LogFrom::Last(lines) => last_lines(&path, lines as usize, wish),
        LogFrom::At(position) => go_on(&path, position, wish),
    }
}

// ---- The last lines ----

fn last_lines(path: &Path, lines: usize, wish: &LogWish) -> io::Result<LogPiece> {
    let window = window(wish);
    let Some(mut current) = Opened::open(path)? else {
        return Ok(LogPiece { is_end: true, ..LogPiece::default() });
    };
    let begin = current.len.saturating_sub(window as u64);
    let mut bytes = current.bytes(begin, window)?;
    let mut begins_whole = begin == 0;
    // What is asked for now is read, and what is written from here on comes with the next piece.
    let mut end = begin + bytes.len() as u64;
    let unfinished = unfinished_bytes(&bytes, wish);
    bytes.truncate(bytes.len() - unfinished);
    end -= unfinished as u64;
    if begins_whole
        && bytes.len() < window
        && let Some(mut before) = Opened::open(&older(path, 1))?
    {
        let begin = before.len.saturating_sub((window - bytes.len()) as u64);
        let mut both = before.bytes(begin, window - bytes.len())?;
        begins_whole = begin == 0;
        both.append(&mut bytes);
        bytes = both;
    }
    if !begins_whole {
        // The first line of the window may be a part of one.
        let first = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.drain(..first);
    }
    let kept: Vec<&[u8]> = lines_of(&bytes).filter(|line| is_wanted(line, wish)).collect();
    let mut from = kept.len().saturating_sub(lines);
    let mut len: usize = kept[from..].iter().map(|line| line.len()).sum();
    while len > wish.bytes_max && from + 1 < kept.len() {
        len -= kept[from].len();
        from += 1;
    }
    let text = kept[from..].concat();
    let text = &text[text.len().saturating_sub(wish.bytes_max)..];
    let text = if lines == 0 { String::new() } else { String::from_utf8_lossy(text).into_owned() };
    Ok(LogPiece {
        text,
        next: LogPosition { file: current.number, offset: end },
        is_end: true,
        has_gap: false,
    })
}

// ---- Going on ----

fn go_on(path: &Path, position: LogPosition, wish: &LogWish) -> io::Result<LogPiece> {
    let Some(mut current) = Opened::open(path)? else {
        return Ok(LogPiece { next: position, is_end: true, ..LogPiece::default() });
    };
    let begin_of_current = LogPosition { file: current.number, offset: 0 };
    if position.file == 0 {
        return piece(&mut current, begin_of_current, None, wish);
    }
    if position.file == current.number {
        if position.offset <= current.len {
            return piece(&mut current, position, None, wish);
        }
        // Its begin was copied and cut off. What follows is in the copy, or in what has stayed in the file.
        let copy = Opened::open(&older(path, 1))?;
        let cut = copy.as_ref().map_or(0, |copy| copy.len);
        if cut > 0 && position.offset > cut && position.offset - cut <= current.len {
            let position = LogPosition { offset: position.offset - cut, ..position };
            return piece(&mut current, position, None, wish);
        }
        let Some(mut copy) = copy.filter(|copy| copy.len >= position.offset) else {
            return Ok(LogPiece { next: begin_of_current, has_gap: true, ..LogPiece::default() });
        };
        let rest = copy.len - position.offset;
        let kept = rest.min(window(wish) as u64);
        let from = LogPosition { file: copy.number, offset: copy.len - kept };
        let piece = piece(&mut copy, from, Some(begin_of_current), wish)?;
        return Ok(LogPiece { next: begin_of_current, has_gap: kept < rest, ..piece });
    }
    let mut younger = begin_of_current;
    for number in 1..=limits::LOG_FILES_MAX {
        let Some(mut older) = Opened::open(&older(path, number))? else { break };
        if older.number == position.file && position.offset <= older.len {
            return piece(&mut older, position, Some(younger), wish);
        }
        younger = LogPosition { file: older.number, offset: 0 };
    }
    Ok(LogPiece { next: begin_of_current, has_gap: true, ..LogPiece::default() })
}

/// The piece of a file at this position. `younger`: where it goes on at the end of the file; `None`: it is still written.
fn piece(
    file: &mut Opened,
    position: LogPosition,
    younger: Option<LogPosition>,
    wish: &LogWish,
) -> io::Result<LogPiece> {
    let mut bytes = file.bytes(position.offset, window(wish))?;
    let reaches_end = position.offset + bytes.len() as u64 >= file.len;
    if !(reaches_end && younger.is_some()) {
        bytes.truncate(bytes.len() - unfinished_bytes(&bytes, wish));
    }
    let (mut text, mut taken, mut is_full) = (Vec::new(), 0, false);
    for line in lines_of(&bytes) {
        let is_wanted = is_wanted(line, wish);
        if is_wanted && !text.is_empty() && text.len() + line.len() > wish.bytes_max {
            is_full = true;
            break;
        }
        taken += line.len();
        if is_wanted {
            text.extend_from_slice(line);
        }
    }
    let offset = position.offset + taken as u64;
    let next = match younger {
        Some(younger) if reaches_end && !is_full => younger,
        _ => LogPosition { offset, ..position },
    };
    let is_end = younger.is_none() && reaches_end && !is_full;
    Ok(LogPiece { text: String::from_utf8_lossy(&text).into_owned(), next, is_end, has_gap: false })
}

// ---- Lines ----

fn window(wish: &LogWish) -> usize {
    if wish.component.is_some() { SCAN_MAX } else { wish.bytes_max }
}

/// The lines, each with its end if it has one.
fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

/// How many bytes at the end wait for more: the last line, if only whole lines can be looked at, or else a part of a
/// character. A line that fills everything does not wait.
fn unfinished_bytes(bytes: &[u8], wish: &LogWish) -> usize {
    if wish.component.is_some() {
        let last = lines_of(bytes).last().filter(|line| !line.ends_with(b"\n")).map_or(0, <[u8]>::len);
        return if last < bytes.len() || bytes.len() < SCAN_MAX { last } else { 0 };
    }
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let is_begin = |byte: &u8| *byte >= 0xc0;
    let Some(at) = tail.iter().rposition(is_begin) else { return 0 };
    let character = &tail[at..];
    match std::str::from_utf8(character) {
        Err(error) if error.error_len().is_none() => character.len(),
        _ => 0,
    }
}

/// Whether a line is one of the component that is asked for, as `logging::line` writes it.
fn is_wanted(line: &[u8], wish: &LogWish) -> bool {
    let Some(component) = &wish.component else { return true };
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\n');
    let for_people = format!(", component: {component}");
    let names = |rest: &str| rest.is_empty() || rest.starts_with(", ");
    line.match_indices(&for_people).any(|(at, found)| names(&line[at + found.len()..]))
        || line.contains(&format!("\"component\":\"{component}\""))
}

#[cfg(test)]
#[path = "log_reading/tests.rs"]
mod tests;
