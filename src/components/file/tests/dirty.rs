//! Rows that are visible at once, and are taken back.

use std::fs;
use std::io;

use tempfile::TempDir;

use super::{check, config, dir, files, row};
use crate::api::JournaledBolt;
use crate::components::file::dirty::DirtyFile;
use crate::components::file::part::PartFile;
use crate::components::test_support::{bolt_with, refusal};
use crate::config::Delivery;
use crate::testing::conformance::SinkCheck;
use crate::testing::{BoltHarness, HarnessOptions, Snapshot, TestTuple};
use crate::topology::registry::Registry;

fn options() -> HarnessOptions {
    HarnessOptions { delivery: Delivery::ExactlyOnce, ..HarnessOptions::default() }
}

fn settings(dir: &TempDir, path: &str) -> String {
    config(dir, path, "dirty = true")
}

fn file(dir: &TempDir, path: &str) -> BoltHarness {
    bolt_with("file", &settings(dir, path), &options())
}

fn sink(dir: &TempDir, path: &str) -> DirtyFile {
    DirtyFile::new(toml::from_str(&settings(dir, path)).expect("these are settings"))
}

fn restored(dir: &TempDir, path: &str, snapshot: &Snapshot) -> BoltHarness {
    let bolt = JournaledBolt::new(sink(dir, path));
    let restored = BoltHarness::restored(Box::new(bolt), &options(), snapshot);
    restored.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn rows_are_visible_at_once_and_clean_with_their_checkpoint() {
    let dir = dir();
    let mut file = file(&dir, "w.csv");
    file.execute(row("a", 1));
    file.flush();
    let nothing = "{\"clean_bytes\":0,\"clean_rows\":0}\n";
    check(&dir, &[("w.csv", "word,n\na,1\n"), ("w.csv.clean", nothing)]);
    file.checkpoint(1);
    file.execute(row("b", 2));
    file.flush();
    check(&dir, &[("w.csv", "word,n\na,1\nb,2\n"), ("w.csv.clean", nothing)]);
    file.committed(1);
    let one = "{\"clean_bytes\":11,\"clean_rows\":1}\n";
    check(&dir, &[("w.csv", "word,n\na,1\nb,2\n"), ("w.csv.clean", one)]);
    // Nothing was written, so there is nothing to be marked.
    file.checkpoint(2);
    file.checkpoint(3);
    file.committed(3);
    let all = "{\"clean_bytes\":15,\"clean_rows\":2}\n";
    check(&dir, &[("w.csv", "word,n\na,1\nb,2\n"), ("w.csv.clean", all)]);
    assert!(file.errors().is_empty(), "{:?}", file.errors());
}

#[test]
fn rows_after_the_checkpoint_are_taken_back_and_the_file_is_gone_on_with() {
    let dir = dir();
    let mut first = file(&dir, "w.txt");
    first.execute(row("a", 1));
    let complete = first.checkpoint(1);
    first.committed(1);
    first.execute(row("b", 2));
    first.checkpoint(2);
    first.execute(row("c", 3));
    first.flush();
    drop(first);
    let mut next = restored(&dir, "w.txt", &complete);
    let one = "{\"clean_bytes\":4,\"clean_rows\":1}\n";
    check(&dir, &[("w.txt", "a\t1\n"), ("w.txt.clean", one)]);
    next.execute(row("d", 4));
    next.flush();
    check(&dir, &[("w.txt", "a\t1\nd\t4\n"), ("w.txt.clean", one)]);
    // An earlier checkpoint than the last complete one is gone back to.
    let later = next.checkpoint(3);
    next.committed(3);
    drop(next);
    drop(restored(&dir, "w.txt", &complete));
    check(&dir, &[("w.txt", "a\t1\n"), ("w.txt.clean", one)]);
    let lost = restored(&dir, "w.txt", &later);
    assert_eq!(lost.counter("rows_unpublished"), 2, "its second row is gone");
}

#[test]
fn a_run_that_is_not_continued_leaves_its_clean_rows() {
    let dir = dir();
    fs::write(dir.path().join("w.txt"), "somebody else's").expect("it can be written");
    let mut first = file(&dir, "w.txt");
    first.execute(row("a", 1));
    first.flush();
    drop(first);
    // It had no checkpoint: its file is removed. The next one has its name.
    let mut second = file(&dir, "w.txt");
    check(&dir, &[("w.txt", "somebody else's")]);
    second.execute(row("b", 2));
    second.checkpoint(1);
    second.committed(1);
    second.execute(row("c", 3));
    second.flush();
    drop(second);
    let mut third = file(&dir, "w.txt");
    third.execute(row("d", 4));
    third.flush();
    let clean = |bytes, rows| format!("{{\"clean_bytes\":{bytes},\"clean_rows\":{rows}}}\n");
    check(
        &dir,
        &[
            ("w-1.txt", "b\t2\n"),
            ("w-1.txt.clean", &clean(4, 1)),
            ("w-2.txt", "d\t4\n"),
            ("w-2.txt.clean", &clean(0, 0)),
            ("w.txt", "somebody else's"),
        ],
    );
}

/// If a later rollback took the new file for the one that is gone, it would cut it in the middle of its rows.
#[test]
fn a_new_file_does_not_get_the_name_of_one_that_is_gone() {
    let dir = dir();
    let mut first = file(&dir, "w.txt");
    first.execute(row("a long row", 1));
    let complete = first.checkpoint(1);
    first.committed(1);
    drop(first);
    for name in ["w.txt", "w.txt.clean"] {
        fs::remove_file(dir.path().join(name)).expect("it is there");
    }
    for _ in 0..2 {
        // All tasks go back to the checkpoint, and the same rows come.
        let mut next = restored(&dir, "w.txt", &complete);
        next.execute(row("b", 2));
        next.committed(1);
        next.execute(row("c", 3));
        next.flush();
        drop(next);
    }
    let none = "{\"clean_bytes\":0,\"clean_rows\":0}\n";
    check(&dir, &[("w-1.txt", "b\t2\nc\t3\n"), ("w-1.txt.clean", none)]);
}

#[test]
fn rows_of_somebody_else_in_its_file_end_the_run() {
    let dir = dir();
    let mut lines = file(&dir, "w.txt");
    lines.execute(row("a", 1));
    lines.flush();
    let path = dir.path().join("w.txt");
    let mut other = fs::OpenOptions::new().append(true).open(path).expect("it is there");
    std::io::Write::write_all(&mut other, b"not mine\n").expect("there is room");
    lines.checkpoint(1);
    assert!(lines.errors()[0].contains("somebody else wrote to"), "{:?}", lines.errors());
}

#[test]
fn a_file_that_somebody_takes_away_ends_the_run() {
    let dir = dir();
    let mut file = file(&dir, "w.txt");
    file.execute(row("a", 1));
    file.flush();
    fs::rename(dir.path().join("w.txt"), dir.path().join("x")).expect("it is there");
    file.execute(row("b", 2));
    file.checkpoint(1);
    assert!(file.errors()[0].contains("put it back, and continue with `--resume`"), "{:?}", file.errors());
}

#[test]
fn what_does_not_go_with_dirty_is_refused() {
    assert!(
        refusal("file", "path = 'x'\ndirty = true\nrotate_size = '1KiB'").contains("does not go with dirty")
    );
    assert!(
        refusal("file", "path = 'x'\ndirty = true\nrotate_every = '1m'").contains("does not go with dirty")
    );
}

/// Every step of the protocol, with a crash after it.
#[test]
fn it_keeps_the_promises_of_a_sink_that_takes_back() {
    let dir = dir();
    let out = dir.path().to_owned();
    let config = settings(&dir, "r-{task}.jsonl");
    let (reads, cleans, empties) = (out.clone(), out.clone(), out);
    let rows = |text: &str| -> Vec<String> {
        let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("it is JSON");
        text.lines().map(|line| row(line)["row"].as_str().expect("a text").to_owned()).collect()
    };
    let visible = move || {
        let is_rows = |(name, _): &(String, String)| name.ends_with(".jsonl");
        files(&reads).into_iter().filter(is_rows).flat_map(|(_, text)| rows(&text)).collect()
    };
    let clean = move || {
        let all = files(&cleans);
        let of = |name: &str| all.iter().find(|(other, _)| other == name).map(|(_, text)| text.clone());
        let is_rows = |(name, _): &&(String, String)| name.ends_with(".jsonl");
        let clean_rows = |(name, text): &(String, String)| {
            let clean: serde_json::Value = serde_json::from_str(&of(&format!("{name}.clean"))?).ok()?;
            Some(rows(&text[..clean["clean_bytes"].as_u64()? as usize]))
        };
        all.iter().filter(is_rows).filter_map(clean_rows).flatten().collect()
    };
    let row = |row: &str| TestTuple::new([row]).fields(["row"]);
    let check = SinkCheck::registered(Registry::with_standard(), "file", &config, row, visible);
    let fresh = move || {
        for (name, _) in files(&empties) {
            fs::remove_file(empties.join(name)).expect("it can be removed");
        }
    };
    let report = check.dirty(clean).fresh(fresh).run().unwrap_or_else(|broken| panic!("{broken}"));
    assert!(report.crashes > 100, "{report:?}");
}

/// A file that cannot be synced.
struct Unsyncable(fs::File);

impl PartFile for Unsyncable {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        PartFile::write_all(&mut self.0, bytes)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Other.into())
    }
}

#[test]
fn rows_that_may_not_be_on_the_disk_end_the_run() {
    let dir = dir();
    let mut sink = sink(&dir, "w.txt");
    sink.disk = |file| Box::new(Unsyncable(file));
    let mut file =
        BoltHarness::start(Box::new(JournaledBolt::new(sink)), &options()).unwrap_or_else(|e| panic!("{e}"));
    file.execute(row("a", 1));
    file.checkpoint(1);
    assert!(file.errors()[0].contains("may not be on the disk"), "{:?}", file.errors());
    file.execute(row("b", 2));
    assert_eq!(file.errors().len(), 2, "nothing is written any more: {:?}", file.errors());
}
