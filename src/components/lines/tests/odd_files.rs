//! Files that are not what one expects: encodings, compression, names, and what cannot be read. What
//! users lost by them without a word is read, or named and counted.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use crate::api::{Check, Spout as _, SpoutStatus};
use crate::components::lines::Lines;
use crate::components::lines::tests::{dir, drain, path, write};
use crate::components::lines::unpack::tests::gzip;
use crate::components::test_support::{spout, spout_with};
use crate::testing::{HarnessOptions, SpoutHarness};
use crate::topology::registry::Registry;

/// What a spout with these settings reads of these files, and the spout.
fn read(files: &[(&str, &[u8])], pattern: &str, more: &str) -> (Vec<String>, SpoutHarness) {
    let dir = dir();
    files.iter().for_each(|(name, bytes)| write(&dir, name, bytes));
    let mut lines = spout("lines", &format!("{}\n{more}", path(&dir, pattern)));
    let rows = drain(&mut lines, dir.path());
    assert_eq!(lines.next(), Some(SpoutStatus::Exhausted));
    (rows, lines)
}

fn losses(lines: &SpoutHarness) -> (u64, u64) {
    (lines.counter("files_not_read"), lines.counter("files_cut_short"))
}

#[test]
fn a_byte_order_mark_is_no_data() {
    let (rows, lines) = read(&[("a", b"\xEF\xBB\xBFone\ntwo\n"), ("b", b"\xEF\xBB\xBF")], "*", "");
    assert_eq!((rows, losses(&lines)), (vec!["one".to_owned(), "two".to_owned()], (0, 0)));
    let (rows, _) = read(&[("a", b"\xEF\xBB\xBFone\n")], "*", "max_line = '1B'");
    assert_eq!(rows, ["o"], "a mark does not count towards the length");
}

#[test]
fn other_encodings_and_compressions_are_refused_by_name() {
    for (bytes, what) in [
        (&b"\xFF\xFEo\0n\0e\0"[..], "UTF-16"),
        (b"\xFE\xFF\0o\0n\0e", "UTF-16"),
        (b"\x28\xB5\x2F\xFD....", "zstd -dc"),
        (b"BZh91AY&SY....", "bzip2 -dc"),
        (b"\xFD7zXZ\0....", "xz -dc"),
        (b"PK\x03\x04....", "ZIP"),
    ] {
        let (rows, lines) = read(&[("a", bytes), ("b", b"text\n")], "*", "");
        assert_eq!((rows, losses(&lines)), (vec!["text".to_owned()], (1, 0)), "{what}");
        let error = &lines.errors()[0];
        assert!(error.contains("/a`") && error.contains(what), "{error}");
    }
}

#[test]
fn gzip_is_unpacked_by_its_content_member_by_member() {
    let members = [gzip(b"one\ntw"), gzip(b"o\nthree")].concat();
    let files = [("access.log", &b"zero\n"[..]), ("access.log.1", &members), ("access.log.gz", b"text\n")];
    let (rows, lines) = read(&files, "access.log*", "meta = true");
    let expected = [
        "zero access.log 1",
        "one access.log.1 1",
        "two access.log.1 2",
        "three access.log.1 3",
        "text access.log.gz 1",
    ];
    assert_eq!(rows, expected);
    assert!(lines.errors().is_empty());
}

#[test]
fn what_is_broken_in_the_middle_is_counted_with_its_place() {
    let mut torn = gzip(&b"a line\n".repeat(50_000));
    torn.truncate(torn.len() - 20);
    let (rows, lines) = read(&[("a.gz", &torn), ("b", b"next\n")], "*", "");
    assert_eq!(rows.last().map(String::as_str), Some("next"));
    assert!(rows.len() > 1 && rows[..rows.len() - 1].iter().all(|row| row == "a line"));
    assert_eq!(losses(&lines), (0, 1));
    assert!(lines.errors()[0].contains("to its end, stopped at byte"), "{:?}", lines.errors());
}

#[test]
fn a_read_error_is_counted_and_the_next_file_is_read() {
    let dir = dir();
    write(&dir, "b", "next\n");
    // The first page of a process is never mapped: reading it is an I/O error.
    let config = format!("path = ['/proc/self/mem', '{}']", dir.path().join("b").display());
    let mut lines = spout("lines", &config);
    assert_eq!(drain(&mut lines, dir.path()), ["next"]);
    assert_eq!(losses(&lines), (1, 0));
    assert!(lines.errors()[0].contains("cannot read `/proc/self/mem`"), "{:?}", lines.errors());
}

#[test]
fn links_that_lead_nowhere_and_files_that_vanish_are_counted_by_name() {
    let dir = dir();
    ["a", "c", "d"].iter().for_each(|name| write(&dir, name, name));
    symlink("/nonexistent/target", dir.path().join("b")).expect("a link can be made");
    let mut lines = spout("lines", &path(&dir, "*"));
    fs::remove_file(dir.path().join("c")).expect("it can be removed");
    assert_eq!(drain(&mut lines, dir.path()), ["a", "d"]);
    assert_eq!(losses(&lines), (2, 0));
    let errors = lines.errors().join("\n");
    assert!(errors.contains("/b`: No such file") && errors.contains("/c`: No such file"), "{errors}");
}

#[test]
fn a_file_with_several_names_is_read_once() {
    let dir = dir();
    write(&dir, "app.log", "x\n");
    fs::hard_link(dir.path().join("app.log"), dir.path().join("hard.log")).expect("a link can be made");
    symlink("app.log", dir.path().join("current.log")).expect("a link can be made");
    let shown = dir.path().display();
    let by_pattern = path(&dir, "*.log");
    let by_list =
        format!("path = ['{shown}/app.log', '{shown}/./app.log', '{shown}/c*', '{shown}/hard.log']");
    for config in [by_pattern, by_list] {
        let mut lines = spout("lines", &format!("{config}\nmeta = true"));
        assert_eq!(drain(&mut lines, dir.path()), ["x app.log 1"], "{config}");
        let of_both: Vec<String> = (0..2)
            .flat_map(|task_index| {
                let options = HarnessOptions { task_index, parallelism: 2, ..HarnessOptions::default() };
                drain(&mut spout_with("lines", &config, &options), dir.path())
            })
            .collect();
        assert_eq!(of_both, ["x"], "by two tasks: {config}");
        let mut lines = spout("lines", &format!("{config}\nfollow = true"));
        assert_eq!(drain(&mut lines, dir.path()), ["x"], "followed: {config}");
    }
}

#[test]
fn names_need_not_be_patterns_nor_text() {
    for name in ["weird[1.log", "a***b.log", "log[1].txt", "what?.log"] {
        assert_eq!(read(&[(name, b"x\n")], name, "").0, ["x"], "{name}");
    }
    let dir = dir();
    fs::write(dir.path().join(OsStr::from_bytes(b"caf\xE9.log")), "x\n").expect("it can be written");
    let mut lines = spout("lines", &format!("{}\nmeta = true", path(&dir, "*.log")));
    assert_eq!(drain(&mut lines, dir.path()), ["x caf\u{fffd}.log 1"]);
    let mut lines = spout("lines", &format!("{}\nfollow = true", path(&dir, "*.log")));
    assert_eq!(drain(&mut lines, dir.path()), ["x"]);
}

#[test]
fn the_end_of_a_line_does_not_count_towards_max_line() {
    let (rows, lines) = read(&[("a", b"0123456789\r\nabcdefghij\n0123456789\r")], "a", "max_line = '10B'");
    assert_eq!((rows.len(), lines.counter("lines_cut")), (3, 0));
}

#[test]
fn lines_with_nul_bytes_are_counted_and_their_input_is_named_once() {
    let (rows, lines) = read(&[("a", b"ok\na\0b\n\0\nok\n"), ("b", b"ok\n")], "*", "");
    assert_eq!((rows.len(), lines.counter("binary_lines")), (5, 2));
    assert_eq!(lines.errors().len(), 1);
    assert!(lines.errors()[0].contains("line 2 of") && lines.errors()[0].contains("NUL"));
}

#[test]
fn a_line_that_is_too_large_for_a_tuple_is_lost_and_the_next_is_read() {
    let long = [&b"x".repeat(20 << 20)[..], b"\nnext\n"].concat();
    let (rows, lines) = read(&[("a", &long)], "a", "max_line = '64MiB'");
    assert_eq!((rows, lines.counter("lines_dropped")), (vec!["next".to_owned()], 1));
    assert!(lines.errors()[0].contains("the limit is"), "{:?}", lines.errors());
}

#[test]
fn missing_input_is_fatal_at_once() {
    let dir = dir();
    write(&dir, "there", "x\n");
    let shown = dir.path().display();
    let refusal = |config: &str| {
        let options = HarnessOptions::default();
        SpoutHarness::registered(&Registry::with_standard(), "lines", config, &options).err()
    };
    let is_fatal = |config: String| refusal(&config).is_some_and(|error| error.is_fatal());
    assert!(is_fatal(path(&dir, "none.log")));
    assert!(is_fatal(path(&dir, "*.log")));
    assert!(is_fatal(path(&dir, "none/*.log")));
    assert!(is_fatal(format!("path = '{shown}'")), "a directory");
    assert!(is_fatal(format!("path = '{shown}'\nfollow = true")), "a directory is nothing to follow either");
    assert!(is_fatal(format!("path = ['{shown}/there', '{shown}/none']")));
    assert!(refusal(&(path(&dir, "*.log") + "\nfollow = true")).is_none(), "a followed file may come later");
}

#[test]
fn standard_input_is_claimed_under_all_its_names() {
    let claims = |config: &str| {
        let lines = Lines::new(toml::from_str(config).expect("settings")).expect("they are valid");
        let mut check = Check::new(&[], None, 1);
        lines.check(&mut check);
        check.into_parts().1.into_iter().map(|claim| claim.resource).collect::<Vec<_>>()
    };
    for path in ["'-'", "'/dev/stdin'", "'/dev/fd/0'", "'/proc/self/fd/0'", "['-', 'a', '/dev/stdin']"] {
        assert_eq!(claims(&format!("path = {path}")), ["standard input"], "{path}");
    }
    assert_eq!(claims("path = '/dev/fd/3'"), ["file descriptor 3"]);
    assert!(claims("path = 'a.log'").is_empty());
}
