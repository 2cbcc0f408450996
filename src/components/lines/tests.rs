#[cfg(test)]
mod exactly_once;
#[cfg(test)]
mod odd_files;
#[cfg(test)]
mod odd_growth;

use std::fs::{self, OpenOptions};
use std::io::{Cursor, Read, Write as _};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::follow::GONE_SILENCE;
use super::*;
use crate::api::FailureCause;
use crate::components::test_support::{spout, spout_with, texts};
use crate::config::Delivery;
use crate::testing::{HarnessOptions, SpoutHarness};

const POLL: Duration = Duration::from_millis(250);

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

fn write(dir: &TempDir, name: &str, text: impl AsRef<[u8]>) {
    fs::write(dir.path().join(name), text).expect("the file can be written");
}

fn append(dir: &TempDir, name: &str, text: &str) {
    let file = OpenOptions::new().append(true).open(dir.path().join(name));
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the file can be appended to");
}

fn path(dir: &TempDir, pattern: &str) -> String {
    format!("path = '{}'", dir.path().join(pattern).display())
}

/// Emits what there is and returns it as text, the directory's name taken out.
fn drain(lines: &mut SpoutHarness, dir: &Path) -> Vec<String> {
    let _ = lines.run(100_000);
    let rows = texts(&lines.take_rows("default"));
    rows.into_iter().map(|row| row.replace(&format!("{}/", dir.display()), "")).collect()
}

#[test]
fn files_are_read_line_by_line_to_their_ends() {
    let dir = dir();
    write(&dir, "b.txt", "three\r\n\nfour");
    write(&dir, "a.txt", "one\ntwo\n");
    write(&dir, "c.log", "no\n");
    let mut lines = spout("lines", &path(&dir, "*.txt"));
    assert_eq!(drain(&mut lines, dir.path()), ["one", "two", "three", "", "four"]);
    assert_eq!(lines.next(), Some(SpoutStatus::Exhausted));
}

#[test]
fn file_and_number_come_along_when_asked_for() {
    let dir = dir();
    write(&dir, "a", "x\ny\n");
    write(&dir, "b", "z\n");
    let mut lines = spout("lines", &format!("{}\nmeta = true\nfield = 'text'", path(&dir, "?")));
    assert_eq!(drain(&mut lines, dir.path()), ["x a 1", "y a 2", "z b 1"]);
    let fields = lines.streams().get("default").map(|stream| stream.fields.to_string());
    assert_eq!(fields.as_deref(), Some("text, file, number"));
}

#[test]
fn several_tasks_share_the_files() {
    let dir = dir();
    ["a", "b", "c", "d", "e"].iter().for_each(|name| write(&dir, name, name));
    let of_task = |task_index| {
        let options = HarnessOptions { task_index, parallelism: 2, ..HarnessOptions::default() };
        drain(&mut spout_with("lines", &path(&dir, "*"), &options), dir.path())
    };
    assert_eq!(
        (of_task(0), of_task(1)),
        (vec!["a".into(), "c".into(), "e".into()], vec!["b".into(), "d".into()])
    );
}

#[test]
fn what_leads_nowhere_is_named() {
    let dir = dir();
    let open = |config: &str| {
        let registry = Registry::with_standard();
        let opened = SpoutHarness::registered(&registry, "lines", config, &HarnessOptions::default());
        opened.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let check = |config: &str, why: &str| {
        let error = open(config);
        assert!(error.contains(why), "{config}: {error:?}");
    };
    check(&path(&dir, "none.txt"), "there is no file `");
    check(&path(&dir, "*.txt"), "*.txt`");
    check(&path(&dir, ""), "is a directory");
    check("path = 'a***'", "a***");
    check("path = []", "at least one file");
    check("path = 'x'\nstart = 'end'", "follow = true");
    check("path = '-'\nfollow = true", "cannot be followed");
    check("path = 'x'\nmax_line = '0B'", "at least 1B");
    check("path = 'x'\nmax_line = 'wide'", "not a size");
    assert_eq!(open(&(path(&dir, "*.txt") + "\nfollow = true")), "", "a followed file may come later");
}

#[test]
fn a_line_is_kept_until_it_is_acked_and_replayed_when_it_fails() {
    let dir = dir();
    write(&dir, "a", "one\ntwo\nthree\n");
    let mut lines = spout("lines", &path(&dir, "a"));
    assert_eq!(drain(&mut lines, dir.path()), ["one", "two", "three"]);
    lines.ack(MessageId(0));
    lines.fail(MessageId(1));
    lines.fail_with(MessageId(2), Failure { cause: FailureCause::Failed, failures: 3, is_final: true });
    assert_eq!(lines.next(), Some(SpoutStatus::Emitted));
    let again = lines.take_emitted();
    assert_eq!((again[0].anchors.as_slice(), again[0].values[0].as_str()), (&[1][..], Some("two")));
    assert_eq!(lines.next(), Some(SpoutStatus::Exhausted), "what failed for good does not come again");
}

#[test]
fn at_most_once_keeps_nothing() {
    let dir = dir();
    write(&dir, "a", "one\n");
    let options = HarnessOptions { delivery: Delivery::AtMostOnce, ..HarnessOptions::default() };
    let mut lines = spout_with("lines", &path(&dir, "a"), &options);
    assert_eq!(drain(&mut lines, dir.path()), ["one"]);
    lines.fail(MessageId(0));
    assert_eq!(lines.next(), Some(SpoutStatus::Exhausted));
}

#[test]
fn invalid_text_is_replaced_and_counted() {
    let dir = dir();
    write(&dir, "a", b"ok\n\xff\xfebad\nok\n");
    let mut lines = spout("lines", &path(&dir, "a"));
    assert_eq!(drain(&mut lines, dir.path()), ["ok", "\u{fffd}\u{fffd}bad", "ok"]);
    assert_eq!((lines.counter("invalid_utf8"), lines.errors().len()), (1, 0));
}

#[test]
fn long_lines_are_cut_between_characters_and_reported() {
    let dir = dir();
    write(&dir, "a", format!("ääää\n{}\nshort", "x".repeat(1 << 20)));
    let mut lines = spout("lines", &format!("{}\nmax_line = '5B'", path(&dir, "a")));
    assert_eq!(drain(&mut lines, dir.path()), ["ää", "xxxxx", "short"]);
    assert_eq!((lines.counter("lines_cut"), lines.errors().len()), (2, 2));
    assert!(lines.errors()[1].contains("line 2 of") && lines.errors()[1].contains("1048571 bytes"));
}

#[test]
fn a_growing_file_is_followed() {
    let dir = dir();
    write(&dir, "a", "old\n");
    let mut lines = spout("lines", &format!("{}\nfollow = true", path(&dir, "a")));
    assert_eq!(drain(&mut lines, dir.path()), ["old"]);
    assert_eq!(lines.next(), Some(SpoutStatus::IdleFor(POLL)));
    append(&dir, "a", "new\npart");
    assert_eq!(drain(&mut lines, dir.path()), ["new"]);
    append(&dir, "a", "ial\n");
    assert_eq!(drain(&mut lines, dir.path()), ["partial"], "a line is whole when its newline is there");
}

#[test]
fn following_can_begin_at_the_end_but_later_files_are_read_in_full() {
    let dir = dir();
    write(&dir, "a.log", "old\n");
    let mut lines = spout("lines", &format!("{}\nfollow = true\nstart = 'end'", path(&dir, "*.log")));
    assert!(drain(&mut lines, dir.path()).is_empty());
    append(&dir, "a.log", "new\n");
    write(&dir, "b.log", "first\n");
    assert_eq!(drain(&mut lines, dir.path()), ["new"], "the next look at the directory is not due");
    lines.clock().advance(POLL);
    assert_eq!(drain(&mut lines, dir.path()), ["first"]);
}

#[test]
fn rotation_by_rename_loses_and_repeats_nothing() {
    let dir = dir();
    write(&dir, "a.log", "1\n2\n");
    let mut lines = spout("lines", &format!("{}\nfollow = true\nmeta = true", path(&dir, "a.log*")));
    assert_eq!(drain(&mut lines, dir.path()), ["1 a.log 1", "2 a.log 2"]);
    append(&dir, "a.log", "3\n");
    fs::rename(dir.path().join("a.log"), dir.path().join("a.log.1")).expect("it can be renamed");
    write(&dir, "a.log", "4\n");
    lines.clock().advance(POLL);
    let mut rows = drain(&mut lines, dir.path());
    rows.sort();
    assert_eq!(rows, ["3 a.log.1 3", "4 a.log 1"]);
    append(&dir, "a.log.1", "late\n");
    assert_eq!(drain(&mut lines, dir.path()), ["late a.log.1 4"], "its writer may be slow to let go");
}

#[test]
fn a_file_that_is_gone_is_read_until_it_is_silent() {
    let dir = dir();
    write(&dir, "a", "1\n");
    let mut lines = spout("lines", &format!("{}\nfollow = true", path(&dir, "a")));
    assert_eq!(drain(&mut lines, dir.path()), ["1"]);
    let writer = OpenOptions::new().append(true).open(dir.path().join("a"));
    let mut writer = writer.expect("it is there");
    fs::remove_file(dir.path().join("a")).expect("it can be removed");
    lines.clock().advance(POLL);
    assert!(drain(&mut lines, dir.path()).is_empty());
    writer.write_all(b"2\nlast").expect("an open file can be written");
    assert_eq!(drain(&mut lines, dir.path()), ["2"]);
    lines.clock().advance(GONE_SILENCE);
    assert_eq!(drain(&mut lines, dir.path()), ["last"], "nothing will end this line");
    lines.clock().advance(POLL);
    assert_eq!(lines.next(), Some(SpoutStatus::IdleFor(POLL)));
    writer.write_all(b"3\n").expect("an open file can be written");
    assert!(drain(&mut lines, dir.path()).is_empty(), "it is closed");
    assert!(lines.errors().is_empty(), "{:?}", lines.errors());
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let dir = dir();
    write(&dir, "a", "long line\nhalf");
    let mut lines = spout("lines", &format!("{}\nfollow = true\nmeta = true", path(&dir, "a")));
    assert_eq!(drain(&mut lines, dir.path()), ["long line a 1"]);
    write(&dir, "a", "x\n");
    lines.clock().advance(POLL);
    assert_eq!(drain(&mut lines, dir.path()), ["half a 2"]);
    lines.clock().advance(POLL);
    assert_eq!(drain(&mut lines, dir.path()), ["x a 1"]);
}

#[test]
fn many_growing_files_take_turns() {
    let dir = dir();
    let many = "a\n".repeat(5000);
    write(&dir, "1", &many);
    write(&dir, "2", many.replace('a', "b"));
    let mut lines = spout("lines", &format!("{}\nfollow = true", path(&dir, "*")));
    let _ = lines.run(4000);
    let rows = texts(&lines.take_rows("default"));
    assert!(rows.iter().any(|row| row == "a") && rows.iter().any(|row| row == "b"));
}

/// Waits for the reader thread: a condition with a deadline, not a pause.
fn read_until_exhausted(lines: &mut SpoutHarness) -> Vec<String> {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while lines.next() != Some(SpoutStatus::Exhausted) {
        assert!(std::time::Instant::now() < deadline, "the input did not end: {:?}", lines.errors());
        std::thread::yield_now();
    }
    texts(&lines.take_rows("default"))
}

fn with_stdin(input: impl Read + Send + 'static, task_index: usize) -> HarnessOptions {
    let options = HarnessOptions { task_index, parallelism: 2, ..HarnessOptions::default() };
    options.resources.set(STDIN_RESOURCE, StandardInput::new(input));
    options
}

#[test]
fn standard_input_is_read_by_the_first_task_without_waiting() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe can be made");
    let mut lines = spout_with("lines", "path = '-'", &with_stdin(reader, 0));
    assert_eq!(lines.next(), Some(SpoutStatus::Idle), "nothing was written, and it does not wait");
    writer.write_all("eins\nzwei".as_bytes()).expect("the pipe is open");
    drop(writer);
    assert_eq!(read_until_exhausted(&mut lines), ["eins", "zwei"]);
    let mut second = spout_with("lines", "path = '-'", &with_stdin(Cursor::new("x"), 1));
    assert_eq!(second.next(), Some(SpoutStatus::Exhausted));
}

#[test]
fn a_failing_input_is_reported_and_ends() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("unplugged"))
        }
    }
    let mut lines = spout_with("lines", "path = '-'", &with_stdin(Broken, 0));
    assert!(read_until_exhausted(&mut lines).is_empty());
    assert!(lines.errors()[0].contains("cannot read `-`: unplugged"), "{:?}", lines.errors());
    assert_eq!((lines.counter("files_not_read"), lines.counter("files_cut_short")), (1, 0));
    let broken_later = Cursor::new("whole\npart").chain(Broken);
    let mut lines = spout_with("lines", "path = '-'", &with_stdin(broken_later, 0));
    assert_eq!(read_until_exhausted(&mut lines), ["whole"], "a line that may go on is no line");
    let error = &lines.errors()[0];
    assert!(error.contains("cannot read `-` to its end") && error.contains("byte 10: unplugged"), "{error}");
    assert_eq!((lines.counter("files_not_read"), lines.counter("files_cut_short")), (0, 1));
}
