//! Files, pipes and descriptors that squall writes, and signals.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::kit::{Ended, Place, finish, send_signal, wait, wait_for_file, wait_until};

/// Three rows to a file of this path.
fn to_file(path: &str) -> String {
    format!(
        r#"
        topology = {{ name = "three", max_replays = 2 }}
        spout.g = {{ type = "generate", config = {{ count = 3, fields = {{ n = "{{seq}}" }} }} }}
        bolt.store = {{ type = "file", inputs = ["g"], config = {{ path = "{path}", format = "jsonl" }} }}
        "#
    )
}

/// Three rows to `print`.
const PRINTED: &str = r#"
topology = { name = "three", max_replays = 2 }
spout.g = { type = "generate", config = { count = 3, fields = { n = "{seq}" } } }
bolt.print = { type = "print", inputs = ["g"] }
"#;

/// Endless rows to a file.
const ENDLESS: &str = r#"
topology.name = "endless"
spout.g = { type = "generate", config = { rate = 2000, fields = { n = "{seq}" } } }
bolt.store = { type = "file", inputs = ["g"], config = { path = "out/rows.csv" } }
"#;

const ROWS: &str = "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n";

/// In one process, and in two.
const PROCESSES: [&str; 2] = ["", " --workers 2"];

fn shell(place: &Place, script: &str) -> Ended {
    finish(place.shell(script), b"")
}

/// The lines of a file, in order of their text: replays and workers mix them.
fn sorted_lines(place: &Place, name: &str) -> Vec<String> {
    let mut lines: Vec<String> = place.read(name).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

// ---- Descriptors ----

/// `/dev/stdout` that leads to a file was taken for a file of that name: the rows went to
/// `/dev/stdout-1`.
#[test]
fn a_descriptor_by_name_is_written_in_place() {
    for processes in PROCESSES {
        for (path, redirection) in [
            ("/dev/stdout", "> out.txt"),
            ("/dev/stderr", "2> out.txt"),
            ("/dev/fd/1", "> out.txt"),
            ("/proc/self/fd/1", ">> out.txt"),
            ("/dev/fd/7", "7> out.txt"),
            ("link", "> out.txt"),
        ] {
            let place = Place::with(&[("t.toml", &to_file(path))]);
            std::os::unix::fs::symlink("/dev/stdout", place.path("link")).expect("it can be made");
            shell(&place, &format!("\"$SQUALL\" run t.toml --quiet{processes} {redirection}")).exits(0);
            assert_eq!(place.read("out.txt"), ROWS, "{path}{processes}");
        }
    }
}

#[test]
fn rows_stand_after_what_the_shell_wrote_before_and_between() {
    let place = Place::with(&[("t.toml", &to_file("/dev/stdout"))]);
    let script = "{ echo before; \"$SQUALL\" run t.toml --quiet; echo after; } > out.txt";
    shell(&place, script).exits(0);
    assert_eq!(place.read("out.txt"), format!("before\n{ROWS}after\n"));
}

#[test]
fn several_tasks_write_whole_rows_to_one_stream() {
    let document = r#"
        topology.name = "many"
        spout.g = { type = "generate", config = { count = 5000, fields = { n = "{seq}", pad = "PAD" } } }
        bolt.store = { type = "file", parallelism = 3, inputs = ["g"], config = { path = "/dev/stdout", format = "jsonl" } }
        bolt.print = { type = "print", parallelism = 2, inputs = ["g"] }
    "#;
    let place = Place::with(&[("t.toml", &document.replace("PAD", &"x".repeat(900)))]);
    for processes in PROCESSES {
        // A pipe keeps only short writes in one piece.
        let script = format!("\"$SQUALL\" run t.toml --json --quiet{processes} | cat > out.txt");
        shell(&place, &script).exits(0);
        let lines = sorted_lines(&place, "out.txt");
        assert_eq!(lines.len(), 10_001, "{processes}");
        let is_json = |line: &String| serde_json::from_str::<serde_json::Value>(line).is_ok();
        assert!(lines.iter().all(is_json), "{processes}: {:?}", lines.iter().find(|line| !is_json(line)));
    }
}

#[test]
fn a_descriptor_that_squall_was_not_given_is_refused() {
    let place = Place::with(&[("t.toml", &to_file("/dev/fd/5"))]);
    place.run(&["run", "t.toml"]).exits(1).says("not started with this descriptor open");
}

/// Rust's standard library opens `/dev/null` in the place of a closed stream: all rows were lost with
/// exit 0.
#[test]
fn a_closed_standard_output_is_an_error() {
    for document in [PRINTED, &to_file("/dev/stdout")] {
        let place = Place::with(&[("t.toml", document)]);
        for processes in PROCESSES {
            let ended = shell(&place, &format!("\"$SQUALL\" run t.toml{processes} >&-"));
            ended.exits(1).says("closed when squall was started");
        }
    }
    let place = Place::with(&[("t.toml", PRINTED)]);
    shell(&place, "\"$SQUALL\" graph t.toml >&-").exits(1).says("cannot write to standard output");
}

#[test]
fn dev_null_is_no_closed_standard_output() {
    let place = Place::with(&[("t.toml", PRINTED)]);
    for processes in PROCESSES {
        for null in ["> /dev/null", "1<> /dev/null"] {
            shell(&place, &format!("\"$SQUALL\" run t.toml{processes} {null}")).exits(0);
        }
    }
}

/// Python's and Node's null devices are open for reading and writing, as the one that Rust's
/// standard library opens in the place of a closed descriptor.
#[test]
fn a_null_device_is_no_closed_standard_input() {
    let document = r#"
        topology.name = "nothing"
        spout.lines = { type = "lines", config = { path = "-" } }
        bolt.print = { type = "print", inputs = ["lines"] }
    "#;
    let place = Place::with(&[("t.toml", document)]);
    for processes in PROCESSES {
        shell(&place, &format!("\"$SQUALL\" run t.toml{processes} 0<> /dev/null")).exits(0);
        let ended = shell(&place, &format!("\"$SQUALL\" run t.toml{processes} <&-"));
        ended.exits(1).says("standard input is closed");
    }
}

/// A standard output that its owner had set to non-blocking failed at the first full pipe.
#[test]
fn a_nonblocking_standard_output_is_waited_for() {
    let document = r#"
        topology.name = "many"
        spout.g = { type = "generate", config = { count = 20000, fields = { n = "{seq}", pad = "0123456789" } } }
        bolt.print = { type = "print", inputs = ["g"] }
    "#;
    let place = Place::with(&[("t.toml", document)]);
    for workers in [None, Some("2")] {
        let (reader, writer) = rustix::pipe::pipe().expect("there are pipes");
        rustix::io::ioctl_fionbio(&writer, true).expect("it can be set");
        let mut args = vec!["run", "t.toml", "--json"];
        args.extend(workers.into_iter().flat_map(|workers| ["--workers", workers]));
        let mut command = place.squall(&args);
        command.stdout(Stdio::from(writer));
        let child = command.spawn().expect("it starts");
        drop(command);
        let text = read_slowly(reader);
        let ended = wait(child);
        assert_eq!(ended.code, Some(0), "{}", ended.all());
        let mut rows: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("each line is whole"))
            .filter_map(|line| line["values"]["n"].as_u64())
            .collect();
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..20_000), "each row once");
    }
}

/// Reads little by little, so that the pipe is full most of the time.
fn read_slowly(reader: OwnedFd) -> String {
    let (mut reader, mut text, mut piece) = (fs::File::from(reader), Vec::new(), [0; 512]);
    loop {
        match reader.read(&mut piece).expect("it can be read") {
            0 => return String::from_utf8(text).expect("it is text"),
            len => text.extend_from_slice(&piece[..len]),
        }
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let document = r#"
        topology.name = "endless"
        spout.g = { type = "generate", config = { fields = { n = "{seq}" } } }
        bolt.out = { type = "TYPE", inputs = ["g"], config = CONFIG }
    "#;
    let file = document.replace("TYPE", "file").replace("CONFIG", r#"{ path = "/dev/stdout" }"#);
    for document in [document.replace("TYPE", "print").replace("CONFIG", "{}"), file] {
        let place = Place::with(&[("t.toml", &document)]);
        for processes in PROCESSES {
            let script =
                format!("{{ \"$SQUALL\" run t.toml{processes}; echo $? > code; }} | head -3 > out.txt");
            shell(&place, &script).exits(0).says("any more; ending");
            assert_eq!((place.read("code").as_str(), place.read("out.txt").lines().count()), ("0\n", 3));
        }
    }
}

/// Opening a pipe that nobody reads waited for ever in the bolt.
#[test]
fn a_pipe_that_nobody_reads_is_an_error_and_no_wait() {
    let document = to_file("pipe").replace("inputs", "blocking = false, inputs");
    for document in [document, to_file("pipe")] {
        let place = Place::with(&[("t.toml", &document)]);
        shell(&place, "mkfifo pipe").exits(0);
        for processes in PROCESSES {
            let ended = shell(&place, &format!("\"$SQUALL\" run t.toml{processes}"));
            ended.exits(1).says("cannot write `pipe`: nobody reads this pipe yet").says("3 failed");
        }
    }
}

#[test]
fn a_pipe_with_a_reader_is_written_to() {
    let place = Place::with(&[("t.toml", &to_file("pipe"))]);
    for processes in PROCESSES {
        let script = format!(
            "rm -f pipe; mkfifo pipe; cat pipe > out.txt & exec 9<> pipe; \"$SQUALL\" run t.toml{processes}; code=$?; exec 9<&-; wait; exit $code"
        );
        shell(&place, &script).exits(0);
        assert_eq!(place.read("out.txt"), ROWS, "{processes}");
    }
}

/// A row of one empty value was an empty line.
#[test]
fn a_csv_row_of_one_empty_value_is_readable() {
    let document = r#"
        topology.name = "csv"
        spout.lines = { type = "lines", config = { path = "in.jsonl" } }
        bolt.parse = { type = "parse", inputs = ["lines"], config = { format = "json", fields = ["v"] } }
        bolt.store = { type = "file", inputs = ["parse"], config = { path = "v.csv" } }
    "#;
    let lines = "{\"v\":\"a\"}\n{\"v\":null}\n{\"v\":\"\"}\n{\"v\":\"b\"}\n";
    let place = Place::with(&[("t.toml", document), ("in.jsonl", lines)]);
    place.run(&["run", "t.toml"]).exits(0);
    assert_eq!(place.read("v.csv"), "v\na\n\"\"\n\"\"\nb\n");
}

// ---- Full disks and limits ----

#[test]
fn a_full_device_fails_the_rows_and_says_so() {
    for processes in PROCESSES {
        let place = Place::with(&[("file.toml", &to_file("/dev/full")), ("print.toml", PRINTED)]);
        let ended = shell(&place, &format!("\"$SQUALL\" run file.toml{processes}"));
        ended.exits(1).says("cannot write `/dev/full`: No space left on device").says("3 failed");
        let ended = shell(&place, &format!("\"$SQUALL\" run print.toml{processes} > /dev/full"));
        ended.exits(1).says("cannot write to standard output: No space left on device").says("3 failed");
    }
}

/// SIGXFSZ killed squall, or its worker over and over.
#[test]
fn a_file_size_limit_is_handled_like_a_full_disk() {
    let document = r#"
        topology = { name = "limited", max_replays = 1 }
        spout.g = { type = "generate", config = { count = 4000, fields = { n = "{seq}", pad = "0123456789012345678901234567890123456789" } } }
        bolt.store = { type = "file", inputs = ["g"], config = { path = "out/rows.txt" } }
    "#;
    for processes in PROCESSES {
        let place = Place::with(&[("t.toml", document)]);
        // In units of 512 bytes; the log has its limit as well.
        let ended = shell(&place, &format!("ulimit -f 64; \"$SQUALL\" run t.toml{processes} --log error"));
        ended.exits(1).says("cannot write `out/rows.txt`: File too large");
        let text = place.read("out/rows.txt");
        assert!(text.len() <= 64 * 1024 && text.ends_with("0123456789\n"), "{}", text.len());
        let whole =
            |line: &str| line.len() >= 42 && line.ends_with("\t0123456789012345678901234567890123456789");
        assert!(text.lines().all(whole), "no row is torn");
    }
}

/// Rows that were written in part to a file behind standard output came again whole.
#[test]
fn a_limit_on_standard_output_tears_no_row() {
    let document = r#"
        topology = { name = "limited", max_replays = 1 }
        spout.g = { type = "generate", config = { count = 4000, fields = { n = "{seq}" } } }
        bolt.print = { type = "print", inputs = ["g"] }
    "#;
    for processes in PROCESSES {
        let place = Place::with(&[("t.toml", document)]);
        let script = format!("ulimit -f 64; \"$SQUALL\" run t.toml --json{processes} --log off > out.txt");
        shell(&place, &script).exits(1);
        let text = place.read("out.txt");
        let mut lines: Vec<&str> = text.lines().collect();
        // The limit is in the middle of the last row, and nothing can follow it.
        lines.pop();
        let count = lines.len();
        assert!(count > 100, "only {count} rows were written before the limit");
        lines.sort_unstable();
        lines.dedup();
        assert_eq!((lines.len(), text.len() % 512), (count, 0), "no row is there twice");
        let is_row = |line: &&str| serde_json::from_str::<serde_json::Value>(line).is_ok();
        assert!(lines.iter().all(is_row), "no row is torn");
    }
}

#[test]
fn a_directory_that_cannot_be_written_to_ends_the_run() {
    let endless =
        to_file("ro/rows.csv").replace("count = 3, ", "").replace("max_replays = 2", "max_replays = 100");
    for workers in [None, Some("2")] {
        let place = Place::with(&[("t.toml", &endless), ("ro/keep", "")]);
        place.chmod("ro", 0o555);
        let mut args = vec!["run", "t.toml"];
        args.extend(workers.into_iter().flat_map(|workers| ["--workers", workers]));
        place
            .run_unprivileged(&args)
            .exits(1)
            .says("cannot write `ro/rows.csv`: Permission denied")
            .says("let squall write to the directory `ro`, or set `path` to another directory");
        place.chmod("ro", 0o755);
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_with_a_remedy() {
    let remedy = "let squall write to the directory `ro`, or";
    let place = Place::with(&[("t.toml", &to_file("ro/a/b/rows.csv")), ("ro/keep", "")]);
    place.chmod("ro", 0o555);
    place.run_unprivileged(&["run", "t.toml"]).exits(1).says(remedy).says("set `path` to another directory");
    place.run_unprivileged(&["new", "ro/shop"]).exits(1).says(remedy).says("name another directory");
    place.chmod("ro", 0o755);
}

#[test]
fn paths_that_cannot_be_written_to_end_the_run() {
    for (path, why) in [
        ("/proc/nope/rows.csv", "cannot be made"),
        ("plain/rows.csv", "Not a directory"),
        ("directory", "is a directory"),
        ("dangling", "is a symbolic link that leads nowhere"),
    ] {
        let endless =
            to_file(path).replace("count = 3, ", "").replace("max_replays = 2", "max_replays = 100");
        let place = Place::with(&[("t.toml", &endless), ("plain", ""), ("directory/keep", "")]);
        std::os::unix::fs::symlink("nowhere", place.path("dangling")).expect("it can be made");
        for processes in PROCESSES {
            shell(&place, &format!("\"$SQUALL\" run t.toml{processes}")).exits(1).says(why);
        }
        assert!(fs::symlink_metadata(place.path("dangling")).is_ok_and(|found| found.is_symlink()));
    }
}

#[test]
fn paths_that_no_file_system_takes_are_refused_before_the_start() {
    for (path, why) in [("a\\u0000b", "NUL"), (&"x".repeat(300), "the name of the file has 300 bytes")] {
        let place = Place::with(&[("t.toml", &to_file(path))]);
        place.run(&["validate", "t.toml"]).exits(1).says(why);
    }
}

/// The logger panicked when it could not start its thread.
#[test]
fn a_thread_limit_is_reported_and_ends_the_run() {
    for workers in ["", "--workers 2"] {
        let place = Place::with(&[("t.toml", PRINTED)]);
        // Shells differ in the letter of the limit.
        let script = format!("ulimit -u 1 2> /dev/null || ulimit -p 1; exec \"$0\" run t.toml {workers}");
        let ended = finish(place.shell_unprivileged(&script), b"");
        ended.exits(1).says("error: cannot start the").says("thread");
        assert!(!ended.stderr.contains("panic"), "{}", ended.all());
    }
}

// ---- Files that cannot be published ----

/// Starts a run in the background that writes rows for ever, and waits until some are written.
fn begin(place: &Place, workers: bool) -> Child {
    let args: &[&str] = if workers { &["run", "t.toml", "--workers", "2"] } else { &["run", "t.toml"] };
    let child = place.squall(args).spawn().expect("it starts");
    wait_for_file(&place.path("out/rows.csv.inprogress"), 100);
    child
}

fn end(child: Child) -> Ended {
    send_signal("TERM", &child.id().to_string());
    wait(child)
}

/// The numbers of a part file are all there, from 0 on.
fn is_complete(place: &Place, name: &str) {
    let text = place.read(name);
    let mut numbers: Vec<u64> =
        text.lines().skip(1).map(|line| line.parse().unwrap_or_else(|_| panic!("torn: {line}"))).collect();
    numbers.sort_unstable();
    assert!(numbers.len() > 10 && numbers.iter().copied().eq(0..numbers.len() as u64), "{name}");
}

#[test]
fn a_removed_directory_loses_no_row() {
    for workers in [false, true] {
        let place = Place::with(&[("t.toml", ENDLESS)]);
        let child = begin(&place, workers);
        // squall may make its file again between the removal of the file and that of the directory.
        wait_until("the directory to be removed", || fs::remove_dir_all(place.path("out")).is_ok());
        wait_for_file(&place.path("out/rows.csv.inprogress"), 100);
        end(child).exits(0).says("removed or renamed while it was written");
        is_complete(&place, "out/rows.csv");
    }
}

#[test]
fn a_moved_directory_has_the_file() {
    let place = Place::with(&[("t.toml", ENDLESS)]);
    let child = begin(&place, false);
    fs::rename(place.path("out"), place.path("moved")).expect("it can be renamed");
    end(child).exits(0).says("the directory was moved");
    is_complete(&place, "moved/rows.csv");
}

/// Removes the part file, and puts a file in the place of its directory, in one step.
fn take_away(place: &Place) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    place.write("other", b"in the way");
    let (out, other) = (place.path("out"), place.path("other"));
    renameat_with(CWD, &out, CWD, &other, RenameFlags::EXCHANGE).expect("they can be exchanged");
    fs::remove_file(place.path("other/rows.csv.inprogress")).expect("it can be removed");
}

#[test]
fn a_file_that_cannot_be_written_again_names_its_rows() {
    for workers in [false, true] {
        let place = Place::with(&[("t.toml", ENDLESS)]);
        let child = begin(&place, workers);
        take_away(&place);
        end(child).exits(1).says("rows are lost");
    }
}

/// A rename that failed at the end lost all rows of the file with exit 0: nothing had failed by then.
#[test]
fn a_file_that_cannot_be_published_is_a_loss() {
    let document = r#"
        topology.name = "three"
        spout.lines = { type = "lines", config = { path = "-" } }
        bolt.store = { type = "file", inputs = ["lines"], config = { path = "out/rows.csv" } }
    "#;
    for workers in [None, Some("2")] {
        let place = Place::with(&[("t.toml", document)]);
        let mut args = vec!["run", "t.toml"];
        args.extend(workers.into_iter().flat_map(|workers| ["--workers", workers]));
        let mut child = place.squall(&args).stdin(Stdio::piped()).spawn().expect("it starts");
        let mut input = child.stdin.take().expect("it is a pipe");
        input.write_all(b"one\ntwo\nthree\n").expect("it is read");
        wait_for_file(&place.path("out/rows.csv.inprogress"), "line\none\ntwo\nthree\n".len() as u64);
        take_away(&place);
        drop(input);
        wait(child).exits(1).says("its 3 rows are lost").says("rows_unpublished 3 (lost)");
    }
}

// ---- Signals ----

/// Only SIGINT and SIGTERM drained; all others killed the parent, and left the file unpublished.
#[test]
fn signals_drain() {
    for signal in
        ["HUP", "INT", "QUIT", "TERM", "ALRM", "VTALRM", "PROF", "USR1", "USR2", "XCPU", "PWR", "IO"]
    {
        let place = Place::with(&[("t.toml", ENDLESS)]);
        let child = begin(&place, false);
        send_signal(signal, &child.id().to_string());
        wait(child).exits(0).says("draining");
        is_complete(&place, "out/rows.csv");
    }
}

/// A terminal, a supervisor or `timeout` sends its signal to all processes of a group.
#[test]
fn signals_to_the_process_group_leave_the_workers_to_their_parent() {
    for signal in ["HUP", "INT", "QUIT", "TERM", "USR1", "ALRM"] {
        let place = Place::with(&[("t.toml", ENDLESS)]);
        let mut command = place.squall(&["run", "t.toml", "--workers", "2"]);
        command.process_group(0);
        let child = command.spawn().expect("it starts");
        wait_for_file(&place.path("out/rows.csv.inprogress"), 100);
        let group = format!("-{}", child.id());
        let sent = Command::new("kill").args(["-s", signal, "--", &group]).status();
        assert!(sent.expect("kill is there").success());
        wait(child).exits(0).says("2, 0 restarts");
        is_complete(&place, "out/rows.csv");
    }
}

/// A shell starts `squall run … &` in a script with SIGINT and SIGQUIT ignored, and `nohup` with
/// SIGHUP: they ended the run all the same.
#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let place = Place::with(&[("t.toml", ENDLESS)]);
    let script = "trap '' INT QUIT HUP; exec \"$SQUALL\" run t.toml";
    let child = place.shell(script).spawn().expect("it starts");
    let part = place.path("out/rows.csv.inprogress");
    wait_for_file(&part, 100);
    for signal in ["INT", "QUIT", "HUP"] {
        send_signal(signal, &child.id().to_string());
    }
    // The signals are taken ten times a second; two seconds of rows are beyond that.
    let now = fs::metadata(&part).expect("it is being written").len();
    wait_until("more rows", || fs::metadata(&part).is_ok_and(|file| file.len() > now + 16_000));
    let ended = end(child);
    ended.exits(0);
    assert_eq!(ended.stderr.matches("draining").count(), 1, "{}", ended.all());
    is_complete(&place, "out/rows.csv");
}
