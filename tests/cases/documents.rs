//! Topology documents, settings of the command line, and the other commands.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use squall::logging::{Levels, LogFormat, Logging};
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};

use crate::kit::{DEADLINE, Ended, Place, finish};

const TWO_ROWS: &str = "\
[topology]
name = \"two\"
[spout.g]
type = \"generate\"
config = { count = 2, fields = { n = \"{seq}\" } }
[bolt.p]
type = \"print\"
inputs = [\"g\"]
";

const LINES: &str = "\
[topology]
name = \"lines\"
[spout.l]
type = \"lines\"
config = { path = \"absent\" }
[bolt.p]
type = \"print\"
inputs = [\"l\"]
";

/// An editor had saved a document as UTF-16, and all that was said was that it is no UTF-8.
#[test]
fn a_document_in_another_encoding_is_refused_with_its_name_and_place() {
    let place = Place::new();
    let utf16 = format!("\u{feff}{TWO_ROWS}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    place.write("utf16.toml", &utf16);
    place.write("latin1.toml", &[b"# ma\xeftre\n", TWO_ROWS.as_bytes()].concat());
    place.write("marked.toml", &[b"\xef\xbb\xbf", TWO_ROWS.as_bytes()].concat());
    place.write("crlf.toml", TWO_ROWS.replace('\n', "\r\n").as_bytes());
    place.write("zeros.toml", &[TWO_ROWS.as_bytes(), &[0; 8]].concat());
    place.write("engine.toml", &utf16);
    let refused = |args: &[&str], expected: &[&str]| {
        let ended = place.run(args);
        expected.iter().fold(ended.exits(1), |ended, text| ended.says(text));
    };
    refused(
        &["run", "utf16.toml"],
        &["this is UTF-16 (little-endian, with", "utf16.toml:1:1", "iconv -f UTF-16"],
    );
    refused(&["validate", "latin1.toml"], &["byte 0xEF at offset 4", "Latin-1", "latin1.toml:1:5", "`ï`"]);
    refused(
        &["validate", "zeros.toml"],
        &["a NUL byte at offset", "zeros.toml:9:1", "not written to its end"],
    );
    refused(&["run", "crlf.toml", "--config", "engine.toml"], &["this is UTF-16", "engine.toml:1:1"]);
    for file in ["marked.toml", "crlf.toml"] {
        place.run(&["run", file, "-q"]).exits(0).prints(&["n", "-", "0", "1"]);
    }
}

/// A file that is called as a date is, could not be named by `--set`.
#[test]
fn set_takes_text_where_text_is_meant() {
    let names = ["2026-11-28", "5", "true", "07:30:00", "1.50"];
    let place = Place::with(&[("t.toml", LINES)]);
    for name in names {
        place.write(name, format!("line of {name}\n").as_bytes());
        let ended =
            place.run(&["run", "t.toml", "--json", "-q", "--set", &format!("spout.l.config.path={name}")]);
        assert!(ended.exits(0).stdout.contains(&format!(r#""line":"line of {name}""#)), "{}", ended.all());
    }
    place
        .run(&["validate", "t.toml", "--set", "spout.l.config.path=[5]"])
        .exits(1)
        .says("if it is meant as text: --set 'spout.l.config.path=\"[5]\"'");
}

/// `validate` waited for ever for a pipe that an include named.
#[test]
fn an_include_is_a_regular_file_and_what_the_caller_names_is_anything() {
    let including =
        TWO_ROWS.replacen("[topology]\n", "[topology]\ninclude = [\"pipe\", \"/dev/zero\", \".\"]\n", 1);
    let place = Place::with(&[("t.toml", &including), ("good.toml", TWO_ROWS)]);
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().expect("mkfifo is there").success());
    place
        .run(&["validate", "t.toml"])
        .exits(1)
        .says("cannot read `pipe`: it is a pipe, not a regular file")
        .says("cannot read `/dev/zero`: it is a device")
        .says("cannot read `.`: it is a directory, not a file")
        .says("t.toml:2:12");
    let bash = |script: &str| {
        let mut command = Command::new("bash");
        command.current_dir(place.path(".")).args(["-c", script]);
        command.env("SQUALL", env!("CARGO_BIN_EXE_squall")).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command, b"")
    };
    bash("$SQUALL validate <(cat good.toml)").exits(0).says("valid: `two`");
    bash("cat good.toml | $SQUALL validate /dev/stdin").exits(0).says("/dev/stdin: valid: `two`");
    bash("cat good.toml > pipe & $SQUALL validate pipe").exits(0).says("pipe: valid: `two`");
    bash("$SQUALL validate .").exits(1).says("it is a directory, not a file");
}

/// Control characters of a file name, a field or an argument drove the terminal.
#[test]
fn nothing_that_is_shown_drives_the_terminal() {
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}31m\u{7f}\u{202e}";
    let document =
        format!("{TWO_ROWS}[bolt.q]\ntype = \"x{}y\"\ninputs = [\"g\"] # {}\n", "\u{9b}", "\u{202e}");
    let named = format!("{hostile}.toml");
    let place = Place::with(&[("t.toml", &document), (&named, TWO_ROWS), ("good.toml", TWO_ROWS)]);
    let key = format!("spout.g.config.{hostile}=1");
    let lines: &[&[&str]] = &[
        &["validate", &named],
        &["validate", &format!("{named}.none")],
        &["validate", "t.toml"],
        &["validate", "t.toml", "--json"],
        &["validate", "good.toml", "--set", &key],
        &["validate", "good.toml", "--set", &key, "--json"],
        &["run", &format!("{named}.none")],
        &["run", "good.toml", "--config", &named],
        &["run", "good.toml", "--log", hostile],
        &["run", "good.toml", "--for", hostile],
        &["components", hostile],
        &["graph", "good.toml", "--format", hostile],
        &["new", hostile],
        &["new", hostile, "--name", "fine"],
        &[hostile],
    ];
    for args in lines {
        let ended = place.run(args);
        let is_hostile = |c: char| squall::text::is_to_escape(c) && c != '\n';
        let shown = [&ended.stdout, &ended.stderr];
        assert!(shown.iter().all(|text| !text.contains(is_hostile)), "{args:?}: {:?}", ended.all());
        assert!(shown.iter().any(|text| !text.is_empty()), "{args:?} says nothing");
    }
}

/// The logger panicked where its thread could not be started.
#[test]
fn a_limit_of_threads_is_an_error_and_no_panic() {
    let place = Place::with(&[("t.toml", TWO_ROWS)]);
    place.binary_for_all();
    // The superuser is not limited, so it becomes another one.
    let mut command = Command::new("prlimit");
    command.args(["--nproc=1:1", "./squall-under-test", "run", "t.toml"]).current_dir(place.path("."));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if Command::new("id").arg("-u").output().expect("id is there").stdout == b"0\n" {
        command.uid(65534).gid(65534);
    }
    let ended = finish(command, b"");
    ended.exits(1).says("the log has no thread of its own").says("error: cannot start the topology");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.all());
}

/// What a listing could not write, was lost with exit 0 where it was help.
#[test]
fn a_full_standard_output_is_an_error_of_every_command() {
    let place = Place::with(&[("t.toml", TWO_ROWS)]);
    for command in [
        "graph t.toml",
        "schema",
        "components",
        "components count",
        "components --json",
        "validate t.toml --json",
        "completions bash",
        "--help",
        "run --help",
        "--version",
    ] {
        let ended = finish(place.shell(&format!("$SQUALL {command} > /dev/full")), b"");
        ended.exits(1).says("error: cannot write to standard output: No space left on device");
        let ended = finish(place.shell(&format!("$SQUALL {command} >&-")), b"");
        ended.exits(1).says("error: cannot write to standard output");
        let ended = finish(place.shell(&format!("$SQUALL {command} | head -c 1 > /dev/null")), b"");
        ended.exits(0);
        assert_eq!(ended.stderr, "", "{command}");
    }
}

#[test]
fn wrong_command_lines_say_what_is_wrong() {
    let place = Place::with(&[("t.toml", TWO_ROWS)]);
    let check = |args: &[&str], code: i32, expected: &str| {
        let _: &Ended = place.run(args).exits(code).says(expected);
    };
    check(&["run", "t.toml", "--workers", "0"], 2, "0 is not in 1..=64");
    check(&["run", "t.toml", "--workers", "-1"], 2, "-1 is not in 1..=64");
    check(&["run", "t.toml", "--for", "-1s"], 2, "not a duration: \"-1s\"");
    check(&["run", "t.toml", "--for", "0s"], 2, "it must be longer than nothing");
    check(&["run", "t.toml", "--for", "5"], 2, "duration \"5\" has no unit");
    check(&["run", "t.toml", "--config", "none.toml"], 1, "cannot read `none.toml`: No such file");
    check(&["run", "t.toml", "--config", "t.toml"], 1, "`[topology]` belongs in a topology document");
    check(&["validate", ""], 1, "cannot read ``: No such file");
    check(&["validate", "t.toml", "--set", "bolt.p"], 1, "there is no `=` between key and value");
    check(&["validate", "t.toml", "--set", "=5"], 1, "the part before `=` is not a key");
    check(
        &["validate", "t.toml", "--set", "bolt.p.parallelism=99999999999999999999"],
        1,
        "`parallelism` of bolt `p` must be between 1 and 4096",
    );
    check(
        &["validate", "t.toml", "--set", "spout.g.config.rate=fast"],
        1,
        "config of spout `g`: invalid type: string \"fast\", expected a number",
    );
    check(
        &["validate", "t.toml", "--set", "spout.g.config.fields=[1]"],
        1,
        "config of spout `g`: invalid type: an array, expected a table",
    );
}

/// What was written, readable once the log is dropped.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics while it writes").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Once(bool);

impl Spout for Once {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }
    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if std::mem::replace(&mut self.0, true) {
            return Ok(SpoutStatus::Exhausted);
        }
        out.emit_tracked([1], MessageId(1))?;
        Ok(SpoutStatus::Emitted)
    }
}

struct Panics;

impl Bolt for Panics {
    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        panic!("boom\nin two lines")
    }
}

/// A panic of user code was written twice, once as raw text between the lines of JSON.
#[test]
fn a_panic_of_user_code_is_one_record_in_json_too() {
    let written = Written::default();
    let mut logging = Logging::start(Levels::default(), LogFormat::Json, false, written.clone());
    logging.log_panics();
    let mut builder = TopologyBuilder::new("panics");
    builder.spout("once", || Once(false));
    builder.bolt("panics", || Panics).shuffle("once");
    let options = LocalOptions { logger: logging.logger.clone(), ..LocalOptions::default() };
    let running = RunningTopology::start(builder.build().expect("it is valid"), options).expect("it starts");
    assert!(running.wait(DEADLINE), "the spout has an end");
    let stats = running.join();
    drop(logging);
    assert_eq!(stats.failed, 1);
    let text = String::from_utf8(written.0.lock().expect("nobody writes any more").clone()).expect("text");
    let records: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let booms: Vec<_> = records.iter().filter(|record| record.to_string().contains("boom")).collect();
    assert_eq!(booms.len(), 1, "{text}");
    let message = booms[0]["msg"].as_str().expect("a message");
    assert!(message.starts_with("panicked at tests/cases/documents.rs:"), "{message}");
    assert_eq!(booms[0]["component"], "panics");
}
