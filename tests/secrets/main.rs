//! Secrets of topologies in a program of somebody's own, run as its users run it: in one process, in worker processes and
//! in a cluster that does not have the program. A value must appear nowhere but in its file.
//!
//! A worker process is the same program started again, so this test is a program (without the test harness), as
//! `own_program` is.
//!
//! * `program`: a bolt with a setting that is a secret. It proves that it has the value by the hash of it.
//! * `canary`: a value that nobody else has, and where it is looked for.
//! * `cases`: one process and worker processes. `commands`: `squall secret`. `in_a_cluster`: the same on hosts.

mod canary;
#[path = "../kit/case_list.rs"]
mod case_list;
mod cases;
mod commands;
#[path = "../dev_kit/mod.rs"]
mod dev_kit;
mod in_a_cluster;
mod program;

use std::env;
use std::process::ExitCode;

/// What the program is started with to be itself, and not the test.
const COMMANDS: &[&str] = &[
    "run",
    "validate",
    "graph",
    "plan",
    "components",
    "schema",
    "worker",
    "master",
    "submit",
    "rebalance",
    "upgrade",
];

/// All cases by name.
const ALL: &[(&str, fn())] = &[
    (
        "a_document_names_secrets_only_where_settings_are",
        cases::a_document_names_secrets_only_where_settings_are,
    ),
    ("a_missing_secret_ends_a_run_before_it_begins", cases::a_missing_secret_ends_a_run_before_it_begins),
    ("a_file_that_others_may_read_is_not_used", cases::a_file_that_others_may_read_is_not_used),
    ("a_run_has_the_value_and_shows_it_nowhere", cases::a_run_has_the_value_and_shows_it_nowhere),
    (
        "worker_processes_have_the_value_and_show_it_nowhere",
        cases::worker_processes_have_the_value_and_show_it_nowhere,
    ),
    ("secrets_are_set_listed_and_removed", commands::secrets_are_set_listed_and_removed),
    ("names_lead_nowhere_else", commands::names_lead_nowhere_else),
    ("values_that_cannot_be_used_are_refused", commands::values_that_cannot_be_used_are_refused),
    ("a_value_never_leaves_its_host", in_a_cluster::a_value_never_leaves_its_host),
    (
        "a_secret_that_is_gone_is_reported_and_waited_for",
        in_a_cluster::a_secret_that_is_gone_is_reported_and_waited_for,
    ),
];

fn main() -> ExitCode {
    let first = env::args().nth(1).unwrap_or_default();
    if COMMANDS.contains(&first.as_str()) {
        return squall::cli::run(program::registry());
    }
    case_list::run(ALL)
}
