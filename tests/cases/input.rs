//! Files, pipes and descriptors that squall reads.
//!
//! What users lost without a word: encodings and compression that were read as rows, files that could
//! not be opened, names that are no patterns, standard input that was non-blocking, closed or shared,
//! and copies that were read twice. What is lost now is named, counted, and makes exit 1.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::kit::{Ended, Place, send_signal, wait, wait_until};

/// Prints what `lines` reads with these settings.
fn printing(config: &str) -> String {
    format!(
        "topology.name = 'input'\n\
         spout.lines = {{ type = 'lines', config = {{ {config} }} }}\n\
         bolt.print = {{ type = 'print', inputs = ['lines'] }}\n"
    )
}

/// A place with a topology `t.toml` that prints what `lines` reads, and these files.
fn place(config: &str, files: &[(&str, &[u8])]) -> Place {
    let place = Place::with(&[("t.toml", &printing(config))]);
    files.iter().for_each(|(name, bytes)| place.write(name, bytes));
    place
}

/// The rows of a table, sorted: without its header.
fn rows(table: &str) -> Vec<&str> {
    let mut rows: Vec<&str> =
        table.lines().filter(|line| *line != "line" && !line.chars().all(|c| c == '-')).collect();
    rows.sort_unstable();
    rows
}

trait PrintsRows {
    /// Fails the test unless these are the rows of the table, in whatever order.
    #[track_caller]
    fn prints_rows(&self, expected: &[&str]) -> &Ended;
}

impl PrintsRows for Ended {
    #[track_caller]
    fn prints_rows(&self, expected: &[&str]) -> &Ended {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(rows(&self.stdout), expected, "{}", self.all());
        self
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("a vector takes it");
    encoder.finish().expect("a vector takes it")
}

fn append(place: &Place, name: &str, text: &str) {
    let file = OpenOptions::new().append(true).open(place.path(name));
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("it can be appended to");
}

/// A run that goes on until it is told to end, with its rows in the file `out`.
struct Running<'p> {
    place: &'p Place,
    child: Child,
}

impl<'p> Running<'p> {
    fn start(place: &'p Place, mut command: Command) -> Running<'p> {
        let out = File::create(place.path("out")).expect("the file");
        let child = command.stdout(out).spawn().expect("it starts");
        Running { place, child }
    }

    /// Waits until it has printed these lines, in whatever order, and nothing else.
    #[track_caller]
    fn has_printed(&self, lines: &[&str]) {
        let mut expected = lines.to_vec();
        expected.sort_unstable();
        let mut printed = String::new();
        wait_until(&format!("{expected:?} to be printed"), || {
            printed = self.place.read("out");
            rows(&printed).len() >= expected.len()
        });
        assert_eq!(rows(&printed), expected);
    }

    fn end(self) -> Ended {
        send_signal("TERM", &self.child.id().to_string());
        wait(self.child)
    }
}

#[test]
fn encodings_are_read_without_their_mark_or_refused_by_name() {
    let marked = place("path = '*.txt'", &[("a.txt", b"\xEF\xBB\xBFone\n"), ("b.txt", b"two\n")]);
    marked.run(&["run", "t.toml"]).exits(0).prints_rows(&["one", "two"]);
    let refused = place("path = '*.txt'", &[("a.txt", b"\xFF\xFEo\0n\0e\0\n\0"), ("b.txt", b"two\n")]);
    let ended = refused.run(&["run", "t.toml"]);
    ended.exits(1).prints_rows(&["two"]).says("a.txt").says("UTF-16").says("iconv").says("files_not_read");
    refused.run(&["run", "t.toml", "--workers", "2"]).exits(1).prints_rows(&["two"]).says("a.txt");
}

#[test]
fn compressed_input_is_unpacked_or_refused_by_name() {
    let (members, torn) = ([gzip(b"two\n"), gzip(b"three\n")].concat(), gzip(&b"a row\n".repeat(9999)));
    let logs = place(
        "path = 'access.log*'",
        &[("access.log", b"one\n"), ("access.log.1.gz", &members), ("access.log.2.zst", b"\x28\xB5\x2F\xFD")],
    );
    let ended = logs.run(&["run", "t.toml"]);
    ended.exits(1).prints_rows(&["one", "two", "three"]).says("access.log.2.zst").says("zstd");
    fs::remove_file(logs.path("access.log.2.zst")).expect("it is there");
    logs.run(&["run", "t.toml"]).exits(0).prints_rows(&["one", "two", "three"]);

    logs.write("access.log.3.gz", &torn[..torn.len() - 10]);
    let ended = logs.run(&["run", "t.toml"]);
    ended.exits(1).says("access.log.3.gz").says("stopped at byte").says("files_cut_short");

    let input = place("path = '-'", &[("in.gz", &members)]);
    let from_pipe = input.run_with_input(&["run", "t.toml"], &members);
    from_pipe.exits(0).prints_rows(&["two", "three"]);
    super::kit::finish(input.shell("exec \"$SQUALL\" run t.toml < in.gz"), b"")
        .exits(0)
        .prints_rows(&["two", "three"]);
}

#[test]
fn one_file_that_cannot_be_read_costs_that_file_and_exit_1() {
    let logs = place(
        "path = 'logs/*.log'",
        &[("logs/a.log", b"one\n"), ("logs/b.log", b""), ("logs/c.log", b"three\n")],
    );
    logs.chmod("logs/b.log", 0o000);
    for args in [&["run", "t.toml"][..], &["run", "t.toml", "--workers", "2"]] {
        let ended = logs.run_unprivileged(args);
        ended
            .exits(1)
            .prints_rows(&["one", "three"])
            .says("logs/b.log")
            .says("Permission denied")
            .says("files_not_read");
    }
    fs::remove_file(logs.path("logs/b.log")).expect("it is there");
    symlink("/nonexistent/target", logs.path("logs/b.log")).expect("a link can be made");
    logs.run(&["run", "t.toml"]).exits(1).prints_rows(&["one", "three"]).says("logs/b.log");
    // One file that nothing but itself is to be read of.
    let alone = place("path = 'a.log'", &[("a.log", b"one\n")]);
    alone.chmod("a.log", 0o000);
    alone.run_unprivileged(&["run", "t.toml"]).exits(1).prints_rows(&[]).says("a.log");
}

#[test]
fn input_that_does_not_exist_ends_the_run_at_once() {
    for (config, what) in [
        ("path = 'nothing-here.log'", "there is no file `nothing-here.log`"),
        ("path = 'nothing/*.log'", "no file matches `nothing/*.log`"),
        ("path = ['t.toml', 'nothing-here.log']", "there is no file `nothing-here.log`"),
        ("path = '.'", "is a directory"),
    ] {
        let place = place(config, &[]);
        place.run(&["run", "t.toml"]).exits(1).says(what);
        place.run(&["run", "t.toml", "--for", "1h"]).exits(1).says(what);
        place.run(&["run", "t.toml", "--workers", "2"]).exits(1).says(what);
    }
    place("path = '.', follow = true", &[]).run(&["run", "t.toml"]).exits(1).says("is a directory");
}

#[test]
fn a_file_with_two_names_is_read_once() {
    let logs = place("path = ['logs/app.log', './logs/app.log', 'logs/*']", &[("logs/app.log", b"one\n")]);
    symlink("app.log", logs.path("logs/current.log")).expect("a link can be made");
    logs.run(&["run", "t.toml"]).exits(0).prints_rows(&["one"]);
}

#[test]
fn an_existing_file_is_meant_whatever_its_name() {
    for name in ["log[1].txt", "weird[1.log", "a***b.log"] {
        let place = place(&format!("path = '{name}'"), &[(name, b"one\n")]);
        place.run(&["run", "t.toml"]).exits(0).prints_rows(&["one"]);
    }
    place("path = 'a***b.log'", &[]).run(&["validate", "t.toml"]).exits(1).says("no valid pattern");
}

#[test]
fn a_name_that_is_not_text_is_read_and_shown() {
    use std::os::unix::ffi::OsStrExt;
    let logs = place("path = 'logs/*', meta = true", &[("logs/a", b"one\n")]);
    let name = std::ffi::OsStr::from_bytes(b"caf\xE9.log");
    fs::write(logs.path("logs").join(name), "two\n").expect("it can be written");
    let ended = logs.run(&["run", "t.toml"]);
    ended.exits(0);
    assert!(ended.stdout.contains("two") && ended.stdout.contains("caf\u{fffd}.log"), "{}", ended.all());
}

#[test]
fn what_was_cut_is_lost_and_what_was_repaired_is_counted() {
    let whole = place("path = 'a', max_line = '10B'", &[("a", b"0123456789\r\nabcdefghij\n")]);
    whole.run(&["run", "t.toml"]).exits(0).prints_rows(&["0123456789", "abcdefghij"]);
    let cut = place("path = 'a', max_line = '10B'", &[("a", b"0123456789+\r\nabcdefghij\n")]);
    cut.run(&["run", "t.toml"]).exits(1).prints_rows(&["0123456789", "abcdefghij"]).says("lines_cut");
    let latin1 = place("path = 'a'", &[("a", b"caf\xE9\nbin\0ary\n")]);
    let ended = latin1.run(&["run", "t.toml"]);
    ended.exits(0).says("invalid_utf8").says("binary_lines").says("line 2 of `a` has a NUL byte");
    let summary = latin1.run(&["run", "t.toml", "--json"]).exits(0).summary().to_string();
    assert!(summary.contains("invalid_utf8") && summary.contains("binary_lines"), "{summary}");
}

#[test]
fn a_non_blocking_standard_input_is_waited_for() {
    for args in [
        &["run", "t.toml"][..],
        &["run", "t.toml", "--workers", "2"],
        &["run", "t.toml", "--set", "spout.lines.blocking=true"],
    ] {
        let place = place("path = '-'", &[]);
        let (reader, mut writer) = std::io::pipe().expect("a pipe can be made");
        let flags = fcntl_getfl(&reader).expect("it has flags");
        fcntl_setfl(&reader, flags | OFlags::NONBLOCK).expect("it can be non-blocking");
        let mut command = place.squall(args);
        command.stdin(OwnedFd::from(reader));
        let running = Running::start(&place, command);
        // By the time a row is printed, the next read has found the pipe empty, or will.
        for nth in 1..=3 {
            writeln!(writer, "{nth}").expect("somebody reads");
            running.has_printed(&["1", "2", "3"][..nth]);
        }
        drop(writer);
        wait(running.child).exits(0);
    }
}

#[test]
fn standard_input_is_read_as_it_was_inherited() {
    let lines = |name: &str| place(&format!("path = '{name}'"), &[("in", b"one\ntwo\n")]);
    for name in ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        for workers in ["", "--workers 2"] {
            let shell = |script: &str| {
                let script = script.replace("RUN", &format!("\"$SQUALL\" run t.toml {workers}"));
                super::kit::finish(lines(name).shell(&script), b"")
            };
            shell("cat in | RUN").exits(0).prints_rows(&["one", "two"]);
            shell("RUN < in").exits(0).prints_rows(&["one", "two"]);
            shell("(read first; RUN) < in").exits(0).prints_rows(&["two"]);
            shell("RUN < /dev/null").exits(0).prints_rows(&[]);
            shell("RUN <&-").exits(1).says("standard input is closed");
            shell("RUN < .").exits(1).says("standard input is a directory");
        }
    }
}

#[test]
fn standard_input_has_one_reader() {
    let two = "topology.name = 'two'\n\
        spout.a = { type = 'lines', config.path = '-' }\n\
        spout.b = { type = 'lines', config.path = '/dev/stdin' }\n\
        bolt.print = { type = 'print', inputs = ['a', 'b'] }\n";
    let two = Place::with(&[("t.toml", two)]);
    two.run(&["validate", "t.toml"]).exits(1).says("standard input").says("`b`");
    let one = place("path = ['-', 'a']", &[]);
    one.run(&["validate", "t.toml", "--set", "spout.lines.parallelism=2"]).exits(1).says("standard input");
    let document = printing("path = '-'");
    one.run_with_input(&["run", "-"], document.as_bytes()).exits(1).says("standard input");
}

#[test]
fn one_unreadable_file_does_not_keep_others_from_being_followed() {
    let config = "path = 'logs/*.log', follow = true, poll = '20ms'";
    let logs =
        place(config, &[("logs/a.log", b"one\n"), ("logs/b.log", b"two\n"), ("logs/c.log", b"three\n")]);
    logs.chmod("logs/b.log", 0o000);
    let running = Running::start(&logs, logs.unprivileged(&["run", "t.toml"]));
    running.has_printed(&["one", "three"]);
    append(&logs, "logs/c.log", "four\n");
    running.has_printed(&["one", "three", "four"]);
    running.end().exits(1).says("logs/b.log").says("Permission denied").says("files_not_read");

    let running = Running::start(&logs, logs.unprivileged(&["run", "t.toml"]));
    running.has_printed(&["one", "three", "four"]);
    fs::set_permissions(logs.path("logs/b.log"), fs::Permissions::from_mode(0o644)).expect("permissions");
    running.has_printed(&["one", "two", "three", "four"]);
    running.end().exits(0);
}

#[test]
fn more_files_than_descriptors_are_followed_in_turns() {
    let logs = place("path = 'logs/*', follow = true, poll = '20ms'", &[]);
    let mut expected = Vec::new();
    for nth in 0..60 {
        logs.write(&format!("logs/{nth}"), format!("{nth}a\n").as_bytes());
        expected.push(format!("{nth}a"));
    }
    let mut command = logs.shell("ulimit -n 40; exec \"$SQUALL\" run t.toml");
    command.stderr(Stdio::piped());
    let running = Running::start(&logs, command);
    let printed = |expected: &[String]| {
        running.has_printed(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    };
    printed(&expected);
    for nth in 0..60 {
        append(&logs, &format!("logs/{nth}"), &format!("{nth}b\n"));
        expected.push(format!("{nth}b"));
    }
    printed(&expected);
    running.end().exits(0);
}

#[test]
fn a_copy_made_before_a_truncation_is_not_read_again() {
    let logs = place("path = 'app.log*', follow = true, poll = '20ms'", &[("app.log", b"1\n2\n")]);
    let running = Running::start(&logs, logs.squall(&["run", "t.toml"]));
    running.has_printed(&["1", "2"]);
    append(&logs, "app.log", "3\n");
    // What logrotate does with `copytruncate`.
    fs::copy(logs.path("app.log"), logs.path("app.log.1")).expect("it can be copied");
    fs::write(logs.path("app.log"), "").expect("it can be truncated");
    running.has_printed(&["1", "2", "3"]);
    append(&logs, "app.log", "4\n");
    running.has_printed(&["1", "2", "3", "4"]);
    running.end().exits(0);
}
