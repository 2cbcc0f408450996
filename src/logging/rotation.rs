//! Log files that do not grow without end: when one has reached its size, it becomes `NAME.1`, the `NAME.1` before becomes
//! `NAME.2`, and so on; the oldest is removed.
//!
//! * [`RotatingFile`]: a file that this process writes. It is renamed, so nothing of it is lost.
//! * [`rotate_by_copy`]: a file that another process appends to and does not open again, for example as its stdout. It is
//!   copied, and then the blocks that were copied are cut off from its beginning, in one call of the file system. What
//!   the other process writes meanwhile stays, so nothing is lost. Not all file systems can do that (ext4 and XFS can,
//!   tmpfs and btrfs cannot). There the rest is copied, too, and the file is emptied: what is
//!   written between the end of the copy and that moment, which is microseconds, is lost.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

/// A log file of this process, for its owner alone. What is handed over in one piece stands in one file.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    size_max: u64,
    keep: usize,
    file: File,
    /// Bytes in the file.
    size: u64,
    /// From which size on it is renamed. If that fails, the file grows until the next attempt.
    rename_at: u64,
}

impl RotatingFile {
    /// Opens a file, or makes it, and appends to it. From `size_max` bytes on it is renamed before more is written;
    /// `keep` files that were renamed are kept.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: impl Into<PathBuf>, size_max: u64, keep: usize) -> io::Result<RotatingFile> {
        let path = path.into();
        let file = open(&path)?;
        let size = file.metadata()?.len();
        Ok(RotatingFile { path, size_max, keep, file, size, rename_at: size_max })
    }

    fn rotate(&mut self) -> io::Result<()> {
        make_room(&self.path, self.keep)?;
        if self.keep == 0 {
            self.file.set_len(0)?;
        } else {
            fs::rename(&self.path, numbered(&self.path, 1))?;
            self.file = open(&self.path)?;
        }
        self.size = 0;
        Ok(())
    }
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size.saturating_add(bytes.len() as u64) > self.rename_at {
            // A log that is too long is better than none.
            let is_renamed = self.rotate().is_ok();
            self.rename_at = if is_renamed { self.size_max } else { self.size.saturating_add(self.size_max) };
        }
        self.size = self.size.saturating_add(bytes.len() as u64);
        self.file.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Begins a file anew that another process appends to, if it has more than `size_max` bytes, and keeps what it had; `keep`
/// such files are kept. Returns whether it did. A file that is not there has nothing. Up to a block of the file system may
/// stay in the file, and its first line may have its begin in the file that is kept.
///
/// # Errors
/// When it cannot be copied or cut. Nothing is lost then.
pub fn rotate_by_copy(path: &Path, size_max: u64, keep: usize) -> io::Result<bool> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let found = file.metadata()?;
    if found.len() <= size_max {
        return Ok(false);
    }
    if keep == 0 {
        file.set_len(0)?;
        return Ok(true);
    }
    let whole_blocks = whole_blocks(found.len(), found.blksize());
    let unfinished = numbered(path, 0);
    let mut copy =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    io::copy(&mut (&mut file).take(whole_blocks), &mut copy)?;
    make_room(path, keep)?;
    fs::rename(&unfinished, numbered(path, 1))?;
    if whole_blocks == 0 || fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, whole_blocks).is_err() {
        // This file system cannot do that.
        io::copy(&mut file, &mut copy)?;
        file.set_len(0)?;
    }
    Ok(true)
}

/// How much of a file of this length can be cut off: whole blocks, and less than all of it.
fn whole_blocks(len: u64, block: u64) -> u64 {
    let block = block.max(1);
    len.saturating_sub(1) / block * block
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Renames the files that are kept, so that number 1 is free, and removes the oldest one.
fn make_room(path: &Path, keep: usize) -> io::Result<()> {
    for number in (1..keep).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The name of a file that is kept: 1 is the latest.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(directory).expect("it is there");
        let mut files: Vec<(String, String)> = entries
            .map(|entry| {
                let path = entry.expect("it can be read").path();
                let name = path.file_name().expect("it has one").to_string_lossy().into_owned();
                (name, fs::read_to_string(&path).unwrap_or_default())
            })
            .collect();
        files.sort();
        files
    }

    #[track_caller]
    fn check(directory: &Path, expected: &[(&str, &str)]) {
        let expected: Vec<(String, String)> =
            expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        assert_eq!(files(directory), expected);
    }

    #[test]
    fn a_file_is_renamed_before_it_is_too_long_and_the_oldest_is_removed() {
        let place = tempfile::tempdir().expect("a directory");
        let mut log = RotatingFile::open(place.path().join("log"), 8, 2).expect("it is made");
        for line in ["one\n", "two\n", "three\n", "a longer one\n", "4\n", "5\n"] {
            log.write_all(line.as_bytes()).expect("it is written");
        }
        check(place.path(), &[("log", "4\n5\n"), ("log.1", "a longer one\n"), ("log.2", "three\n")]);
        drop(log);
        let mut log = RotatingFile::open(place.path().join("log"), 8, 2).expect("it is there");
        log.write_all(b"678\n").expect("it is written");
        log.write_all(b"9\n").expect("it is written");
        check(place.path(), &[("log", "9\n"), ("log.1", "4\n5\n678\n"), ("log.2", "a longer one\n")]);
    }

    #[test]
    fn without_files_that_are_kept_it_begins_anew() {
        let place = tempfile::tempdir().expect("a directory");
        let mut log = RotatingFile::open(place.path().join("log"), 8, 0).expect("it is made");
        log.write_all(b"1234567\n").expect("it is written");
        log.write_all(b"8\n").expect("it is written");
        check(place.path(), &[("log", "8\n")]);
    }

    #[test]
    fn if_it_cannot_be_renamed_it_grows_and_nothing_is_lost() {
        let place = tempfile::tempdir().expect("a directory");
        let mut log = RotatingFile::open(place.path().join("log"), 8, 1).expect("it is made");
        fs::create_dir(place.path().join("log.1")).expect("it can be made");
        for number in 1..=4 {
            writeln!(log, "line {number}").expect("it is written");
        }
        check(place.path(), &[("log", "line 1\nline 2\nline 3\nline 4\n"), ("log.1", "")]);
        fs::remove_dir(place.path().join("log.1")).expect("it can be removed");
        log.write_all(b"and on and on\n").expect("it is written");
        check(place.path(), &[("log", "and on and on\n"), ("log.1", "line 1\nline 2\nline 3\nline 4\n")]);
    }

    #[test]
    fn a_file_of_another_writer_is_copied_and_emptied() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("output");
        assert!(!rotate_by_copy(&path, 4, 2).expect("there is none"));
        // Who writes it does not open it again.
        let mut theirs = open(&path).expect("it is made");
        // Less than a block is copied and emptied.
        for (line, is_rotated) in [("1234", false), ("5\n", true), ("678901\n", true), ("abcdef\n", true)] {
            theirs.write_all(line.as_bytes()).expect("it is written");
            assert_eq!(rotate_by_copy(&path, 4, 2).expect("it is there"), is_rotated, "{line}");
        }
        theirs.write_all(b"g\n").expect("it is written");
        check(place.path(), &[("output", "g\n"), ("output.1", "abcdef\n"), ("output.2", "678901\n")]);
        assert!(!rotate_by_copy(&path, 2, 0).expect("it is there"));
        assert!(rotate_by_copy(&path, 1, 0).expect("it is there"));
        check(place.path(), &[("output", ""), ("output.1", "abcdef\n"), ("output.2", "678901\n")]);
    }

    #[test]
    fn only_whole_blocks_are_cut_off_and_never_all_of_a_file() {
        for (len, expected) in [(0, 0), (1, 0), (4096, 0), (4097, 4096), (8192, 4096), (10_000, 8192)] {
            assert_eq!(whole_blocks(len, 4096), expected, "{len}");
        }
        assert_eq!(whole_blocks(10, 0), 9);
    }

    /// A process that printed while its file was emptied lost what it wrote in that moment.
    #[test]
    fn what_is_written_while_a_file_is_rotated_is_not_lost() {
        use std::sync::atomic::{AtomicBool, Ordering};

        const LINES: usize = 20_000;
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("output");
        let mut theirs = open(&path).expect("it is made");
        let probe = File::create(place.path().join("probe")).expect("it is made");
        probe.set_len(1 << 20).expect("it is ours");
        if fallocate(&probe, FallocateFlags::COLLAPSE_RANGE, 0, 1 << 16).is_err() {
            eprintln!("SKIPPED: the file system of `{}` cannot cut off the begin of a file", path.display());
            return;
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..LINES {
                    theirs.write_all(format!("line {number:6}\n").as_bytes()).expect("it is written");
                }
                is_over.store(true, Ordering::Release);
            });
            while !is_over.load(Ordering::Acquire) {
                rotate_by_copy(&path, 4096, 1000).expect("it is there");
            }
        });
        rotate_by_copy(&path, 4096, 1000).expect("it is there");
        let kept = (1..=1000).rev().map(|number| numbered(&path, number)).filter(|path| path.exists());
        let all: String =
            kept.chain([path.clone()]).map(|path| fs::read_to_string(path).expect("it is text")).collect();
        let expected: String = (0..LINES).map(|number| format!("line {number:6}\n")).collect();
        assert!(all == expected, "{} bytes of {} are there", all.len(), expected.len());
        assert!(numbered(&path, 1).exists() && path.metadata().expect("it is there").len() <= 8192);
    }
}
