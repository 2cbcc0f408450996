//! squall's own binary: the command line over the ready-made components.

use std::process::ExitCode;

use squall::prelude::Registry;

/// Tuples are allocated on one thread and freed on another, which this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    squall::cli::run(Registry::with_standard())
}
