//! The command line, of squall's own binary and of every program that embeds squall.
//!
//! A program with components of its own registers them and passes the registry to `run`; it then
//! validates, draws, lists and runs topologies by the same commands as `squall`:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use squall::prelude::Registry;
//!
//! fn main() -> ExitCode {
//!     let registry = Registry::with_standard();
//!     // registry.bolt("shout", …);
//!     squall::cli::run(registry)
//! }
//! ```
//!
//! The program may also register topologies that it builds in Rust: `registry.topology("words", …)`.
//! `my-program run words --workers 3` runs one of them in three worker processes.
//!
//! One file per command, each with its arguments and one function `execute`. Commands of two words share a folder.
//!
//! 1. Data goes to stdout, messages to stderr: a command in a pipe passes on nothing but its result.
//! 2. Exit codes: 0 done, 1 it failed or something is invalid, 2 the command line is wrong. Of commands about a cluster
//!    also 3, there is no such topology, and 4, no nimbus answers or leads.
//! 3. It is no error if the reader of stdout closes the pipe: a listing ends, a run drains.
//! 4. `--color`, `NO_COLOR` and whether the output is a terminal decide about colours.
//!
//! `topology` decides what a document means, and `runtime` what happens in a run; the commands only call
//! them and show the results.

mod checkpoint;
mod checkpoint_flags;
mod cluster;
mod completions;
mod components;
mod confine;
mod context;
mod daemons;
mod dev;
mod doctor;
mod ending;
mod error;
mod graph;
mod load;
mod log_format;
mod new;
mod plan;
mod progress;
mod run;
mod running;
mod runs;
mod schema;
mod secret;
mod settings;
mod state;
mod summary;
mod table;
mod terminal;
mod topologies;
mod user;
mod validate;
mod worker;
mod zk;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal::{ColorWhen, Stream};
use crate::logging::panics;
use crate::topology::registry::Registry;

pub use load::{Files, load};

const EXAMPLES: &str = "\
Examples:
  squall run topologies/word_count.toml              run to the end of its input
  squall run topology.toml --workers 3               the same in three worker processes
  squall run topology.toml --for 30s --json          run for 30 seconds, rows and summary as JSON
  squall validate topologies/*.toml                  report everything that is wrong with them
  squall graph topology.toml --format mermaid        draw it
  squall plan topology.toml --hosts hosts.toml       where it would run in a cluster of these hosts
  squall components count                            the settings of the component `count`
  squall new my-topology                             start a project with a bolt of your own
  squall checkpoint inspect checkpoints              check the latest checkpoint of a run
  squall submit topology.toml                        run it on the hosts of a cluster
  squall zk ls                                       what a cluster keeps in ZooKeeper

Exit codes: 0 done; 1 it failed, or a topology is invalid; 2 the command line is wrong; 3 there
is no such topology in the cluster; 4 the cluster cannot be reached.";

/// A distributed stream processor with Storm's model: topologies of spouts and bolts, declared in
/// TOML or built in Rust, run here.
#[derive(Parser, Debug)]
#[command(version, after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,

    /// When to colour what is printed
    ///
    /// `auto` colours what goes to a terminal, unless NO_COLOR is set or TERM is `dumb`.
    #[arg(
        long,
        global = true,
        // Otherwise its place among the flags of a command depends on how many commands there are.
        display_order = 900,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        env = "SQUALL_COLOR",
        hide_env_values = true
    )]
    color: ColorWhen,
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(run::Args),
    Ps(runs::ps::Args),
    Savepoint(runs::savepoint::Args),
    Stop(runs::stop::Args),
    Validate(validate::Args),
    Graph(graph::Args),
    Plan(plan::Args),
    Components(components::Args),
    Schema(schema::Args),
    New(new::Args),
    Checkpoint(checkpoint::Args),
    State(state::Args),
    Submit(topologies::submit::Args),
    List(topologies::list::Args),
    Status(topologies::status::Args),
    Errors(topologies::errors::Args),
    Logs(topologies::logs::Args),
    LogLevel(topologies::log_level::Args),
    Access(topologies::access::Args),
    Activate(topologies::activate::Args),
    Deactivate(topologies::deactivate::Args),
    Restart(topologies::restart::Args),
    Rebalance(topologies::rebalance::Args),
    Upgrade(topologies::upgrade::Args),
    Kill(topologies::kill::Args),
    Remove(topologies::remove::Args),
    Dev(dev::Args),
    Nimbus(daemons::nimbus::Args),
    Supervisor(daemons::supervisor::Args),
    Cluster(cluster::Args),
    User(user::Args),
    Secret(secret::Args),
    Zk(zk::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Worker(worker::Args),
    #[command(hide = true)]
    Master(worker::MasterArgs),
    #[command(hide = true)]
    Confine(confine::Args),
}

/// Runs the command that this program was started with, with the component types of `registry`.
///
/// Returns what `main` returns: 0 done, 1 it failed or something is invalid, 2 wrong usage, 3 there is no such topology in
/// the cluster, 4 the cluster cannot be reached.
pub fn run(registry: Registry) -> ExitCode {
    run_from(registry, std::env::args_os())
}

/// Runs this process as a worker if it was started as one; otherwise returns `None` at once.
///
/// For programs that have a command line of their own and start topologies in worker processes by
/// [`RunningWorkers`](crate::cluster::RunningWorkers). A worker process runs the same program with the
/// argument `worker`, and processes that a supervisor starts with `worker`, `master` or `confine`, so `main` must call this
/// function first. [`run`] calls it itself.
///
/// # Examples
/// ```no_run
/// use std::process::ExitCode;
/// use squall::cluster::{RunningWorkers, TopologySource, WorkersOptions};
/// use squall::prelude::*;
/// use squall::testing::FixedSpout;
///
/// fn registry() -> Registry {
///     let mut registry = Registry::with_standard();
///     registry.topology("words", || {
///         let mut builder = TopologyBuilder::new("words");
///         builder.spout("words", || FixedSpout::new(["word"], [vec![Value::from("storm")]]));
///         builder.build()
///     });
///     registry
/// }
///
/// fn main() -> ExitCode {
///     let registry = registry();
///     if let Some(code) = squall::cli::run_worker(&registry) {
///         return code;
///     }
///     let (source, topology) =
///         TopologySource::record(&squall::cli::Files, "words", &registry, &[]).expect("it is valid");
///     let running = RunningWorkers::start(topology, source, WorkersOptions::new(3)).expect("it starts");
///     ExitCode::from(u8::from(running.join().topology.failed > 0))
/// }
/// ```
pub fn run_worker(registry: &Registry) -> Option<ExitCode> {
    let args: Vec<OsString> = std::env::args_os().collect();
    let is_worker =
        args.get(1).is_some_and(|first| ["worker", "master", "confine"].iter().any(|it| first == it));
    is_worker.then(|| run_from(registry.clone(), args))
}

/// Runs a command line, the program's name first. See [`run`].
pub fn run_from<I, A>(registry: Registry, args: I) -> ExitCode
where
    I: IntoIterator<Item = A>,
    A: Into<OsString>,
{
    panics::leave_to_catchers();
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let program = program_name(args.first());
    let parsed = parser(&program)
        .try_get_matches_from(args)
        .and_then(|matches| CommandLine::from_arg_matches(&matches));
    let line = match parsed {
        Ok(line) => line,
        Err(usage) => {
            // Help and version are errors of the parser, too, with exit code 0.
            let outcome = if usage.exit_code() == 0 { CommandOutcome::Done } else { CommandOutcome::Misused };
            let context = Context { registry, program, color: ColorWhen::Auto };
            return exit_code(terminal::print_usage(&usage).map(|()| outcome), &context);
        }
    };
    let context = Context { registry, program, color: line.color };
    exit_code(execute(&line.command, &context), &context)
}

fn execute(command: &Command, context: &Context) -> Result<CommandOutcome, CommandError> {
    match command {
        Command::Run(args) => run::execute(args, context),
        Command::Ps(args) => runs::ps::execute(args),
        Command::Savepoint(args) => runs::savepoint::execute(args),
        Command::Stop(args) => runs::stop::execute(args),
        Command::Validate(args) => validate::execute(args, context),
        Command::Graph(args) => graph::execute(args, context),
        Command::Plan(args) => plan::execute(args, context),
        Command::Components(args) => components::execute(args, context),
        Command::Schema(args) => schema::execute(args, context),
        Command::New(args) => new::execute(args),
        Command::Checkpoint(args) => checkpoint::execute(args, context),
        Command::State(args) => state::execute(args),
        Command::Submit(args) => topologies::submit::execute(args, context),
        Command::List(args) => topologies::list::execute(args),
        Command::Status(args) => topologies::status::execute(args),
        Command::Errors(args) => topologies::errors::execute(args),
        Command::Logs(args) => topologies::logs::execute(args),
        Command::LogLevel(args) => topologies::log_level::execute(args),
        Command::Access(args) => topologies::access::execute(args),
        Command::Activate(args) => topologies::activate::execute(args),
        Command::Deactivate(args) => topologies::deactivate::execute(args),
        Command::Restart(args) => topologies::restart::execute(args),
        Command::Rebalance(args) => topologies::rebalance::execute(args),
        Command::Upgrade(args) => topologies::upgrade::execute(args, context),
        Command::Kill(args) => topologies::kill::execute(args),
        Command::Remove(args) => topologies::remove::execute(args),
        Command::Dev(args) => dev::execute(args, context),
        Command::Nimbus(args) => daemons::nimbus::execute(args, context),
        Command::Supervisor(args) => daemons::supervisor::execute(args, context),
        Command::Cluster(args) => cluster::execute(args, context),
        Command::User(args) => user::execute(args, context),
        Command::Secret(args) => secret::execute(args, context),
        Command::Zk(args) => zk::execute(args, context),
        Command::Doctor(args) => doctor::execute(args, context),
        Command::Completions(args) => completions::execute(args, &parser(&context.program)),
        Command::Worker(args) => worker::execute(args, context),
        Command::Master(args) => worker::execute_master(args, context),
        Command::Confine(args) => confine::execute(args),
    }
}

fn exit_code(result: Result<CommandOutcome, CommandError>, context: &Context) -> ExitCode {
    match result {
        Ok(CommandOutcome::Done) | Err(CommandError::NobodyReads) => ExitCode::SUCCESS,
        Ok(CommandOutcome::Failed) => ExitCode::from(1),
        Ok(CommandOutcome::Misused) => ExitCode::from(2),
        Ok(CommandOutcome::RolledBack) => ExitCode::from(5),
        Err(error) => {
            terminal::write_error(&error, context.colors(Stream::Err));
            ExitCode::from(error.exit_code())
        }
    }
}

/// The parser, with the name of the program. The version text of a program that embeds squall also names
/// squall.
fn parser(program: &str) -> clap::Command {
    let own_version = env!("CARGO_PKG_VERSION");
    let version = match program {
        "squall" => own_version.to_owned(),
        _ => format!("(squall {own_version})"),
    };
    CommandLine::command().name(program.to_owned()).version(version)
}

fn program_name(first: Option<&OsString>) -> String {
    let name = first.and_then(|path| Path::new(path).file_stem());
    name.map_or_else(|| "squall".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_sound() {
        parser("squall").debug_assert();
    }

    #[test]
    fn a_program_goes_by_its_own_name() {
        let check = |first: Option<&str>, expected: &str| {
            assert_eq!(program_name(first.map(OsString::from).as_ref()), expected);
        };
        check(None, "squall");
        check(Some("target/release/squall"), "squall");
        check(Some("/opt/word-counts"), "word-counts");
        assert_eq!(parser("squall").render_version(), concat!("squall ", env!("CARGO_PKG_VERSION"), "\n"));
        let version = parser("mine").render_version();
        assert_eq!(version, concat!("mine (squall ", env!("CARGO_PKG_VERSION"), ")\n"));
    }
}
