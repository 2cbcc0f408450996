//! A program of somebody's own, run as its users run it: topologies in Rust, hooks, groupings and
//! resources that it registers, in one process and in worker processes.
//!
//! A worker process is the same program started again, so this test is a program (without the test
//! harness): started with a command of squall's it hands over to `squall::cli::run`, and otherwise it
//! runs its cases, each of which starts it with a command.
//!
//! * `program`: what it registers.
//! * `storm`: topologies of Storm's own tests for several workers.
//! * `cases`: what is expected of it. `in_a_cluster`: the same where the cluster does not have the program.

#[path = "../kit/case_list.rs"]
mod case_list;
mod cases;
#[path = "../dev_kit/mod.rs"]
mod dev_kit;
mod in_a_cluster;
#[path = "../kit/in_order.rs"]
mod in_order;
mod program;
mod storm;

use std::env;
use std::process::ExitCode;

/// What the program is started with to be itself, and not the test.
const COMMANDS: &[&str] = &[
    "run",
    "validate",
    "graph",
    "components",
    "schema",
    "worker",
    "master",
    "ps",
    "state",
    "submit",
    "upgrade",
];

fn main() -> ExitCode {
    let first = env::args().nth(1).unwrap_or_default();
    if COMMANDS.contains(&first.as_str()) {
        return squall::cli::run(program::registry());
    }
    case_list::run(cases::ALL)
}
