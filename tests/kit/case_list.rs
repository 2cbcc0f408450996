//! A list of cases for a test that is a program of its own, and not run by the test harness.

use std::env;
use std::panic::catch_unwind;
use std::process::ExitCode;

/// Runs these cases, by name, as the arguments of `cargo test` have it: `--list`, and names to filter by.
pub fn run(all: &[(&str, fn())]) -> ExitCode {
    let (flags, filters): (Vec<String>, Vec<String>) =
        env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let is_chosen = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(&**filter));
    let mut failed: Vec<&str> = Vec::new();
    let mut count = 0;
    for (name, case) in all.iter().filter(|(name, _)| is_chosen(name)) {
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
