//! Rows that become visible with their checkpoint, and instances that crash at every step.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::{check, config, dir, files, row};
use crate::api::{Input, SourceMeta, TwoPhaseBolt, TwoPhaseSink as _};
use crate::components::file::committed::{CommittedFile, Parts};
use crate::components::file::part::PartFile;
use crate::components::test_support::bolt_with;
use crate::config::Delivery;
use crate::ids::TaskId;
use crate::testing::conformance::SinkCheck;
use crate::testing::{BoltHarness, HarnessOptions, TestTuple};
use crate::topology::registry::Registry;
use crate::tuple::Value;

fn exactly_once() -> HarnessOptions {
    HarnessOptions { delivery: Delivery::ExactlyOnce, ..HarnessOptions::default() }
}

fn file(dir: &TempDir, path: &str, more: &str) -> BoltHarness {
    bolt_with("file", &config(dir, path, more), &exactly_once())
}

#[test]
fn rows_become_visible_with_their_checkpoint() {
    let dir = dir();
    let mut file = file(&dir, "w.csv", "");
    file.execute_all([row("a", 1), row("b,c", 2)]);
    check(&dir, &[("w.csv.pending", "")]);
    file.checkpoint(1);
    check(&dir, &[("w.csv.pending", "word,n\na,1\n\"b,c\",2\n")]);
    file.execute(row("d", 3));
    file.checkpoint(2);
    file.committed(1);
    check(&dir, &[("w-1.csv.pending", "word,n\nd,3\n"), ("w.csv", "word,n\na,1\n\"b,c\",2\n")]);
    file.checkpoint(3);
    file.committed(3);
    check(&dir, &[("w-1.csv", "word,n\nd,3\n"), ("w.csv", "word,n\na,1\n\"b,c\",2\n")]);
    file.finish();
    file.cleanup();
    assert!(file.errors().is_empty(), "{:?}", file.errors());
}

#[test]
fn files_are_rotated_within_a_checkpoint() {
    let dir = dir();
    let mut file = file(&dir, "w-{task}-{seq}.txt", "rotate_size = '4B'\nrotate_every = '1m'");
    file.execute_all([row("a", 1), row("b", 2)]);
    file.execute(TestTuple::new(["x"]));
    file.clock().advance(Duration::from_secs(60));
    file.execute(TestTuple::new(["y"]));
    file.checkpoint(1);
    let pending = files(dir.path()).into_iter().filter(|(name, _)| name.ends_with(".pending"));
    assert_eq!(pending.count(), 4, "nothing is visible before the checkpoint is complete");
    file.committed(1);
    check(
        &dir,
        &[("w-0-0.txt", "a\t1\n"), ("w-0-1.txt", "b\t2\n"), ("w-0-2.txt", "x\n"), ("w-0-3.txt", "y\n")],
    );
}

#[test]
fn a_new_hour_begins_a_new_file() {
    let dir = dir();
    let mut file = file(&dir, "%H.txt", "");
    file.execute(row("old", 1));
    file.clock().advance(Duration::from_secs(3600));
    file.execute(row("new", 2));
    file.checkpoint(1);
    file.committed(1);
    check(&dir, &[("00.txt", "old\t1\n"), ("01.txt", "new\t2\n")]);
}

#[test]
fn rows_are_written_before_the_checkpoint_when_they_are_many() {
    let dir = dir();
    let mut file = file(&dir, "w.txt", "");
    let long = "x".repeat(1000);
    file.execute_all((0..300).map(|_| TestTuple::new([&*long])));
    let written = files(dir.path())[0].1.len();
    assert!(written >= 256 << 10, "{written} bytes of 300,000 are written");
}

#[test]
fn streams_cannot_be_written_exactly_once() {
    for path in ["/dev/stdout", "/dev/null", "/dev/fd/1"] {
        let config = format!("path = '{path}'");
        let started = BoltHarness::registered(&Registry::with_standard(), "file", &config, &exactly_once());
        let error = started.err().unwrap_or_else(|| panic!("{path} is taken"));
        assert!(error.is_fatal() && error.to_string().contains("cannot be taken back"), "{error}");
    }
}

#[test]
fn a_row_that_does_not_fit_fails_and_leaves_nothing() {
    let dir = dir();
    let mut file = file(&dir, "w.csv", "");
    file.execute(row("a", 1));
    file.execute(TestTuple::new(["x"]).fields(["line"]));
    file.execute(row("b", 2));
    file.checkpoint(1);
    file.committed(1);
    assert_eq!(file.errors().len(), 1);
    check(&dir, &[("w.csv", "word,n\na,1\nb,2\n")]);
}

#[test]
fn what_somebody_removed_or_moved_is_written_again() {
    for moves in [false, true] {
        let dir = dir();
        let mut file = file(&dir, "out/in/w.txt", "");
        file.execute(row("a", 1));
        let (out, moved) = (dir.path().join("out"), dir.path().join("moved"));
        if moves { fs::rename(&out, &moved) } else { fs::remove_dir_all(&out) }.expect("it was made");
        file.checkpoint(1);
        file.committed(1);
        let text = "a\t1\n".to_owned();
        assert_eq!(files(&dir.path().join("out/in")), [("w.txt".to_owned(), text)], "moved: {moves}");
        assert_eq!((file.counter("files_rewritten"), file.counter("rows_unpublished")), (1, 0));
    }
}

// ---- Disks that fail ----

/// A disk that takes so many bytes of each write and file, and fails to make them durable.
struct Disk<const ROOM: usize, const SYNCS: bool>(fs::File);

impl<const ROOM: usize, const SYNCS: bool> PartFile for Disk<ROOM, SYNCS> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let used = self.0.metadata()?.len() as usize;
        let fits = bytes.len().min(ROOM.saturating_sub(used));
        PartFile::write_all(&mut self.0, &bytes[..fits])?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        if SYNCS { Ok(()) } else { Err(io::Error::other("the disk is broken")) }
    }
}

fn on_disk<const ROOM: usize, const SYNCS: bool>(dir: &TempDir) -> BoltHarness {
    let settings = toml::from_str(&config(dir, "w.txt", "")).expect("these are settings");
    let mut sink = CommittedFile::new(settings);
    sink.disk = |file| Box::new(Disk::<ROOM, SYNCS>(file));
    let started = BoltHarness::start(Box::new(TwoPhaseBolt::new(sink)), &exactly_once());
    started.unwrap_or_else(|error| panic!("it cannot be prepared: {error}"))
}

/// Each row has 1001 bytes, and 262 of them are written together.
#[test]
fn a_full_disk_fails_the_row_and_no_other() {
    let dir = dir();
    let mut file = on_disk::<1000, true>(&dir);
    let long = "x".repeat(1000);
    for _ in 0..263 {
        file.execute(TestTuple::new([&*long]));
    }
    assert_eq!(file.errors().len(), 2, "{:?}", file.errors());
    file.checkpoint(1);
    assert_eq!(file.errors().len(), 3, "the checkpoint fails: its rows are not on the disk");
    assert_eq!(files(dir.path())[0].1, "", "and none of them is there in part");
}

#[test]
fn a_disk_that_does_not_sync_ends_the_run() {
    let dir = dir();
    let mut file = on_disk::<1000, false>(&dir);
    file.execute(row("a", 1));
    file.checkpoint(1);
    file.checkpoint(2);
    file.committed(2);
    assert_eq!(file.errors().len(), 2, "it fails again, though nothing new was written");
    assert!(file.errors()[0].contains("may not be on the disk: the disk is broken"), "{:?}", file.errors());
    check(&dir, &[("w.txt.pending", "a\t1\n")]);
}

// ---- What others do to files that wait ----

#[test]
fn a_name_that_somebody_took_is_not_replaced() {
    let dir = dir();
    let mut file = file(&dir, "w.txt", "");
    file.execute(row("a", 1));
    file.checkpoint(1);
    fs::write(dir.path().join("w.txt"), "precious").expect("the name is free");
    file.committed(1);
    file.committed(1);
    check(&dir, &[("w-1.txt", "a\t1\n"), ("w.txt", "precious")]);
}

#[test]
fn rows_of_a_checkpoint_that_are_gone_or_cut_are_counted_as_lost() {
    for cut in [false, true] {
        let dir = dir();
        let mut file = file(&dir, "w.txt", "");
        file.execute_all([row("a", 1), row("b", 2)]);
        file.checkpoint(1);
        let pending = dir.path().join("w.txt.pending");
        if cut { fs::write(&pending, "a\t1") } else { fs::remove_file(&pending) }.expect("it is there");
        file.committed(1);
        file.committed(1);
        assert_eq!(file.counter("rows_unpublished"), 2);
        assert!(!dir.path().join("w.txt").exists(), "a file that was cut is not shown");
    }
}

/// Acked rows and rows of no checkpoint must not be taken for each other when `delivery` was changed.
#[test]
fn files_that_the_other_mode_left_stay_as_they_are() {
    let dir = dir();
    let mut acked = bolt_with("file", &config(&dir, "w.txt", ""), &HarnessOptions::default());
    acked.execute(row("acked", 1));
    acked.flush();
    drop(acked);
    let mut pending = file(&dir, "w.txt", "");
    pending.execute(row("pending", 2));
    pending.checkpoint(1);
    drop(pending);
    let names = || files(dir.path()).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(), ["w.txt.inprogress", "w.txt.pending"]);
    drop(bolt_with("file", &config(&dir, "w.txt", ""), &HarnessOptions::default()));
    assert_eq!(names(), ["w.txt", "w.txt.pending"]);
    drop(file(&dir, "w.txt", ""));
    assert_eq!(names(), ["w.txt"], "no checkpoint has the other");
}

// ---- Crashes ----

/// A directory that instances of the sink write to, one after the other, and the last complete checkpoint. An
/// instance has nothing but that.
struct World {
    dir: TempDir,
    more: &'static str,
    /// The transactions that the checkpoint has, as it keeps them.
    checkpoint: Vec<String>,
    /// The rows of all complete checkpoints.
    complete: Vec<i64>,
}

/// Where an instance ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Writing,
    PreCommitted,
    /// The checkpoint is complete, and so many parts are published.
    Published(usize),
    /// All are. The instance may go on.
    Committed,
}

impl World {
    fn new(more: &'static str) -> World {
        World { dir: dir(), more, checkpoint: Vec::new(), complete: Vec::new() }
    }

    fn transactions(&self) -> Vec<Parts> {
        self.checkpoint.iter().map(|kept| serde_json::from_str(kept).expect("it was kept")).collect()
    }

    /// A new instance, up to its first row.
    fn start(&self) -> CommittedFile {
        let settings =
            toml::from_str(&config(&self.dir, "out/w.txt", self.more)).expect("these are settings");
        let mut sink = CommittedFile::new(settings);
        sink.prepare(&exactly_once().task_context()).expect("it can be prepared");
        let transactions = self.transactions();
        sink.abort_others(&transactions).expect("what was left can be removed");
        transactions.iter().for_each(|parts| sink.commit(parts).expect("it can be published"));
        sink
    }

    fn write(&self, sink: &mut CommittedFile) -> Parts {
        let mut parts = sink.begin().expect("nothing is written yet");
        for nth in 0..3 {
            write(sink, &mut parts, (self.complete.len() + nth) as i64);
        }
        parts
    }

    /// Takes a checkpoint, up to the crash.
    fn run(&mut self, sink: &mut CommittedFile, crash: Crash) {
        let mut parts = self.write(sink);
        if crash == Crash::Writing {
            return;
        }
        sink.pre_commit(&mut parts).expect("there is room");
        if crash == Crash::PreCommitted {
            return;
        }
        self.checkpoint = vec![serde_json::to_string(&parts).expect("it can be kept")];
        let first = self.complete.len() as i64;
        self.complete.extend(first..first + 3);
        if let Crash::Published(count) = crash {
            parts.0.truncate(count);
        }
        sink.commit(&parts).expect("it can be published");
    }

    /// The rows in files with their final names, and the number of other files.
    fn found(&self) -> (Vec<i64>, usize) {
        let out = self.dir.path().join("out");
        let found = if out.exists() { files(&out) } else { Vec::new() };
        let (published, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(name, _)| name.ends_with(".txt"));
        let rows = published.iter().flat_map(|(_, text)| text.lines());
        let mut rows: Vec<i64> = rows.map(|row| row.parse().expect("a row is a number")).collect();
        rows.sort_unstable();
        (rows, others.len())
    }
}

fn write(sink: &mut CommittedFile, parts: &mut Parts, n: i64) {
    let meta = Arc::new(SourceMeta {
        component: "numbers".into(),
        stream: "default".into(),
        stream_index: 0,
        task: TaskId(0),
        fields: ["n"].into(),
    });
    sink.write(parts, Input::owned(&mut [Value::from(n)], &meta)).expect("there is room");
}

/// A file for each row, one for all, and one for each two.
const ROTATIONS: [&str; 3] = ["rotate_size = '1B'", "", "rotate_size = '3B'"];

/// Each pair of crashes, with transactions of one part and of several: what readers see is never more than the
/// complete checkpoints have, and as soon as the next instance has begun, it is just that.
#[test]
fn published_files_have_the_rows_of_complete_checkpoints_whatever_crashes() {
    let crashes = [
        Crash::Writing,
        Crash::PreCommitted,
        Crash::Published(0),
        Crash::Published(1),
        Crash::Published(2),
        Crash::Committed,
    ];
    let pairs = crashes.iter().flat_map(|first| crashes.map(|second| [*first, second]));
    for (sequence, more) in pairs.flat_map(|pair| ROTATIONS.map(|more| (pair, more))) {
        let mut world = World::new(more);
        for crash in sequence {
            let mut sink = world.start();
            assert_eq!(world.found(), (world.complete.clone(), 0), "{sequence:?} {more}: at {crash:?}");
            world.run(&mut sink, crash);
            let (rows, _) = world.found();
            assert!(rows.iter().all(|row| world.complete.contains(row)), "{sequence:?} {more}: {rows:?}");
        }
        drop(world.start());
        assert_eq!(world.found(), (world.complete.clone(), 0), "{sequence:?} {more}");
    }
}

#[test]
fn an_instance_that_goes_on_publishes_each_checkpoint() {
    let mut world = World::new("rotate_size = '3B'");
    let mut sink = world.start();
    for _ in 0..4 {
        world.run(&mut sink, Crash::Committed);
        assert_eq!(world.found(), (world.complete.clone(), 0));
    }
}

/// A reader took the published file away, and its number was free again. Had the next instance used it, its file
/// would have had the name of a part of the checkpoint, and the instance after it would have published it.
#[test]
fn a_name_of_the_checkpoint_is_not_given_to_a_part_of_none() {
    let mut world = World::new("");
    world.run(&mut world.start(), Crash::Committed);
    fs::remove_file(world.dir.path().join("out/w.txt")).expect("it was published");
    let mut sink = world.start();
    world.run(&mut sink, Crash::PreCommitted);
    assert_eq!(world.found(), (Vec::new(), 1));
    drop(sink);
    drop(world.start());
    assert_eq!(world.found(), (Vec::new(), 0));
}

/// Another process that writes under the same names is not disturbed, also between its checkpoints.
#[test]
fn parts_that_have_a_writer_are_left_alone() {
    let mut world = World::new("rotate_size = '3B'");
    let mut first = world.start();
    let mut parts = world.write(&mut first);
    drop(world.start());
    first.pre_commit(&mut parts).expect("there is room");
    drop(world.start());
    first.commit(&parts).expect("it can be published");
    assert_eq!(world.found(), (vec![0, 1, 2], 0));
    world.run(&mut first, Crash::Writing);
    drop(first);
    drop(world.start());
    assert_eq!(world.found(), (vec![0, 1, 2], 0), "nobody writes the others any more");
}

/// Where the file system cannot rename to a free name, a file has both names for a moment.
#[test]
fn a_crash_between_two_names_is_completed() {
    let mut world = World::new("");
    world.run(&mut world.start(), Crash::Published(0));
    let out = world.dir.path().join("out");
    fs::hard_link(out.join("w.txt.pending"), out.join("w.txt")).expect("the name is free");
    drop(world.start());
    assert_eq!(world.found(), (vec![0, 1, 2], 0));
}

/// Crashed at every step of the protocol of a sink.
#[test]
fn a_sink_that_crashes_anywhere_publishes_each_row_once() {
    let dir = tempfile::tempdir().expect("there is room");
    let (read, emptied) = (dir.path().to_owned(), dir.path().to_owned());
    let config = format!("path = \"{}/{{seq}}.jsonl\"", dir.path().display());
    let visible = move || {
        let files = fs::read_dir(&read).expect("it is there").map(|file| file.expect("it is there").path());
        let published = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        let rows = published.flat_map(|path| {
            let text = fs::read_to_string(path).expect("it is text");
            let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("it is JSON");
            text.lines().map(|line| row(line)["row"].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
        });
        rows.collect()
    };
    let row = |row: &str| TestTuple::new([row]).fields(["row"]);
    let check = SinkCheck::registered(Registry::with_standard(), "file", &config, row, visible);
    let fresh = move || {
        for file in fs::read_dir(&emptied).expect("it is there") {
            fs::remove_file(file.expect("it is there").path()).expect("it can be removed");
        }
    };
    let report = check.fresh(fresh).run().unwrap_or_else(|broken| panic!("{broken}"));
    assert!(report.crashes > 100, "{report:?}");
}
