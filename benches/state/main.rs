//! What state and exactly-once cost, as JSON lines; `scripts/bench.sh state` makes tables of them.
//!
//! ```text
//! cargo bench --bench state -- keys     [--keys 10000000] [--delivery exactly-once] [--barriers 200]
//! cargo bench --bench state -- memory   --of map|state|snapshots [--texts] [--keys 10000000]
//! cargo bench --bench state -- recovery [--keys 1000000] [--kills 20] [--workers 3] [--rate 100000]
//! cargo bench --bench state --features postgres -- postgres [--seconds 10]
//! ```
//!
//! * `keys`: how large a checkpoint of many keys is, in full and after 1 % of them has changed, and how long the task
//!   that has them does nothing else at a barrier.
//! * `memory`: what a process needs for each key, in state or in a plain map.
//! * `recovery`: workers are killed, one after another; how long until all tasks are at their rate again.
//! * `postgres`: rows into a table in a second, by a topology, and by a loop that writes the same batches.
//!
//! Checkpoints go to directories that are removed afterwards. The words of `scripts/bench.sh state` are counted by
//! `benches/core.rs`.

#[cfg(feature = "postgres")]
mod database;
mod keys;
mod machine;
mod memory;
mod recovery;
#[cfg(feature = "postgres")]
#[path = "../../tests/postgres/server.rs"]
mod server;
mod tap;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
    /// What `cargo bench` adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// Sizes of checkpoints, and pauses at barriers.
    Keys(keys::Options),
    /// Memory for each key.
    Memory(memory::Options),
    /// From the kill of a worker to the rate from before.
    Recovery(recovery::Options),
    /// Rows into PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(database::Options),
}

fn main() -> ExitCode {
    // A worker process of `recovery` is this program, too.
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return squall::cli::run(recovery::registry());
    }
    let measured = match Options::parse().what {
        What::Keys(options) => keys::measure(&options),
        What::Memory(options) => memory::measure(&options),
        What::Recovery(options) => recovery::measure(&options),
        #[cfg(feature = "postgres")]
        What::Postgres(options) => database::measure(&options),
    };
    match measured {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("state: {error}");
            ExitCode::FAILURE
        }
    }
}
