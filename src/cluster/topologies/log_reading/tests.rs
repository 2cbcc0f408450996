//! Files that are written, renamed, copied and emptied while they are read.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use super::*;
use crate::logging::{RotatingFile, rotate_by_copy};

fn wish(file: LogFile, from: LogFrom, bytes_max: usize) -> LogWish {
    LogWish { file, from, component: None, bytes_max }
}

fn last(directory: &Path, lines: u32) -> LogPiece {
    read_log(directory, &wish(LogFile::Log, LogFrom::Last(lines), 1 << 16)).expect("it can be read")
}

fn append(directory: &Path, name: &str, text: &[u8]) {
    let mut file = OpenOptions::new().append(true).create(true).open(directory.join(name)).expect("it opens");
    file.write_all(text).expect("it is written");
}

#[test]
fn the_last_lines_are_read_and_what_comes_after_them_once() {
    let place = tempfile::tempdir().expect("a directory");
    let none = last(place.path(), 5);
    assert_eq!((&*none.text, none.next, none.is_end), ("", LogPosition::default(), true));
    append(place.path(), LOG_FILE, b"one\ntwo\nthree\n");
    assert_eq!(last(place.path(), 2).text, "two\nthree\n");
    assert_eq!(last(place.path(), 9).text, "one\ntwo\nthree\n");
    assert_eq!(last(place.path(), 0).text, "");
    let from = last(place.path(), 1).next;
    append(place.path(), LOG_FILE, b"four\nfi");
    let more =
        |from| read_log(place.path(), &wish(LogFile::Log, LogFrom::At(from), 1 << 16)).expect("it is there");
    let piece = more(from);
    assert_eq!((&*piece.text, piece.is_end), ("four\nfi", true));
    append(place.path(), LOG_FILE, b"ve\n");
    assert_eq!(more(piece.next).text, "ve\n");
    // There was no file yet when it was asked for the first time.
    assert_eq!(more(none.next).text, "one\ntwo\nthree\nfour\nfive\n");
}

#[test]
fn a_piece_is_bounded_and_goes_on_where_it_ended() {
    let place = tempfile::tempdir().expect("a directory");
    let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
    append(place.path(), OUTPUT_FILE, text.as_bytes());
    let short = read_log(place.path(), &wish(LogFile::Output, LogFrom::Last(100), 20)).expect("it is there");
    assert_eq!(short.text, "line 98\nline 99\n");
    let (mut position, mut read, mut pieces) = (LogPosition::default(), String::new(), 0);
    for turn in 0.. {
        assert!(turn < 10_000, "it does not come to the end");
        let piece =
            read_log(place.path(), &wish(LogFile::Output, LogFrom::At(position), 20)).expect("it is there");
        assert!(piece.text.len() <= 20 && !piece.has_gap, "{piece:?}");
        read.push_str(&piece.text);
        (position, pieces) = (piece.next, pieces + 1);
        if piece.is_end {
            break;
        }
    }
    assert!(read == text && pieces > 30, "{pieces}: {read}");
}

#[test]
fn a_line_that_is_longer_than_a_piece_and_bytes_that_are_no_text_stop_nothing() {
    let place = tempfile::tempdir().expect("a directory");
    let text = format!("{}\u{e4}\u{1f980}{}\n", "x".repeat(30), "y".repeat(30));
    append(place.path(), OUTPUT_FILE, text.as_bytes());
    append(place.path(), OUTPUT_FILE, b"\xff\xc3\n");
    let (mut position, mut read) = (LogPosition::default(), String::new());
    for _ in 0..100 {
        let piece =
            read_log(place.path(), &wish(LogFile::Output, LogFrom::At(position), 7)).expect("it is there");
        read.push_str(&piece.text);
        position = piece.next;
    }
    assert_eq!(read, format!("{text}\u{fffd}\u{fffd}\n"));
}

#[test]
fn nothing_is_lost_or_read_twice_when_a_log_is_renamed() {
    let place = tempfile::tempdir().expect("a directory");
    let mut log = RotatingFile::open(place.path().join(LOG_FILE), 64, 5).expect("it is made");
    let (mut position, mut read, mut written) = (LogPosition::default(), String::new(), String::new());
    for n in 0..60 {
        let line = format!("line number {n}\n");
        log.write_all(line.as_bytes()).expect("it is written");
        written.push_str(&line);
        // Now and then it is not read for so long that there are several older files.
        if n % 11 != 0 {
            continue;
        }
        for turn in 0.. {
            assert!(turn < 10_000, "it does not come to the end");
            let piece =
                read_log(place.path(), &wish(LogFile::Log, LogFrom::At(position), 40)).expect("it is there");
            assert!(!piece.has_gap);
            read.push_str(&piece.text);
            position = piece.next;
            if piece.is_end {
                break;
            }
        }
        assert_eq!(read, written, "after {n}");
    }
    // So much was written that what was not read is gone.
    for n in 0..60 {
        writeln!(log, "much more {n}").expect("it is written");
    }
    let piece = read_log(place.path(), &wish(LogFile::Log, LogFrom::At(position), 400)).expect("it is there");
    assert!(piece.has_gap && !piece.is_end, "{piece:?}");
    let piece =
        read_log(place.path(), &wish(LogFile::Log, LogFrom::At(piece.next), 400)).expect("it is there");
    assert!(!piece.has_gap && piece.text.ends_with("much more 59\n"), "{piece:?}");
}

#[test]
fn just_after_a_log_was_renamed_its_last_lines_are_those_of_both_files() {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("worker.log.1"), "one\ntwo\n").expect("it is written");
    append(place.path(), LOG_FILE, b"three\n");
    assert_eq!(last(place.path(), 2).text, "two\nthree\n");
    assert_eq!(last(place.path(), 9).text, "one\ntwo\nthree\n");
    let cut = read_log(place.path(), &wish(LogFile::Log, LogFrom::Last(9), 11)).expect("it is there");
    assert_eq!(cut.text, "two\nthree\n", "no part of a line");
}

#[test]
fn what_was_not_read_when_an_output_was_emptied_is_read_from_the_copy() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join(OUTPUT_FILE);
    append(place.path(), OUTPUT_FILE, b"read\n");
    let more =
        |from, bytes| read_log(place.path(), &wish(LogFile::Output, from, bytes)).expect("it is there");
    let position = more(LogFrom::Last(10), 100).next;
    append(place.path(), OUTPUT_FILE, b"not read\n");
    assert!(rotate_by_copy(&path, 4, 2).expect("it is copied"));
    append(place.path(), OUTPUT_FILE, b"new\n");
    let rest = more(LogFrom::At(position), 100);
    assert_eq!((&*rest.text, rest.is_end, rest.has_gap), ("not read\n", false, false));
    let new = more(LogFrom::At(rest.next), 100);
    assert_eq!((&*new.text, new.is_end), ("new\n", true));
    // The copy is gone, too.
    append(place.path(), OUTPUT_FILE, b"long enough\n");
    let position = more(LogFrom::Last(0), 100).next;
    assert!(rotate_by_copy(&path, 4, 0).expect("it is emptied"));
    fs::remove_file(place.path().join("output.1")).expect("it was there");
    let gap = more(LogFrom::At(position), 100);
    assert!(gap.has_gap && gap.text.is_empty() && gap.next.offset == 0, "{gap:?}");
}

/// A reader that had read more than was cut off lost its place.
#[test]
fn who_has_read_more_of_an_output_than_is_cut_off_goes_on_in_what_has_stayed() {
    let place = tempfile::tempdir().expect("a directory");
    append(place.path(), OUTPUT_FILE, "0123456789abcdef".repeat(300).as_bytes());
    let more = |from| read_log(place.path(), &wish(LogFile::Output, from, 1 << 16)).expect("it is there");
    let position = more(LogFrom::Last(1)).next;
    assert_eq!(position.offset, 4800);
    assert!(rotate_by_copy(&place.path().join(OUTPUT_FILE), 4096, 2).expect("it is copied"));
    append(place.path(), OUTPUT_FILE, b"new\n");
    let (mut text, mut from) = (String::new(), position);
    loop {
        let piece = more(LogFrom::At(from));
        assert!(!piece.has_gap, "{piece:?}");
        text.push_str(&piece.text);
        from = piece.next;
        if piece.is_end {
            break;
        }
    }
    assert_eq!(text, "new\n");
    assert_eq!(more(LogFrom::Last(1)).text.len(), 4804, "the last lines are read over both files");
}

#[test]
fn the_lines_of_one_component_are_those_that_name_it() {
    let place = tempfile::tempdir().expect("a directory");
    append(
        place.path(),
        LOG_FILE,
        b"10:00 INFO a, component: count, task: 3\n\
          10:00 INFO b, component: counts\n\
          10:00 INFO c, worker: 0, component: count\n\
          {\"msg\":\"d\",\"component\":\"count\",\"n\":1}\n\
          10:00 INFO e\n",
    );
    let read = |from, bytes_max| {
        let wish = LogWish { component: Some("count".to_owned()), ..wish(LogFile::Log, from, bytes_max) };
        read_log(place.path(), &wish).expect("it is there")
    };
    let names = |text: &str| -> String { text.lines().filter_map(|line| line.chars().nth(11)).collect() };
    let piece = read(LogFrom::Last(10), 1000);
    assert_eq!((names(&piece.text), piece.text.lines().count()), ("ac\"".to_owned(), 3), "{}", piece.text);
    assert_eq!(read(LogFrom::Last(1), 1000).text.lines().count(), 1);
    // A line that is not whole waits.
    append(place.path(), LOG_FILE, b"10:00 INFO f, component: cou");
    let waits = read(LogFrom::At(piece.next), 1000);
    assert_eq!((&*waits.text, waits.next), ("", piece.next));
    append(place.path(), LOG_FILE, b"nt\n");
    assert_eq!(names(&read(LogFrom::At(piece.next), 1000).text), "f");
    // Pieces are bounded here, too, and go on where they ended.
    let first = read(LogFrom::At(LogPosition::default()), 50);
    assert_eq!((first.text.lines().count(), first.is_end), (1, false));
    let second = read(LogFrom::At(first.next), 50);
    assert_eq!(names(&second.text), "c");
}
