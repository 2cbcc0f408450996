//! Every shipped component on a driver thread and on a thread of its own, at a low rate, in one process
//! and over workers.
//!
//! With `blocking = true` rows came late or never: `generate` at two rows a second showed nothing for
//! 6 s, `lines` over standard input and `delay` with `sleep = true` nothing at all, and `file` with
//! `sync = true` made 33 rows a second. Here `max_spout_pending` is 1, so each row comes only after all
//! that came of the row before it was acked, in every branch. A branch that stands still stops all.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::kit::{DEADLINE, Place, send_signal, wait, wait_until};

/// Rows that must come out of each branch before the run is ended.
const ROWS: usize = 4;

/// A branch of the topology for each bolt that emits: its settings, and what else it needs.
const BRANCHES: [(&str, &str, &str); 9] = [
    ("split", r#"config = { field = "line", emit = "line" }"#, ""),
    ("count", r#"config = { by = ["line"], emit = "updates" }"#, r#"fields = ["line"]"#),
    ("filter", r#"config = { where = 'line != ""', fields = ["line"] }"#, ""),
    ("map", r#"config = { set = { line = 'line + "!"' } }"#, ""),
    ("project", r#"config = { fields = ["line"] }"#, ""),
    ("parse", r#"config = { format = "regex", pattern = '^(?<line>.*)$' }"#, ""),
    ("sample", r#"config = { every = 1, fields = ["line"] }"#, ""),
    ("delay", "config = { period = \"1ms\", fields = [\"line\"] }\ntick = \"5ms\"", ""),
    ("sleeping", r#"config = { period = "1ms", sleep = true, fields = ["line"] }"#, ""),
];

fn topology(spout: &str, blocking: &str) -> String {
    let mut text =
        format!("[topology]\nname = \"threads\"\nmax_spout_pending = 1\n{spout}blocking = {blocking}\n");
    let mut inputs = Vec::new();
    for (name, config, grouping) in BRANCHES {
        let kind = if name == "sleeping" { "delay" } else { name };
        let input = if grouping.is_empty() {
            r#"{ from = "source" }"#.to_owned()
        } else {
            format!(r#"{{ from = "source", {grouping} }}"#)
        };
        text += &format!(
            "[bolt.{name}]\ntype = \"{kind}\"\nblocking = {blocking}\ninputs = [{input}]\n{config}\n"
        );
        let named = format!("named-{name}");
        text += &format!(
            "[bolt.{named}]\ntype = \"map\"\nblocking = {blocking}\ninputs = [\"{name}\"]\n\
             config = {{ set = {{ branch = '\"{name}\"' }} }}\n"
        );
        inputs.push(format!("\"{named}\""));
    }
    text +=
        &format!("[bolt.print]\ntype = \"print\"\nblocking = {blocking}\ninputs = [{}]\n", inputs.join(", "));
    text += &format!(
        "[bolt.file]\ntype = \"file\"\nblocking = {blocking}\ninputs = [\"source\"]\n\
         config = {{ path = \"out.jsonl\", sync = true }}\n"
    );
    text + &format!("[bolt.null]\ntype = \"null\"\nblocking = {blocking}\ninputs = [\"source\"]\n")
}

const GENERATE: &str =
    "[spout.source]\ntype = \"generate\"\nconfig = { fields = { line = \"row {seq}\" }, rate = 50 }\n";
const LINES: &str = "[spout.source]\ntype = \"lines\"\nconfig = { path = \"-\" }\n";

/// The lines that a child prints, as they come.
fn printed(child: &mut Child) -> Receiver<String> {
    let stdout = child.stdout.take().expect("it is piped");
    let (send, lines) = channel();
    thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
    });
    lines
}

/// Waits until every branch has shown so many rows.
fn expect_rows(lines: &Receiver<String>, rows: usize, what: &str) {
    let mut seen = vec![0; BRANCHES.len()];
    while seen.iter().any(|seen| *seen < rows) {
        let line =
            lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("{what}: rows of each branch: {seen:?}"));
        let branch = BRANCHES.iter().position(|(name, ..)| line.contains(&format!("\"{name}\"")));
        seen[branch.unwrap_or_else(|| panic!("{what}: {line}"))] += 1;
    }
}

fn check(spout: &str, blocking: &str, workers: &str) {
    let what =
        format!("blocking = {blocking}, {workers} workers, {}", spout.lines().nth(1).unwrap_or_default());
    let place = Place::with(&[("t.toml", &topology(spout, blocking))]);
    let mut command = place.squall(&["run", "t.toml", "--json", "--workers", workers]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let lines = printed(&mut child);
    if spout == LINES {
        // One line at a time: nothing that comes later can push an earlier one along.
        let mut stdin = child.stdin.take().expect("it is piped");
        for n in 0..ROWS {
            writeln!(stdin, "row {n}").expect("squall reads");
            expect_rows(&lines, 1, &what);
        }
    } else {
        expect_rows(&lines, ROWS, &what);
        send_signal("TERM", &child.id().to_string());
    }
    // The rest is read, so that nobody waits for a full pipe.
    let rest = thread::spawn(move || lines.iter().count());
    wait(child).exits(0);
    rest.join().expect("the reader ends");
    wait_until("the rows in the file", || {
        fs::read_to_string(place.path("out.jsonl")).is_ok_and(|text| text.lines().count() >= ROWS)
    });
}

#[test]
fn every_component_works_on_both_kinds_of_thread() {
    for blocking in ["false", "true"] {
        for workers in ["1", "2"] {
            check(GENERATE, blocking, workers);
            check(LINES, blocking, workers);
        }
    }
}

/// The section of the page on components about one type.
fn section_of(kind: &str) -> &'static str {
    const PAGE: &str = include_str!("../../docs/components.md");
    let start = PAGE.find(&format!("\n## `{kind}`\n")).unwrap_or_else(|| panic!("no section on `{kind}`"));
    let section = &PAGE[start + 1..];
    section.find("\n## ").map_or(section, |end| &section[..end])
}

/// Whatever a shipped component counts is in the summary, and its section of the page says what it means.
/// `postgres` is not here, because it needs a server: tests/postgres looks at its counters.
#[test]
fn what_every_component_counts_is_documented() {
    let mut counted = BTreeSet::new();
    let generate = GENERATE.replace("config = {", "config = { count = 2,");
    for (spout, kind) in [(LINES, "lines"), (&generate, "generate")] {
        let place = Place::with(&[("t.toml", &topology(spout, "false"))]);
        let summary = place.run_with_input(&["run", "t.toml", "--json"], b"one\ntwo\n").exits(0).summary();
        for component in summary["components"].as_array().expect("a list") {
            let id = component["id"].as_str().expect("a name");
            let kind = match id {
                "source" => kind,
                "sleeping" => "delay",
                _ if id.starts_with("named-") => "map",
                _ => id,
            };
            for (name, _) in component["metrics"].as_object().into_iter().flatten() {
                assert!(
                    section_of(kind).contains(&format!("`{name}`")),
                    "`{name}` of `{kind}` is not explained"
                );
                counted.insert(name.clone());
            }
        }
    }
    for name in ["invalid_utf8", "unmatched", "rejected", "left_out", "released_early", "rows_refused"] {
        assert!(counted.contains(name), "`{name}` is not in the summary: {counted:?}");
    }
}
