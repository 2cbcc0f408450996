//! Positions in files: what comes after a restore, and what happened to the files meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;

use tempfile::TempDir;

use super::{POLL, append, dir, drain, path, write};
use crate::api::{Positions, Spout as _, SpoutStatus};
use crate::components::lines::unpack::tests::gzip;
use crate::components::lines::{Lines, STDIN_RESOURCE, StandardInput};
use crate::components::test_support::spout_with;
use crate::config::Delivery;
use crate::testing::conformance::check_registered_spout;
use crate::testing::{HarnessOptions, SpoutHarness};
use crate::topology::registry::Registry;

fn start(config: &str) -> SpoutHarness {
    start_task(config, 0, 1)
}

fn start_task(config: &str, task_index: usize, parallelism: usize) -> SpoutHarness {
    let delivery = Delivery::ExactlyOnce;
    spout_with(
        "lines",
        config,
        &HarnessOptions { task_index, parallelism, delivery, ..HarnessOptions::default() },
    )
}

fn positions(lines: &mut SpoutHarness) -> Positions {
    lines.snapshot().expect("it can be rewound")
}

/// The positions without the names that files had.
fn without_paths(positions: &Positions) -> BTreeMap<String, serde_json::Value> {
    let mut positions = positions.clone().into_json();
    for file in positions.values_mut().filter_map(serde_json::Value::as_object_mut) {
        file.remove("path").expect("each file has a path");
    }
    positions
}

/// A new instance that goes on from there. It stands where the first stood before it reads anything.
fn go_on(config: &str, positions: &Positions) -> SpoutHarness {
    let mut lines = start(config);
    lines.restore(positions).expect("these are its positions");
    let stands = without_paths(&self::positions(&mut lines));
    let is_there = |(split, position): (&String, &serde_json::Value)| stands.get(split) == Some(position);
    assert!(without_paths(positions).iter().all(is_there), "{stands:?} is not {positions:?}");
    lines
}

/// The positions of a spout that emitted what there is, and so many lines at most.
fn positions_after(config: &str, lines: usize) -> Positions {
    let mut spout = start(config);
    let _ = spout.run(lines);
    positions(&mut spout)
}

fn check(lines: &mut SpoutHarness, dir: &TempDir, expected: &[&str]) {
    assert_eq!(drain(lines, dir.path()), expected, "{:?}", lines.errors());
}

/// What was lost, and what the errors say of it.
fn check_lost(lines: &SpoutHarness, (not_read, cut_short): (u64, u64), why: &str) {
    let counted = (lines.counter("files_not_read"), lines.counter("files_cut_short"));
    assert_eq!(counted, (not_read, cut_short), "{:?}", lines.errors());
    assert_eq!(lines.errors().len() as u64, not_read + cut_short, "{:?}", lines.errors());
    assert!(lines.errors().iter().all(|error| error.contains(why)), "{:?}", lines.errors());
}

#[test]
fn the_lines_after_a_position_come_and_no_others() {
    let dir = dir();
    write(&dir, "a", "one\r\n\ntoo long to be kept\nfour");
    write(&dir, "b", "\u{feff}ä\nb\n");
    write(&dir, "c", "");
    write(&dir, "d.gz", gzip(b"packed\nand too long to be kept\n\nlast"));
    write(&dir, "e", "end\n");
    let config = format!("{}\nmeta = true\nmax_line = '6B'", path(&dir, "*"));
    let all = drain(&mut start(&config), dir.path());
    assert_eq!(all.len(), 11, "{all:?}");
    for emitted in 0..=all.len() + 1 {
        let positions = positions_after(&config, emitted);
        let mut lines = go_on(&config, &positions);
        let rest = drain(&mut lines, dir.path());
        assert_eq!(rest, all[emitted.min(all.len())..], "{emitted} lines were emitted before");
        assert!(lines.take_emitted().is_empty() && lines.next() == Some(SpoutStatus::Exhausted));
    }
}

#[test]
fn nothing_is_tracked() {
    let dir = dir();
    write(&dir, "a", "one\n");
    let mut lines = start(&path(&dir, "a"));
    let _ = lines.next();
    assert_eq!(lines.take_emitted()[0].anchors, [0_u64; 0]);
}

/// More than is unpacked before other spouts have their turn.
#[test]
fn a_long_compressed_file_is_skipped_in_pieces() {
    let dir = dir();
    write(&dir, "a.gz", gzip(&b"0123456789abcde\n".repeat(400_000)));
    let config = path(&dir, "a.gz");
    let positions = positions_after(&config, 399_998);
    let mut lines = go_on(&config, &positions);
    assert!(matches!(lines.next(), Some(SpoutStatus::IdleFor(_))), "it is not there yet");
    assert_eq!(self::positions(&mut lines), positions, "and stands where it did all the same");
    while lines.next() != Some(SpoutStatus::Exhausted) {}
    assert_eq!(lines.take_rows("default").len(), 2);
}

/// Between the checkpoint and the restore a file came that is read before the others: each file is another task's.
#[test]
fn positions_follow_their_files_to_other_tasks() {
    let dir = dir();
    ["b", "c", "d"].iter().for_each(|name| write(&dir, name, format!("{name}1\n{name}2\n")));
    let config = path(&dir, "*");
    let mut all = Positions::default();
    for task in 0..2 {
        let mut lines = start_task(&config, task, 2);
        let _ = lines.run(1);
        all.extend(positions(&mut lines).into_json());
    }
    write(&dir, "a", "a1\n");
    for tasks in [2, 3, 1] {
        let mut rows = Vec::new();
        for task in 0..tasks {
            let mut lines = start_task(&config, task, tasks);
            lines.restore(&all).expect("these are its positions");
            rows.extend(drain(&mut lines, dir.path()));
        }
        rows.sort();
        assert_eq!(rows, ["a1", "b2", "c2", "d1", "d2"], "{tasks} tasks");
    }
}

#[test]
fn a_file_that_was_renamed_is_found_in_its_directory() {
    for more in ["", "\nfollow = true"] {
        let dir = dir();
        write(&dir, "a.log", "1\n2\n");
        let config = path(&dir, "a.log") + more;
        let positions = positions_after(&config, 1);
        fs::rename(dir.path().join("a.log"), dir.path().join("a.log.1")).expect("it can be renamed");
        check(&mut go_on(&config, &positions), &dir, &["2"]);
        write(&dir, "a.log", "3\n");
        let mut rows = drain(&mut go_on(&config, &positions), dir.path());
        rows.sort();
        assert_eq!(rows, ["2", "3"], "{more}");
    }
}

#[test]
fn what_is_gone_is_lost_unless_it_was_read_to_its_end() {
    let dir = dir();
    write(&dir, "a", "a1\n");
    write(&dir, "b", "b1\nb2\n");
    write(&dir, "c", "c1\n");
    let config = path(&dir, "?");
    let positions = positions_after(&config, 2);
    write(&dir, "a", "a");
    check(&mut go_on(&config, &positions), &dir, &["b2", "c1"]);
    ["a", "b", "c"].iter().for_each(|name| fs::remove_file(dir.path().join(name)).expect("it is there"));
    let mut lines = go_on(&config, &positions);
    check(&mut lines, &dir, &[]);
    check_lost(&lines, (1, 1), "it is not there any more");
    let again = self::positions(&mut lines);
    let mut lines = go_on(&config, &again);
    check(&mut lines, &dir, &[]);
    check_lost(&lines, (1, 1), "it is not there any more");
}

#[test]
fn what_is_shorter_or_another_file_is_lost_and_not_taken_for_the_same() {
    let check_file = |(follows, compressed): (bool, bool), after: &str, rows: &[&str], why: &str| {
        let dir = dir();
        let text = |text: &str| if compressed { gzip(text.as_bytes()) } else { text.as_bytes().to_vec() };
        let long = "x".repeat(2000);
        write(&dir, "a", text(&format!("head\n{long}\n2\n3\n")));
        let config = path(&dir, "a") + if follows { "\nfollow = true" } else { "" };
        let positions = positions_after(&config, 3);
        write(&dir, "a", text(&after.replace('X', &long)));
        let mut lines = go_on(&config, &positions);
        check(&mut lines, &dir, rows);
        check_lost(&lines, (0, 1), why);
    };
    check_file((false, false), "head\nX\n", &[], "it is shorter than the 2008 bytes");
    check_file((false, false), "head\n", &[], "it is shorter than it was");
    check_file((false, true), "head\nX\n", &[], "it is shorter than it was");
    check_file(
        (false, false),
        "other\nX\n2\n3\n",
        &["other", &"x".repeat(2000), "2", "3"],
        "another file has its place",
    );
    check_file((true, false), "head\nX\n", &["head", &"x".repeat(2000)], "it was truncated");
    check_file((true, false), "head\n", &["head"], "it was truncated");
    check_file(
        (true, false),
        "other\nX\n2\n3\n4\n",
        &["other", &"x".repeat(2000), "2", "3", "4"],
        "another file",
    );
}

/// The head of a compressed file may be the same though its text is shorter: the members after the first are gone.
#[test]
fn a_compressed_file_that_is_shorter_is_lost() {
    let dir = dir();
    let noise: String =
        (0..2000_u64).map(|n| format!("{}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let whole = [gzip(noise.as_bytes()), gzip(b"last\n")].concat();
    write(&dir, "a", &whole);
    let positions = positions_after(&path(&dir, "a"), 2001);
    write(&dir, "a", gzip(noise.as_bytes()));
    let mut lines = go_on(&path(&dir, "a"), &positions);
    check(&mut lines, &dir, &[]);
    check_lost(&lines, (0, 1), "it is shorter than");
}

#[test]
fn a_pattern_that_leads_nowhere_ends_the_run() {
    let dir = dir();
    let mut lines = start(&path(&dir, "none"));
    assert_eq!((lines.next(), lines.errors().len()), (None, 1));
    assert!(lines.errors()[0].contains("there is no file"), "{:?}", lines.errors());
}

#[test]
fn what_can_be_read_once_cannot_be_rewound() {
    let dir = dir();
    let is_rewindable = |config: &str| {
        let settings = toml::from_str(config).expect("these are settings");
        Lines::new(settings).expect("these are settings").is_rewindable()
    };
    assert!(is_rewindable(&path(&dir, "*")) && is_rewindable(&path(&dir, "not-there-yet")));
    assert!(!is_rewindable("path = '-'") && !is_rewindable("path = ['a', '/dev/stdin', 'b']"));
    assert!(!is_rewindable("path = '/dev/fd/7'") && !is_rewindable("path = '/dev/null'"));
    // Nobody knows before the start what a pattern matches.
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    let mut lines = start(&path(&dir, "pip[e]"));
    assert_eq!(lines.next(), Some(SpoutStatus::Exhausted));
    check_lost(&lines, (1, 0), "it is a pipe, not a regular file");
}

/// Behind a write-ahead log, the thread reads when it is asked for a chunk, to the end of the input.
#[test]
fn what_comes_once_is_read_when_it_is_asked_for() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let options = HarnessOptions { delivery: Delivery::ExactlyOnce, ..HarnessOptions::default() };
    options.resources.set(STDIN_RESOURCE, StandardInput::new(reader));
    let mut lines = spout_with("lines", "path = '-'", &options);
    writer.write_all(b"one\ntwo\n").expect("it is open");
    // The thread is asked, and its chunk comes when it has read it.
    let emitted = |lines: &mut SpoutHarness, count: usize| {
        let mut rows = Vec::new();
        while rows.len() < count {
            let _ = lines.next();
            rows.extend(lines.take_emitted().into_iter().map(|emitted| emitted.values[0].to_string()));
        }
        rows
    };
    assert_eq!(emitted(&mut lines, 2), ["one", "two"]);
    drop(writer);
    while lines.next() != Some(SpoutStatus::Exhausted) {}
}

// ---- Files that are followed ----

#[test]
fn following_goes_on_with_the_first_line_that_was_not_emitted() {
    let dir = dir();
    write(&dir, "a", "\u{feff}1\n2\n3\npart");
    write(&dir, "b", "");
    let config = format!("{}\nfollow = true\nmeta = true", path(&dir, "*"));
    let all = ["1 a 1", "2 a 2", "3 a 3", "partial a 4", "5 a 5", "new c 1"];
    let before: Vec<Positions> = (0..=4).map(|emitted| positions_after(&config, emitted)).collect();
    append(&dir, "a", "ial\n5\n");
    write(&dir, "c", "new\n");
    for (emitted, positions) in before.iter().enumerate() {
        check(&mut go_on(&config, positions), &dir, &all[emitted.min(3)..]);
    }
}

#[test]
fn following_from_the_end_has_a_beginning_after_a_restore() {
    let dir = dir();
    write(&dir, "a", "old\n");
    let config = format!("{}\nfollow = true\nstart = 'end'", path(&dir, "*"));
    let not_begun = positions(&mut start(&config));
    let begun = positions_after(&config, 1);
    append(&dir, "a", "new\n");
    write(&dir, "b", "new too\n");
    check(&mut go_on(&config, &begun), &dir, &["new", "new too"]);
    let mut lines = go_on(&config, &not_begun);
    check(&mut lines, &dir, &[]);
    append(&dir, "a", "newer\n");
    check(&mut lines, &dir, &["newer"]);
}

#[test]
fn a_followed_file_that_is_gone_is_lost_unless_it_was_gone_before() {
    let dir = dir();
    write(&dir, "a", "1\n");
    write(&dir, "b", "1\n");
    let config = path(&dir, "?") + "\nfollow = true";
    let mut lines = start(&config);
    check(&mut lines, &dir, &["1", "1"]);
    fs::remove_file(dir.path().join("a")).expect("it is there");
    lines.clock().advance(POLL);
    check(&mut lines, &dir, &[]);
    let positions = positions(&mut lines);
    fs::remove_file(dir.path().join("b")).expect("it is there");
    let mut lines = go_on(&config, &positions);
    check(&mut lines, &dir, &[]);
    check_lost(&lines, (0, 1), "it is not there any more");
    assert!(lines.errors()[0].contains("/b`"), "{:?}", lines.errors());
}

/// The last line of a truncated file is in memory only. If it is not emitted before the checkpoint, a restore cannot
/// bring it back. Which file has its turn first decides that, so each of the two is truncated once.
#[test]
fn the_last_line_of_a_truncated_file_is_emitted_or_lost() {
    let emitted_first = ["a", "b"].map(|truncated| {
        let dir = dir();
        let grown = if truncated == "a" { "b" } else { "a" };
        write(&dir, truncated, "1\nhalf");
        write(&dir, grown, "1\n");
        let config = path(&dir, "?") + "\nfollow = true";
        let mut lines = start(&config);
        check(&mut lines, &dir, &["1", "1"]);
        write(&dir, truncated, "x\n");
        append(&dir, grown, "2\n");
        lines.clock().advance(POLL);
        assert_eq!(lines.next(), Some(SpoutStatus::Emitted));
        let is_emitted = lines.take_rows("default")[0][0].as_str() == Some("half");
        let after = positions(&mut lines);
        let mut lines = go_on(&config, &after);
        let mut rows = drain(&mut lines, dir.path());
        rows.sort();
        assert_eq!(rows, if is_emitted { vec!["2", "x"] } else { vec!["x"] });
        check_lost(&lines, (0, u64::from(!is_emitted)), "its last lines before that were not emitted");
        is_emitted
    });
    assert_ne!(emitted_first[0], emitted_first[1]);
}

#[test]
fn each_task_goes_on_with_its_own_followed_files() {
    let dir = dir();
    (0..6).for_each(|n| write(&dir, &n.to_string(), "1\n2\n"));
    let config = path(&dir, "?") + "\nfollow = true";
    let mut all = Positions::default();
    let mut emitted = 0;
    for task in 0..2 {
        let mut lines = start_task(&config, task, 2);
        let _ = lines.run(3);
        emitted += lines.take_emitted().len();
        all.extend(positions(&mut lines).into_json());
    }
    for task in 0..2 {
        let mut lines = start_task(&config, task, 2);
        lines.restore(&all).expect("these are its positions");
        emitted += drain(&mut lines, dir.path()).len();
        assert!(lines.errors().is_empty(), "the files of the other task are not lost: {:?}", lines.errors());
    }
    assert_eq!(emitted, 12);
}

/// Crashed after every line, of several files, one of them compressed.
#[test]
fn a_spout_that_crashes_after_any_line_goes_on_behind_it() {
    let dir = dir();
    write(&dir, "a.log", "one\ntwo\n\nfour");
    write(&dir, "b.log", "five\n");
    write(&dir, "c.log.gz", gzip(b"six\nseven\neight\n"));
    let registry = Registry::with_standard();
    let report = check_registered_spout(&registry, "lines", &path(&dir, "*"), 1000);
    let report = report.unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(report.rows, 8);
}
