//! What other programs do to a file, a directory or a pipe while it is written, and what stands in
//! the way.

use std::fs;
use std::io;
use std::path::Path;

use super::{check, config, dir, files, row};
use crate::components::file::acked::AckedFile;
use crate::components::file::part::PartFile;
use crate::components::test_support::{bolt, bolt_with};
use crate::testing::{BoltHarness, HarnessOptions};

// ---- What happens to a file while it is written ----

fn is_counted(file: &BoltHarness, expected: u64) {
    assert_eq!(file.counter("rows_unpublished"), expected, "{:?}", file.errors());
}

/// The directory was removed, and the rename at the end failed: all rows were gone, with exit 0.
#[test]
fn rows_of_a_removed_directory_are_written_again() {
    let dir = dir();
    let mut file = bolt("file", &config(&dir, "out/w.csv", ""));
    file.execute(row("a", 1));
    file.flush();
    fs::remove_dir_all(dir.path().join("out")).expect("it can be removed");
    file.execute(row("b", 2));
    file.flush();
    assert_eq!(file.acked(), [0, 1]);
    fs::remove_dir_all(dir.path().join("out")).expect("it was made again");
    file.finish();
    let text = "word,n\na,1\nb,2\n".to_owned();
    assert_eq!(files(&dir.path().join("out")), [("w.csv".to_owned(), text)]);
    assert_eq!(file.counter("files_rewritten"), 2);
    is_counted(&file, 0);
}

#[test]
fn rows_of_a_renamed_part_are_written_again() {
    let dir = dir();
    let mut file = bolt("file", &config(&dir, "w.txt", ""));
    file.execute(row("a", 1));
    file.flush();
    fs::rename(dir.path().join("w.txt.inprogress"), dir.path().join("taken")).expect("it can be renamed");
    fs::write(dir.path().join("w.txt.inprogress"), "not squall's").expect("it can be written");
    file.finish();
    check(&dir, &[("taken", "a\t1\n"), ("w-1.txt", "a\t1\n"), ("w.txt.inprogress", "not squall's")]);
    is_counted(&file, 0);
}

#[test]
fn a_file_is_published_where_its_directory_was_moved() {
    let dir = dir();
    let mut file = bolt("file", &config(&dir, "out/w.txt", ""));
    file.execute(row("a", 1));
    file.flush();
    fs::rename(dir.path().join("out"), dir.path().join("moved")).expect("it can be renamed");
    file.execute(row("b", 2));
    file.finish();
    assert_eq!(files(&dir.path().join("moved")), [("w.txt".to_owned(), "a\t1\nb\t2\n".to_owned())]);
    assert!(!dir.path().join("out").exists());
    is_counted(&file, 0);
}

#[test]
fn rows_that_cannot_be_written_again_are_counted_as_lost() {
    let dir = dir();
    let mut file = bolt("file", &config(&dir, "out/w.txt", ""));
    file.execute_all([row("a", 1), row("b", 2)]);
    file.flush();
    fs::remove_dir_all(dir.path().join("out")).expect("it can be removed");
    fs::write(dir.path().join("out"), "in the way").expect("it can be written");
    file.finish();
    is_counted(&file, 2);
    assert!(file.errors()[0].contains("its 2 rows are lost"), "{:?}", file.errors());
}

#[test]
fn a_file_that_somebody_cut_is_not_published_as_if_it_were_whole() {
    let dir = dir();
    let mut file = bolt("file", &config(&dir, "w.txt", ""));
    file.execute(row("a", 1));
    file.flush();
    fs::write(dir.path().join("w.txt.inprogress"), "").expect("it can be written");
    file.finish();
    is_counted(&file, 1);
    assert!(file.errors()[0].contains("somebody else cut it from 4 to 0 bytes"), "{:?}", file.errors());
}

#[test]
fn nothing_is_published_when_nothing_was_written() {
    let dir = dir();
    let settings = toml::from_str(&config(&dir, "w.txt", "")).expect("these are settings");
    let mut sink = AckedFile::new(settings);
    sink.disk = |file| Box::new(NoRoom(file));
    let mut file = BoltHarness::new(sink);
    file.execute(row("a", 1));
    file.finish();
    assert_eq!(file.failed().len(), 1);
    check(&dir, &[]);
}

/// A disk without any room.
struct NoRoom(fs::File);

impl PartFile for NoRoom {
    fn write_all(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that fills up, and on which a file cannot even be cut the first time.
struct Stubborn {
    file: fs::File,
    writes: u32,
    cuts: u32,
}

impl PartFile for Stubborn {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writes += 1;
        if self.writes != 2 {
            return PartFile::write_all(&mut self.file, bytes);
        }
        PartFile::write_all(&mut self.file, &bytes[..1])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.cuts += 1;
        if self.cuts == 1 { Err(io::ErrorKind::StorageFull.into()) } else { self.file.set_len(len) }
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A torn row stayed in the file when it could not be cut off at once.
#[test]
fn a_torn_row_is_cut_off_before_the_next() {
    let dir = dir();
    let settings = toml::from_str(&config(&dir, "w.txt", "")).expect("these are settings");
    let mut sink = AckedFile::new(settings);
    sink.disk = |file| Box::new(Stubborn { file, writes: 0, cuts: 0 });
    let mut file = BoltHarness::new(sink);
    for (word, n) in [("a", 1), ("b", 2), ("b", 2)] {
        file.execute(row(word, n));
        file.flush();
    }
    file.finish();
    assert_eq!((file.acked(), file.failed().len()), (&[0, 2][..], 1));
    check(&dir, &[("w.txt", "a\t1\nb\t2\n")]);
}

// ---- What is in the way ----

/// The target of a link planted as `X.inprogress` was cut.
#[test]
fn a_planted_link_is_neither_followed_nor_replaced() {
    let dir = dir();
    let target = dir.path().join("precious");
    fs::write(&target, "no line end").expect("it can be written");
    std::os::unix::fs::symlink(&target, dir.path().join("w.txt.inprogress")).expect("it can be made");
    fs::write(dir.path().join("other"), "no line end").expect("it can be written");
    fs::hard_link(dir.path().join("other"), dir.path().join("w-1.txt.inprogress")).expect("it can be made");
    let mut file = bolt("file", &config(&dir, "w.txt", ""));
    file.execute(row("a", 1));
    file.finish();
    check(
        &dir,
        &[
            ("other", "no line end"),
            ("precious", "no line end"),
            ("w-1.txt.inprogress", "no line end"),
            ("w-2.txt", "a\t1\n"),
            ("w.txt.inprogress", "no line end"),
        ],
    );
}

#[test]
fn a_name_that_is_taken_while_the_file_is_written_is_left_alone() {
    let dir = dir();
    let mut file = bolt("file", &config(&dir, "w.txt", ""));
    file.execute(row("a", 1));
    file.flush();
    std::os::unix::fs::symlink("nowhere", dir.path().join("w.txt")).expect("it can be made");
    file.finish();
    assert!(fs::symlink_metadata(dir.path().join("w.txt")).is_ok_and(|found| found.is_symlink()));
    check(&dir, &[("w-1.txt", "a\t1\n")]);
}

#[test]
fn what_no_waiting_mends_is_reported() {
    let dir = dir();
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling.txt")).expect("it can be made");
    fs::create_dir(dir.path().join("directory.txt")).expect("it can be made");
    fs::write(dir.path().join("plain"), "").expect("it can be written");
    for (path, why) in [
        ("dangling.txt", "is a symbolic link that leads nowhere"),
        ("directory.txt", "is a directory"),
        ("plain/w.txt", "Not a directory"),
    ] {
        let mut file = bolt("file", &config(&dir, path, ""));
        file.execute(row("a", 1));
        file.flush();
        let failed = file.failed().len();
        assert!(
            (failed, file.errors().len()) == (1, 1) && file.errors()[0].contains(why),
            "{:?}",
            file.errors()
        );
    }
}

// ---- Streams ----

#[test]
fn all_tasks_write_to_the_same_stream() {
    let options = HarnessOptions { task_index: 1, parallelism: 2, ..HarnessOptions::default() };
    let mut file = bolt_with("file", "path = '/dev/null'\nsync = true", &options);
    file.execute(row("a", 1));
    file.finish();
    assert_eq!((file.acked(), file.errors().len()), (&[0][..], 0));
    assert!(!Path::new("/dev/null-1").exists());
}

#[test]
fn a_pipe_that_nobody_reads_fails_the_rows_until_somebody_does() {
    let dir = dir();
    let path = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .expect("a pipe can be made");
    let mut file = bolt("file", &config(&dir, "pipe", "format = 'csv'"));
    file.execute(row("a", 1));
    file.flush();
    assert!(file.errors()[0].contains("nobody reads this pipe yet"), "{:?}", file.errors());
    let open = || {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).expect("it can be opened")
    };
    let read = |reader: &std::os::fd::OwnedFd| {
        let mut bytes = [0; 100];
        let len = rustix::io::read(reader, &mut bytes).expect("something was written");
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    };
    let first = open();
    file.execute(row("b", 2));
    file.flush();
    assert_eq!(read(&first), "word,n\nb,2\n");
    drop(first);
    file.execute(row("c", 3));
    file.flush();
    let second = open();
    file.execute(row("d", 4));
    file.finish();
    assert_eq!(read(&second), "word,n\nd,4\n");
    assert_eq!((file.acked(), file.failed().len(), file.drain_requested()), (&[1, 3][..], 2, false));
}
