//! `squall run FILE`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::iterator::Signals;
use slog::{FilterLevel, Logger};

use crate::api::WorkerResources;
use crate::cli::checkpoint_flags::{CheckpointFlags, checkpoints_of};
use crate::cli::context::Context;
use crate::cli::ending::{EndAction, Ending, Event};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::load::{self, Overrides, STDIN};
use crate::cli::log_format::LogFormatFlag;
use crate::cli::progress::{Beside, Progress};
use crate::cli::running::{RunStats, Running};
use crate::cli::runs::{RunSocket, Served};
use crate::cli::summary;
use crate::cli::terminal::{self, Stream};
use crate::clock::{Clock, Time};
use crate::cluster::control::LogSpec;
use crate::cluster::signals;
use crate::cluster::{OutputLines, RunningWorkers, TopologySource, WorkersOptions};
use crate::components::print::{PRINT_RESOURCE, PrintStyle, PrintTarget};
use crate::components::stream::{self, Stream as OutputStream};
use crate::config::{EngineOptions, units};
use crate::logging::{Levels, LogFormat, Logging};
use crate::runtime::{LocalOptions, RunningTopology, secret_directory};
use crate::secrets::SecretDirectory;
use crate::text::{escaped_json, shown};
use crate::topology::graph::Topology;

/// How often the loop checks signals and the time, and updates the progress line.
const LOOK_EACH: Duration = Duration::from_millis(100);
/// How long a topology may take to stop. After that the process ends without waiting for it.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// The same with worker processes, which are stopped first, and killed if they do not stop.
const STOP_GRACE_WORKERS: Duration = Duration::from_secs(10);
/// The most worker processes on one machine.
const WORKERS_HERE_MAX: u16 = 64;

const EXAMPLES: &str = "\
Examples:
  squall run topologies/word_count.toml
  squall run topologies/word_count.toml --workers 3
  squall run topology.toml --for 30s
  squall run topology.toml --set bolt.count.parallelism=4 --set topology.message_timeout=5s
  squall run exactly_once.toml --resume=2-17
  squall run topology.toml --json | jq -c 'select(.component == \"print\").values'
  generate-topology | squall run - --log info,count=debug --log-format json

A run ends when all its spouts are exhausted and everything is processed, or after --for, or on a
signal such as SIGINT, SIGTERM or SIGHUP; the latter two drain it: spouts stop, and what is in
flight is processed, at most for the topology's `drain_timeout` (30s by default). A
second signal stops at once.

Exit codes: 0 everything was processed; 1 something failed for good, or the run was cut short, or
the topology is invalid; 2 the command line is wrong.";

/// The error for a topology that starts inactive: no command activates it.
const START_INACTIVE: &str = "the topology sets `start_inactive`, and nothing would ever activate it here: \
    remove the key, or add `--set topology.start_inactive=false`. It is for programs that embed squall, which \
    call `RunningTopology::activate`";

/// Run a topology, in this process or in several
///
/// Rows that `print` bolts show go to stdout. Progress, logs and the summary go to stderr.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The topology document, or `-` for stdin; or the name of a topology that the program registers
    #[arg(value_name = "FILE")]
    file: String,

    #[command(flatten)]
    overrides: Overrides,

    /// Run it in so many worker processes, which are watched and started again when they die
    ///
    /// The default is `workers` of the topology. Without either, it runs in this process.
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, env = "SQUALL_WORKERS", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..=WORKERS_HERE_MAX as i64))]
    workers: Option<u16>,

    /// The engine's file, `squall.toml`: how workers are connected and watched
    #[arg(long, value_name = "FILE", env = "SQUALL_CONFIG", hide_env_values = true)]
    config: Option<String>,

    /// End the run after so long, as in `500ms`, `30s`, `1h 30m`; otherwise when its input ends
    #[arg(long = "for", value_name = "DURATION", allow_hyphen_values = true, value_parser = parse_duration, env = "SQUALL_FOR", hide_env_values = true)]
    run_for: Option<Duration>,

    #[command(flatten)]
    checkpoints: CheckpointFlags,

    /// Print rows and summary as JSON
    ///
    /// Each row of a `print` bolt is one line, {"component": …, "stream": …, "values": {…}}. The
    /// last line is {"summary": {…}} with emitted, acked, failed, replayed and pending messages,
    /// what stopped the run, replays by cause, workers, seconds, tuples_per_second, and complete_latency_ms with p50, p99
    /// and max.
    #[arg(long, env = "SQUALL_JSON", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,

    /// Log levels: one for all, and one for each component that differs, as in `info,count=debug`
    ///
    /// Levels are off, critical, error, warn, info, debug and trace. The default is info, and warn
    /// with --quiet.
    #[arg(long, value_name = "SPEC", env = "SQUALL_LOG", hide_env_values = true)]
    log: Option<Levels>,

    #[command(flatten)]
    log_format: LogFormatFlag,

    /// No progress line, no summary on stderr, and no log below warn
    #[arg(short, long, env = "SQUALL_QUIET", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    quiet: bool,
}

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    match units::parse_duration(text)? {
        Duration::ZERO => Err("it must be longer than nothing".to_owned()),
        duration => Ok(duration),
    }
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(engine) = load::engine(args.config.as_deref(), context) else {
        return Ok(CommandOutcome::Failed);
    };
    let secrets = secret_directory(&engine.secrets);
    let recorded = args.overrides.record_for_this_host(&args.file, (&context.registry, &secrets));
    let (source, topology) = match recorded {
        Ok(read) => read,
        Err(errors) => {
            terminal::write_message(&errors.render(context.colors(Stream::Err)));
            return Ok(CommandOutcome::Failed);
        }
    };
    if topology.options().start_inactive {
        return Err(CommandError::Refused(START_INACTIVE.to_owned()));
    }
    let name = topology.name().to_owned();
    let stats = run_to_the_end(Work { source, topology, engine, secrets }, args, context)?;
    if !args.quiet {
        terminal::write_message(&summary::for_people(&name, &stats));
    }
    if args.json {
        print_unless_closed(&escaped_json(&format!("{}\n", summary::in_json(&name, &stats))))?;
    }
    Ok(summary::outcome(&stats))
}

/// Refuses options of the engine that do not fit a topology that runs in workers.
fn check_fit(engine: &EngineOptions, topology: &Topology) -> Result<(), CommandError> {
    let problems = engine.problems_with(topology.options());
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if lines.is_empty() { Ok(()) } else { Err(CommandError::Refused(lines.join("\n"))) }
}

/// The number of worker processes for a topology; `None`: it runs in this process.
fn workers(args: &Args, topology: &Topology) -> Result<Option<u16>, CommandError> {
    let declared = topology.options().workers;
    match (args.workers, u16::try_from(declared)) {
        (Some(workers), _) => Ok(Some(workers)),
        (None, Ok(1)) => Ok(None),
        (None, Ok(workers)) if workers <= WORKERS_HERE_MAX => Ok(Some(workers)),
        (None, _) => Err(CommandError::Refused(format!(
            "the topology wants {declared} workers, but at most {WORKERS_HERE_MAX} run on one machine; \
             `--workers N` overrides it"
        ))),
    }
}

/// Prints the summary. A closed pipe does not change the outcome of the run.
fn print_unless_closed(line: &str) -> Result<(), CommandError> {
    match terminal::print(line) {
        Err(CommandError::NobodyReads) => Ok(()),
        result => result,
    }
}

/// The topology to run, and the options of the engine.
struct Work {
    source: TopologySource,
    topology: Topology,
    engine: EngineOptions,
    /// The secrets of this host.
    secrets: SecretDirectory,
}

fn run_to_the_end(work: Work, args: &Args, context: &Context) -> Result<RunStats, CommandError> {
    let Work { source, topology, engine, secrets } = work;
    let watched = signals::draining();
    let signals = Signals::new(watched).map_err(CommandError::io("watch for signals"))?;
    signals::survive_file_size_limit().map_err(CommandError::io("watch for signals"))?;
    let (workers, checkpoints) = (workers(args, &topology)?, args.checkpoints.begin(&topology)?);
    let shown = !args.quiet && Stream::Err.is_terminal();
    let mut progress = Progress::new(topology.name(), args.run_for, shown);
    let logging = start_log(args, context, &progress);
    let unwritten = FirstError::default();
    topology.warnings().iter().for_each(|text| slog::warn!(logging.logger, "{}", text));
    let served = (topology.name().to_owned(), checkpoints_of(&topology));
    let (running, stop_grace) = match workers {
        None => {
            let resources = WorkerResources::default();
            resources.set(PRINT_RESOURCE, print_target(args, &progress));
            resources.set_secrets(secrets);
            let metrics = context.registry.metrics().cloned();
            let logger = logging.logger.clone();
            let allow_dropped_state = args.checkpoints.allow_dropped_state.clone();
            let options = LocalOptions { logger, resources, metrics, checkpoints, allow_dropped_state };
            (Running::Here(RunningTopology::start(topology, options)?), STOP_GRACE)
        }
        Some(workers) => {
            check_fit(&engine, &topology)?;
            let options = workers_options(workers, args, context, &progress, &logging.logger);
            let options = WorkersOptions { stdout: rows_for_terminal(&progress, &unwritten), ..options };
            let options =
                WorkersOptions { net: engine.net, worker: engine.worker, checkpoints, secrets, ..options };
            let running = RunningWorkers::start(topology, source, options)?;
            (Running::InWorkers(running), STOP_GRACE_WORKERS)
        }
    };
    let running = Arc::new(running);
    let socket = open_socket(&running, (args, workers.unwrap_or(0)), served, &logging.logger);
    let ended = watch(&running, signals, (args.run_for, stop_grace), &mut progress, &logging.logger);
    progress.finish();
    drop(socket);
    if ended {
        let mut stats = sole_owner(running).join();
        let unwritten = unwritten.lock().unwrap_or_else(PoisonError::into_inner).take();
        let failure = unwritten.map(|error| format!("cannot write to standard output: {error}"));
        stats.failure = stats.failure.or(failure);
        return Ok(stats);
    }
    let mut stats = running.stats();
    stats.topology.cut_short = true;
    // If a call into a component does not return, `join` and `drop` of the topology would wait for it.
    // The process ends now, and its threads with it.
    std::mem::forget(running);
    Ok(stats)
}

/// Opens the socket by which other commands reach the run. Without one it goes on.
fn open_socket(
    running: &Arc<Running>,
    (args, workers): (&Args, u16),
    (topology, checkpoints): (String, Option<PathBuf>),
    logger: &Logger,
) -> Option<RunSocket> {
    let (file, logger) = (args.file.clone(), logger.clone());
    let running = Arc::downgrade(running);
    let served = Served { running, topology, file, workers, checkpoints, logger: logger.clone() };
    let socket = RunSocket::open(served);
    let warn = |error: &io::Error| {
        slog::warn!(logger, "`squall ps`, `savepoint` and `stop` cannot reach this run: {}", shown(error));
    };
    socket.inspect_err(warn).ok()
}

/// The run, once whoever answers a command has let go of it. The run has ended, so that is soon.
fn sole_owner(mut running: Arc<Running>) -> Running {
    loop {
        match Arc::try_unwrap(running) {
            Ok(running) => return running,
            Err(shared) => running = shared,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn workers_options(
    workers: u16,
    args: &Args,
    context: &Context,
    progress: &Progress,
    logger: &Logger,
) -> WorkersOptions {
    WorkersOptions {
        logger: logger.clone(),
        log: LogSpec {
            levels: levels(args),
            format: args.log_format.format(),
            color: context.colors(Stream::Err),
        },
        stderr: Some(stderr_lines(args, progress, logger)),
        print: print_style(args),
        stdin: args.file != STDIN,
        metrics: context.registry.metrics().cloned(),
        allow_dropped_state: args.checkpoints.allow_dropped_state.clone(),
        ..WorkersOptions::new(workers)
    }
}

/// Passes on the lines that workers write to stderr. Log records are already formatted and are passed on
/// unchanged. Any other line, as of a panic, becomes a log record if records are JSON.
fn stderr_lines(args: &Args, progress: &Progress, logger: &Logger) -> OutputLines {
    let pass_on = lines_to(progress.beside(OutputStream::stderr()));
    let is_json = args.log_format.format() == LogFormat::Json;
    let logger = logger.clone();
    Arc::new(move |worker, line| {
        if is_json && !line.starts_with('{') {
            slog::warn!(logger, "a worker wrote to its stderr"; "worker" => worker.0, "line" => line);
        } else {
            pass_on(worker, line);
        }
    })
}

/// The first error of writing rows. This process writes them, so workers do not notice it.
type FirstError = Arc<Mutex<Option<io::Error>>>;

/// Writes the workers' rows beside the progress line, if standard output is a terminal.
fn rows_for_terminal(progress: &Progress, unwritten: &FirstError) -> Option<OutputLines> {
    let rows = || rows_to(progress.beside(OutputStream::stdout()), unwritten);
    Stream::Out.is_terminal().then(rows)
}

fn rows_to(writer: impl Write + Send + 'static, unwritten: &FirstError) -> OutputLines {
    let (writer, unwritten) = (Mutex::new(writer), Arc::clone(unwritten));
    Arc::new(move |_, line| {
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(failed) = stream::write_counted(&mut *writer, format!("{line}\n").as_bytes()) {
            unwritten.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failed.error);
        }
    })
}

fn lines_to(writer: Beside<impl Write + Send + 'static>) -> OutputLines {
    let writer = Mutex::new(writer);
    Arc::new(move |_, line| {
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        // The reader may have closed the pipe; this is no error.
        let _ = stream::write_counted(&mut *writer, format!("{line}\n").as_bytes());
    })
}

/// Watches a topology until it has ended. Returns false if it could not be stopped.
fn watch(
    running: &Running,
    mut signals: Signals,
    (run_for, stop_grace): (Option<Duration>, Duration),
    progress: &mut Progress,
    logger: &Logger,
) -> bool {
    let clock = Clock::real();
    let ends_at = run_for.map_or(Time::NEVER, |run_for| clock.now().after(run_for));
    let mut ending = Ending::default();
    let mut gone_by = Time::NEVER;
    while !running.wait(LOOK_EACH) {
        let time_up = (clock.now() >= ends_at).then_some(Event::TimeUp);
        for event in signals.pending().map(event_of).chain(time_up) {
            match ending.on(event) {
                EndAction::GoOn => {}
                EndAction::Drain => {
                    slog::info!(logger, "draining"; "because" => because(event));
                    running.drain();
                }
                EndAction::Stop => {
                    slog::warn!(logger, "stopping at once"; "because" => because(event));
                    running.kill();
                    gone_by = clock.now().after(stop_grace);
                }
            }
        }
        if clock.now() >= gone_by {
            slog::warn!(logger, "a component does not return; leaving it behind");
            return false;
        }
        progress.show(&running.stats(), ending.has_begun());
    }
    true
}

fn start_log(args: &Args, context: &Context, progress: &Progress) -> Logging {
    let color = context.colors(Stream::Err);
    let mut logging = Logging::start(
        levels(args),
        args.log_format.format(),
        color,
        progress.beside(OutputStream::stderr()),
    );
    logging.log_panics();
    logging
}

fn levels(args: &Args) -> Levels {
    let default = if args.quiet { FilterLevel::Warning } else { FilterLevel::Info };
    args.log.clone().unwrap_or_else(|| Levels::all(default))
}

fn print_style(args: &Args) -> PrintStyle {
    if args.json { PrintStyle::JsonLines } else { PrintStyle::Table }
}

/// The target and the style of rows: beside the progress line if both are on the same terminal.
fn print_target(args: &Args, progress: &Progress) -> PrintTarget {
    let style = print_style(args);
    match Stream::Out.is_terminal() {
        true => PrintTarget::new(style, progress.beside(OutputStream::stdout())),
        false => PrintTarget::stdout(style),
    }
}

fn event_of(signal: i32) -> Event {
    if signals::is_processor_limit(signal) { Event::ProcessorTimeUp } else { Event::Signal }
}

fn because(event: Event) -> &'static str {
    match event {
        Event::TimeUp => "the time is up",
        Event::ProcessorTimeUp => "the limit of processor time is reached",
        Event::Signal => "of a signal",
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::ids::WorkerId;

    /// Workers wrote rows to a terminal that no longer existed, and the run still ended with exit code 0.
    #[test]
    fn a_row_that_the_terminal_does_not_take_is_remembered() {
        let unwritten = FirstError::default();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let rows = rows_to(full, &unwritten);
        rows(WorkerId(0), "a row");
        rows(WorkerId(1), "another");
        let error = unwritten.lock().expect("nobody panics").take().expect("the row was not written");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn durations_are_written_with_units() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        };
        check("500ms", Some(500));
        check("30s", Some(30_000));
        check("1h 30m", Some(5_400_000));
        check("30", None);
        check("0s", None);
        check("-3s", None);
        check("30 parsecs", None);
    }
}
