//! Followed files that cannot be read, are copied and truncated, or are no files to follow. One
//! unreadable file used to keep all others from being read, and copies were read twice.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use crate::components::lines::backoff::PAUSE_MAX;
use crate::components::lines::copies::COPY_SILENCE;
use crate::components::lines::tests::{POLL, append, dir, drain, path, write};
use crate::components::lines::unpack::tests::gzip;
use crate::components::test_support::spout;
use crate::testing::SpoutHarness;

/// A spout that follows what a pattern matches in a directory.
struct Followed {
    dir: TempDir,
    lines: SpoutHarness,
}

impl Followed {
    fn start(files: &[(&str, &str)], pattern: &str, more: &str) -> Followed {
        let dir = dir();
        files.iter().for_each(|(name, text)| write(&dir, name, text));
        let lines = spout("lines", &format!("{}\nfollow = true\n{more}", path(&dir, pattern)));
        Followed { dir, lines }
    }

    /// What comes of the next look at the directory.
    fn next_scan(&mut self) -> Vec<String> {
        self.lines.clock().advance(POLL);
        drain(&mut self.lines, self.dir.path())
    }

    fn now(&mut self) -> Vec<String> {
        drain(&mut self.lines, self.dir.path())
    }

    /// What `copytruncate` does, with what a writer writes meanwhile.
    fn copy(&self, from: &str, to: &str) {
        fs::copy(self.dir.path().join(from), self.dir.path().join(to)).expect("it can be copied");
    }

    /// What was lost by the end.
    fn losses(mut self) -> (u64, u64) {
        self.lines.close();
        (self.lines.counter("files_not_read"), self.lines.counter("files_cut_short"))
    }
}

#[test]
fn a_name_that_leads_nowhere_holds_up_no_other_file_and_is_tried_again() {
    let mut followed = Followed::start(&[("a", "1\n"), ("c", "3\n")], "*", "");
    symlink("later", followed.dir.path().join("b")).expect("a link can be made");
    assert_eq!(followed.now(), ["1", "3"]);
    for _ in 0..20 {
        assert!(followed.next_scan().is_empty());
    }
    append(&followed.dir, "c", "4\n");
    assert_eq!(followed.now(), ["4"], "the others are read all the while");
    assert_eq!(followed.lines.errors().len(), 1, "it is reported once: {:?}", followed.lines.errors());
    let retries = followed.lines.counter("read_retries");
    assert!((3..10).contains(&retries), "20 scans, with back-off, made {retries} attempts");
    write(&followed.dir, "later", "2\n");
    assert_eq!(followed.next_scan(), ["2"]);
    assert_eq!(followed.losses(), (0, 0), "in the end nothing was lost");
}

#[test]
fn what_still_cannot_be_read_at_the_end_is_lost() {
    let followed = Followed::start(&[("a", "1\n")], "*", "");
    symlink("/nonexistent/target", followed.dir.path().join("b")).expect("a link can be made");
    let mut followed = followed;
    assert_eq!(followed.now(), ["1"]);
    assert_eq!(followed.losses(), (1, 0));
}

#[test]
fn a_file_that_fails_to_be_read_is_tried_again_with_longer_pauses() {
    let dir = dir();
    write(&dir, "a", "1\n");
    // A process's memory is a regular file of length 0 whose first page is an I/O error.
    let config = format!("path = ['/proc/self/mem', '{}']\nfollow = true", dir.path().join("a").display());
    let mut lines = spout("lines", &config);
    assert_eq!(drain(&mut lines, dir.path()), ["1"]);
    for _ in 0..400 {
        lines.clock().advance(POLL);
        assert!(drain(&mut lines, dir.path()).is_empty());
    }
    let retries = lines.counter("read_retries");
    let pauses_max = 400 * POLL.as_millis() / PAUSE_MAX.as_millis();
    let attempts = pauses_max..pauses_max + 10;
    assert!(attempts.contains(&u128::from(retries)), "100 s made {retries} attempts, not {attempts:?}");
    assert_eq!(lines.errors().len(), 1, "{:?}", lines.errors());
    lines.close();
    assert_eq!(lines.counter("files_not_read"), 1);
}

#[test]
fn what_cannot_grow_is_refused_by_name() {
    let followed = Followed::start(&[("a.log", "1\n")], "a.log*", "");
    fs::write(followed.dir.path().join("a.log.gz"), gzip(b"0\n")).expect("it can be written");
    fs::write(followed.dir.path().join("a.log.utf16"), b"\xFF\xFE1\0\n\0").expect("it can be written");
    let mut followed = followed;
    assert_eq!(followed.now(), ["1"]);
    append(&followed.dir, "a.log", "2\n");
    assert_eq!(followed.next_scan(), ["2"]);
    let errors = followed.lines.errors().join("\n");
    assert!(errors.contains("a.log.gz`: it is compressed by gzip") && errors.contains("UTF-16"), "{errors}");
    assert_eq!(followed.lines.errors().len(), 2, "each is named once");
    assert_eq!(followed.losses(), (2, 0));

    let mut followed = Followed::start(&[("a", "1\n")], "*", "");
    let pipe = followed.dir.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    assert_eq!(followed.now(), ["1"]);
    assert!(followed.lines.errors()[0].contains("only regular files"), "{:?}", followed.lines.errors());
    assert_eq!(followed.losses(), (1, 0));
}

#[test]
fn a_byte_order_mark_is_no_data_whenever_it_comes() {
    let mut followed = Followed::start(&[("a", "\u{feff}1\n"), ("b", "")], "*", "");
    assert_eq!(followed.now(), ["1"]);
    for piece in [&b"\xEF"[..], b"\xBB", b"\xBF2\n"] {
        let file = OpenOptions::new().append(true).open(followed.dir.path().join("b"));
        file.and_then(|mut file| file.write_all(piece)).expect("it can be appended to");
        let rows = followed.now();
        assert_eq!(rows, if piece.len() > 1 { vec!["2".to_owned()] } else { vec![] });
    }
    write(&followed.dir, "a", "\u{feff}");
    assert!(followed.next_scan().is_empty());
    append(&followed.dir, "a", "3\n");
    assert_eq!(followed.next_scan(), ["3"], "after a truncation, too");
}

#[test]
fn a_copy_made_before_a_truncation_is_not_read_again() {
    let mut followed = Followed::start(&[("app.log", "1\n2\n3\n")], "app.log*", "meta = true");
    assert_eq!(followed.now(), ["1 app.log 1", "2 app.log 2", "3 app.log 3"]);
    followed.copy("app.log", "app.log.1");
    write(&followed.dir, "app.log", "");
    assert!(followed.next_scan().is_empty());
    append(&followed.dir, "app.log", "4\n");
    assert_eq!(followed.next_scan(), ["4 app.log 1"]);
    followed.lines.clock().advance(COPY_SILENCE);
    assert!(followed.next_scan().is_empty());
    // The second time the first copy moves on.
    fs::rename(followed.dir.path().join("app.log.1"), followed.dir.path().join("app.log.2"))
        .expect("renamed");
    followed.copy("app.log", "app.log.1");
    write(&followed.dir, "app.log", "5\n");
    // The new content is as long as the old, so it begins to be noticed when it is longer or shorter.
    write(&followed.dir, "app.log", "");
    assert!(followed.next_scan().is_empty());
    append(&followed.dir, "app.log", "5\n");
    assert_eq!(followed.next_scan(), ["5 app.log 1"]);
    assert_eq!(followed.losses(), (0, 0));
}

#[test]
fn what_only_a_copy_has_is_read_from_it() {
    // Written between the last read and the truncation: the end of a line that was begun, and one more.
    let mut followed = Followed::start(&[("app.log", "1\nha")], "app.log*", "meta = true");
    assert_eq!(followed.now(), ["1 app.log 1"]);
    append(&followed.dir, "app.log", "lf\n3\n");
    followed.copy("app.log", "app.log.1");
    write(&followed.dir, "app.log", "");
    assert_eq!(followed.next_scan(), ["half app.log.1 2", "3 app.log.1 3"]);
    append(&followed.dir, "app.log", "4\n");
    assert_eq!(followed.next_scan(), ["4 app.log 1"]);
}

#[test]
fn a_copy_under_way_waits_for_the_truncation() {
    let mut followed = Followed::start(&[("app.log", "1\n2\n")], "app.log*", "");
    assert_eq!(followed.now(), ["1", "2"]);
    write(&followed.dir, "app.log.1", "1\n");
    assert!(followed.next_scan().is_empty(), "it may be a copy that is not whole yet");
    append(&followed.dir, "app.log.1", "2\n");
    assert!(followed.next_scan().is_empty());
    write(&followed.dir, "app.log", "");
    assert!(followed.next_scan().is_empty());
    followed.lines.clock().advance(COPY_SILENCE);
    assert!(followed.next_scan().is_empty(), "it was a copy");
}

#[test]
fn a_file_with_the_same_beginning_is_a_file_of_its_own() {
    let mut followed = Followed::start(&[("a.csv", "header\n1\n")], "*.csv", "");
    assert_eq!(followed.now(), ["header", "1"]);
    write(&followed.dir, "b.csv", "header\n2\n");
    assert_eq!(followed.next_scan(), ["header", "2"], "it differs where both have bytes");
    write(&followed.dir, "c.csv", "header\n");
    assert!(followed.next_scan().is_empty(), "so far it could be a copy");
    append(&followed.dir, "c.csv", "3\n");
    assert_eq!(followed.next_scan(), ["header", "3"]);
    followed.copy("a.csv", "d.csv");
    assert!(followed.next_scan().is_empty());
    followed.lines.clock().advance(COPY_SILENCE);
    assert_eq!(followed.next_scan(), ["header", "1"], "nothing was truncated: it is a file of its own");
}

#[test]
fn a_file_that_is_followed_from_its_end_has_copies_too() {
    let mut followed = Followed::start(&[("app.log", "old\n")], "app.log*", "start = 'end'");
    assert!(followed.now().is_empty());
    append(&followed.dir, "app.log", "new\n");
    assert_eq!(followed.now(), ["new"]);
    followed.copy("app.log", "app.log.1");
    write(&followed.dir, "app.log", "");
    assert!(followed.next_scan().is_empty());
    followed.lines.clock().advance(COPY_SILENCE);
    assert!(followed.next_scan().is_empty());
}
