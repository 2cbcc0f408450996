//! The peers of squall's benchmarks that run without a JVM.
//!
//! `handwritten` is what a good engineer would write for one job and no other:
//! a thread per task, batches over bounded channels, no acking. `timely` is the
//! same work on timely dataflow. Both share the tuple, the source's pace, the
//! counter's map and the meter, so what differs is only who moves the tuples.
//!
//! Stdout carries one JSON line per measured interval and nothing else.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use serde_json::json;

mod counts;
mod dataflow;
mod handwritten;
mod meter;
mod workload;

use meter::{Label, Meter};
use workload::{Job, Tasks, Text, Workload};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    peer: Peer,
}

#[derive(Subcommand)]
enum Peer {
    /// One thread per task, batches over bounded channels.
    Handwritten {
        #[command(flatten)]
        run: Run,
        /// 1/1/1 or 1/2/2: sources, splitters, counters.
        #[arg(long, default_value = "1/1/1")]
        tasks: Tasks,
        /// Batches a channel holds before its sender waits.
        #[arg(long, default_value_t = 512)]
        queue: usize,
    },
    /// Timely dataflow: every worker runs every operator.
    Timely {
        #[command(flatten)]
        run: Run,
        #[arg(long, default_value_t = 1)]
        workers: usize,
        /// How many of the workers read the text; timely's own habit is all of them.
        #[arg(long, default_value_t = 1)]
        sources: usize,
        /// Tuples a source emits per timestamp.
        #[arg(long, default_value_t = 4096)]
        chunk: usize,
        /// Timestamps a source may be ahead of the sinks.
        #[arg(long, default_value_t = 8)]
        window: u64,
    },
}

#[derive(Args)]
struct Run {
    workload: Workload,
    /// The lines that wordcount and latency cycle through.
    #[arg(long)]
    text: Option<PathBuf>,
    /// Words per second of the latency workload.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds before the first measured interval.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Seconds of each measured interval.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Measured intervals.
    #[arg(long, default_value_t = 1)]
    repeat: u32,
}

fn main() -> ExitCode {
    match start(Cli::parse().peer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("native: {reason}");
            ExitCode::from(2)
        }
    }
}

/// Starts the peer, measures it, and leaves its threads to the end of the process.
fn start(peer: Peer) -> Result<(), String> {
    let (run, meter, label) = match peer {
        Peer::Handwritten { run, tasks, queue } => {
            let meter = Meter::new(run.workload.sinks(tasks.last));
            handwritten::start(run.job()?, tasks, queue, &meter);
            let label = Label {
                peer: "handwritten",
                workload: run.workload.name(),
                tasks: run.workload.tasks(tasks),
                config: json!({
                    "batch": handwritten::BATCH,
                    "queue_batches": queue,
                    "yields": handwritten::YIELDS,
                    "rate": run.rate,
                }),
            };
            (run, meter, label)
        }
        Peer::Timely { run, workers, sources, chunk, window } => {
            if !(1..=workers).contains(&sources) {
                return Err(format!("--sources {sources} is not between 1 and --workers {workers}"));
            }
            let tasks = Tasks { first: sources, middle: workers, last: workers };
            let meter = Meter::new(run.workload.sinks(workers));
            let flow = dataflow::Flow { workers, sources, chunk, window };
            dataflow::start(run.job()?, flow, &meter);
            let label = Label {
                peer: "timely",
                workload: run.workload.name(),
                tasks: run.workload.tasks(tasks),
                config: json!({"workers": workers, "chunk": chunk, "window": window, "rate": run.rate}),
            };
            (run, meter, label)
        }
    };
    let seconds = Duration::from_secs_f64(run.seconds);
    meter.measure(&label, Duration::from_secs_f64(run.warmup), seconds, run.repeat);
    Ok(())
}

impl Run {
    fn job(&self) -> Result<Job, String> {
        let text = || {
            let path = self.text.as_ref().ok_or("this workload needs --text FILE")?;
            Text::load(path).map_err(|why| format!("{}: {why}", path.display()))
        };
        Ok(match self.workload {
            Workload::Null => Job::Null,
            Workload::Identity => Job::Identity,
            Workload::Wordcount => Job::Wordcount(text()?),
            Workload::Latency => {
                let rate = self.rate.filter(|rate| *rate > 0.0);
                Job::Latency(text()?, rate.ok_or("latency needs --rate WORDS_PER_SEC above 0")?)
            }
        })
    }
}
