//! The files in `config/`: those of the daemons have the tables of `config/squall.toml` that they read, and units of
//! systemd start commands that there are.

use std::fs;
use std::path::Path;
use std::process::Command;

use snapbox::{Data, assert_data_eq};

const ENGINE: &str = "config/squall.toml";

/// What stands at the head of each file before the first table.
fn head(text: &str) -> &str {
    text.split_once("\n\n").map_or(text, |(head, _)| head).trim_end()
}

/// The tables of the engine's file in order, each with the comment before it: its name, and its lines.
fn tables(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let name_at = |at: usize| {
        let line = lines[at].strip_prefix('#').unwrap_or(lines[at]);
        Some(line.strip_prefix('[')?.strip_suffix(']')?.to_owned())
    };
    let headers: Vec<(usize, String)> = (0..lines.len()).filter_map(|at| Some((at, name_at(at)?))).collect();
    // The comment of a table is the lines with words right before it.
    let begin = |at: usize| (0..at).rev().find(|at| lines[*at].is_empty()).map_or(0, |blank| blank + 1);
    let begins: Vec<usize> = headers.iter().map(|(at, _)| begin(*at)).chain([lines.len()]).collect();
    let text_of = |at: usize| lines[begins[at]..begins[at + 1]].join("\n").trim_end().to_owned();
    headers.iter().enumerate().map(|(at, (_, name))| (name.clone(), text_of(at))).collect()
}

/// The file of a daemon is its own head, and these tables and those below them. `SNAPSHOTS=overwrite` writes it.
#[track_caller]
fn check(file: &str, tables_read: &[&str]) {
    let own = fs::read_to_string(file).expect("it is text");
    let engine = fs::read_to_string(ENGINE).expect("it is text");
    let root = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let read: Vec<String> = tables(&engine)
        .into_iter()
        .filter(|(name, _)| tables_read.contains(&&*root(name)) || tables_read.contains(&&**name))
        .map(|(_, text)| text)
        .collect();
    assert!(read.len() >= tables_read.len(), "a table is missing: {tables_read:?}");
    let expected = format!("{}\n\n{}\n", head(&own), read.join("\n\n"));
    assert_data_eq!(expected, Data::read_from(Path::new(file), None).raw());
}

#[test]
fn the_file_of_a_nimbus_has_the_tables_that_it_reads() {
    check("config/nimbus.toml", &["net.tls", "zookeeper", "cluster", "nimbus", "secrets"]);
}

#[test]
fn the_file_of_a_supervisor_has_the_tables_that_it_reads() {
    check("config/supervisor.toml", &["net", "worker", "zookeeper", "cluster", "supervisor", "secrets"]);
}

#[test]
fn units_of_systemd_start_commands_that_there_are() {
    for daemon in ["nimbus", "supervisor"] {
        let unit = fs::read_to_string(format!("config/systemd/squall-{daemon}.service")).expect("it is text");
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("it has one");
        let words: Vec<&str> = start.split(' ').collect();
        assert_eq!(words[..2], ["/usr/local/bin/squall", daemon]);
        let config = words.iter().position(|word| *word == "--config").expect("it names its file");
        let file = Path::new(words[config + 1]).file_name().expect("it is a file");
        assert!(Path::new("config").join(file).exists(), "{start}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
        let help = command.args(&words[1..]).arg("--help").output().expect("it runs");
        assert!(help.status.success(), "{start}: {}", String::from_utf8_lossy(&help.stderr));
    }
}
