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

mod cases;
#[path = "../dev_kit/mod.rs"]
mod dev_kit;
mod in_a_cluster;
#[path = "../kit/in_order.rs"]
mod in_order;
mod program;
mod storm;

use std::env;
use std::panic::catch_unwind;
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
    // The arguments of `cargo test` that matter to a list of cases: `--list`, and names to filter by.
    let (flags, filters): (Vec<String>, Vec<String>) =
        env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let chosen =
        cases::ALL.iter().filter(|(name, _)| filters.is_empty() || filters.iter().any(|f| name.contains(f)));
    let mut failed: Vec<&str> = Vec::new();
    let mut count = 0;
    for (name, case) in chosen {
        count += 1;
        if flags.iter().any(|flag| flag == "--list") {
            println!("{name}: test");
            continue;
        }
        let passed = catch_unwind(case).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed.extend((!passed).then_some(name));
    }
    println!("\n{count} cases, {} failed: {failed:?}", failed.len());
    ExitCode::from(u8::from(!failed.is_empty()))
}
