use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::acked::{AckedFile, HELD_MAX};
use super::part::PartFile;
use crate::components::test_support::{bolt, bolt_with, refusal};
use crate::testing::{BoltHarness, HarnessOptions, TestTuple};

#[cfg(test)]
mod dirty;
#[cfg(test)]
mod exactly_once;
#[cfg(test)]
mod surroundings;

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

fn config(dir: &TempDir, path: &str, more: &str) -> String {
    format!("path = '{}'\n{more}", dir.path().join(path).display())
}

fn row(word: &str, n: i64) -> TestTuple {
    TestTuple::new((word, n)).fields(["word", "n"])
}

/// The files of a directory, with what is in them, by name.
fn files(dir: &Path) -> Vec<(String, String)> {
    let entries =
        fs::read_dir(dir).expect("the directory is there").map(|entry| entry.expect("it can be read"));
    let mut files: Vec<_> = entries
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            let text = fs::read_to_string(entry.path()).expect("it is text");
            (entry.file_name().to_string_lossy().into_owned(), text)
        })
        .collect();
    files.sort();
    files
}

fn check(dir: &TempDir, expected: &[(&str, &str)]) {
    let expected: Vec<_> =
        expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    assert_eq!(files(dir.path()), expected);
}

#[test]
fn rows_are_acked_when_written_and_published_at_the_end() {
    let dir = dir();
    let mut file = bolt("file", &config(&dir, "w.csv", ""));
    file.execute_all([row("a", 1), row("b,c", 2)]);
    assert_eq!(file.acked().len(), 0, "nothing is written yet");
    file.flush();
    assert_eq!(file.acked(), [0, 1]);
    check(&dir, &[("w.csv.inprogress", "word,n\na,1\n\"b,c\",2\n")]);
    file.execute(row("d", 3));
    file.finish();
    check(&dir, &[("w.csv", "word,n\na,1\n\"b,c\",2\nd,3\n")]);
    file.execute(row("late", 4));
    file.flush();
    file.cleanup();
    check(&dir, &[("w-1.csv", "word,n\nlate,4\n"), ("w.csv", "word,n\na,1\n\"b,c\",2\nd,3\n")]);
}

#[test]
fn the_format_follows_the_extension_or_the_setting() {
    let run = |path: &str, more: &str| {
        let dir = dir();
        let mut file = bolt("file", &config(&dir, path, more));
        file.execute(row("a", 1));
        file.finish();
        files(dir.path()).remove(0).1
    };
    assert_eq!(run("w.txt", ""), "a\t1\n");
    assert_eq!(run("w.txt", "separator = ' '"), "a 1\n");
    assert_eq!(run("w.jsonl", ""), "{\"word\":\"a\",\"n\":1}\n");
    assert_eq!(run("w.csv", "header = false"), "a,1\n");
    assert_eq!(run("w.txt", "format = 'csv'\nfields = ['n']"), "n\n1\n");
    assert_eq!(run("w.jsonl", "fields = ['n', 'word']"), "{\"n\":1,\"word\":\"a\"}\n");
}

#[test]
fn each_task_has_its_file() {
    let dir = dir();
    for task_index in 0..2 {
        let options = HarnessOptions { task_index, parallelism: 2, ..HarnessOptions::default() };
        let mut file = bolt_with("file", &config(&dir, "w.txt", ""), &options);
        file.execute(row("of", task_index as i64));
        file.finish();
    }
    check(&dir, &[("w-0.txt", "of\t0\n"), ("w-1.txt", "of\t1\n")]);
}

#[test]
fn files_are_rotated_by_size_and_by_age() {
    let dir = dir();
    let mut file = bolt("file", &config(&dir, "w-{seq}.txt", "rotate_size = '4B'\nrotate_every = '1m'"));
    for (word, n) in [("a", 1), ("b", 2), ("c", 3)] {
        file.execute(row(word, n));
        file.flush();
    }
    check(&dir, &[("w-0.txt", "a\t1\n"), ("w-1.txt", "b\t2\n"), ("w-2.txt", "c\t3\n")]);
    file.execute(TestTuple::new(["x"]));
    file.flush();
    file.clock().advance(Duration::from_secs(59));
    file.tick();
    assert!(dir.path().join("w-3.txt.inprogress").exists());
    file.clock().advance(Duration::from_secs(1));
    file.tick();
    assert!(dir.path().join("w-3.txt").exists());
}

#[test]
fn a_new_day_begins_a_new_file_in_its_directory() {
    let dir = dir();
    let mut file = bolt("file", &config(&dir, "%Y-%m-%d/w.txt", ""));
    file.execute(row("old", 1));
    file.flush();
    file.clock().advance(Duration::from_secs(24 * 3600));
    file.execute(row("new", 2));
    file.finish();
    assert_eq!(files(&dir.path().join("2026-01-01")), [("w.txt".to_owned(), "old\t1\n".to_owned())]);
    assert_eq!(files(&dir.path().join("2026-01-02")), [("w.txt".to_owned(), "new\t2\n".to_owned())]);
}

#[test]
fn what_a_killed_task_left_is_published_without_its_torn_row() {
    let dir = dir();
    let settings = config(&dir, "w.csv", "");
    let mut killed = bolt("file", &settings);
    killed.execute(row("kept", 1));
    killed.flush();
    drop(killed);
    let left = dir.path().join("w.csv.inprogress");
    let torn = fs::read_to_string(&left).expect("it was left") + "torn,\"ro\nw";
    fs::write(&left, torn).expect("it can be written");
    fs::write(dir.path().join("w-7.csv.inprogress"), "no whole row").expect("it can be written");
    let mut next = bolt("file", &settings);
    next.execute(row("new", 2));
    next.finish();
    check(&dir, &[("w-1.csv", "word,n\nnew,2\n"), ("w.csv", "word,n\nkept,1\n")]);
}

#[test]
fn a_file_that_is_being_written_is_not_taken_for_left_behind() {
    let dir = dir();
    let settings = config(&dir, "w.txt", "");
    let mut first = bolt("file", &settings);
    first.execute(row("first", 1));
    first.flush();
    let mut second = bolt("file", &settings);
    second.execute(row("second", 2));
    second.finish();
    first.finish();
    check(&dir, &[("w-1.txt", "second\t2\n"), ("w.txt", "first\t1\n")]);
}

#[test]
fn an_existing_file_is_never_replaced() {
    let dir = dir();
    fs::write(dir.path().join("w.txt"), "precious").expect("it can be written");
    let mut file = bolt("file", &config(&dir, "w.txt", ""));
    file.execute(row("a", 1));
    file.flush();
    fs::write(dir.path().join("w-1.txt"), "precious too").expect("it can be written");
    file.finish();
    let taken = "w-1-1.txt";
    check(&dir, &[(taken, "a\t1\n"), ("w-1.txt", "precious too"), ("w.txt", "precious")]);
}

/// Room left on the disk of the test below; it has one test, so one counter will do.
static ROOM: AtomicU64 = AtomicU64::new(0);

/// A file on a disk that fills up in the middle of a write, as real ones do.
struct FullDisk(fs::File);

impl PartFile for FullDisk {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = bytes.len().min(ROOM.load(Ordering::Relaxed) as usize);
        PartFile::write_all(&mut self.0, &bytes[..fits])?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_fails_the_rows_and_leaves_no_half_ones() {
    let dir = dir();
    let settings = toml::from_str(&config(&dir, "w.txt", "")).expect("these are settings");
    let mut sink = AckedFile::new(settings);
    sink.disk = |file| Box::new(FullDisk(file));
    let mut file = BoltHarness::new(sink);
    ROOM.store(6, Ordering::Relaxed);
    file.execute(row("a", 1));
    file.flush();
    file.execute(row("b", 2));
    file.execute(row("c", 3));
    file.flush();
    assert_eq!(file.acked(), [0]);
    assert_eq!(file.failed().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
    assert!(file.errors()[0].contains("w.txt`: no storage space"), "{:?}", file.errors());
    check(&dir, &[("w.txt.inprogress", "a\t1\n")]);
    ROOM.store(100, Ordering::Relaxed);
    file.execute(row("b", 2));
    file.finish();
    check(&dir, &[("w.txt", "a\t1\nb\t2\n")]);
}

#[test]
fn devices_are_written_to_as_they_are() {
    let mut file = bolt("file", "path = '/dev/full'");
    file.execute(row("a", 1));
    file.finish();
    assert_eq!((file.failed().len(), file.errors().len()), (1, 1), "{:?}", file.errors());
    let mut file = bolt("file", "path = '/dev/null'\nsync = false");
    file.execute(row("a", 1));
    file.finish();
    assert_eq!((file.acked(), file.errors().len()), (&[0][..], 0));
}

#[test]
fn a_directory_that_cannot_be_made_fails_the_rows() {
    let mut file = bolt("file", "path = '/dev/null/x/w.txt'");
    file.execute(row("a", 1));
    file.flush();
    assert_eq!((file.failed().len(), file.errors().len()), (1, 1));
}

#[test]
fn the_rows_of_a_csv_file_have_the_same_fields() {
    let dir = dir();
    let mut file = bolt("file", &config(&dir, "w.csv", "sync = true"));
    file.execute(row("a", 1));
    file.execute(TestTuple::new(["x"]).fields(["line"]));
    file.finish();
    assert!(file.errors()[0].contains("the columns of the file are word, n"), "{:?}", file.errors());
    check(&dir, &[("w.csv", "word,n\na,1\n")]);
}

#[test]
fn many_rows_are_written_before_the_flush() {
    let dir = dir();
    let mut file = bolt("file", &config(&dir, "w.txt", ""));
    file.execute_all((0..HELD_MAX as i64 + 5).map(|n| TestTuple::new([n])));
    assert_eq!(file.acked().len(), HELD_MAX);
}

#[test]
fn wrong_settings_are_refused() {
    for (config, why) in [
        ("path = ''", "names no file"),
        ("path = '{x}.csv'", "no placeholder"),
        ("path = 'x'\nformat = 'xml'", "unknown variant `xml`"),
        ("path = 'x'\nrotate_size = '0B'", "at least 1B"),
        ("path = 'x'\nrotate_every = '0s'", "more than nothing"),
    ] {
        let refusal = refusal("file", config);
        assert!(refusal.contains(why), "{config}: {refusal}");
    }
}
