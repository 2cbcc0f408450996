//! `squall validate FILE...`.

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::load::{self, Overrides};
use crate::cli::terminal::{self, Stream};
use crate::runtime::secret_directory;
use crate::text::shown;
use crate::topology::graph::{Component, Topology};

const EXAMPLES: &str = "\
Examples:
  squall validate topologies/*.toml
  squall validate topology.toml --set bolt.count.parallelism=0
  squall validate topology.toml --skip-secrets       for hosts that have other secrets than this one
  squall validate topology.toml --json | jq -r '.[].message'

Exit codes: 0 all are valid; 1 something is wrong with one of them; 2 the command line is wrong.";

/// Report everything that is wrong with topologies
///
/// Every mistake of every file is shown at once, with its line, a caret under the place, and what
/// to write instead. Nothing is started.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Topology documents, `-` for stdin, and names of topologies that the program registers
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,

    #[command(flatten)]
    overrides: Overrides,

    /// The engine's file, `squall.toml`, which says where secrets are
    #[arg(long, value_name = "FILE", env = "SQUALL_CONFIG", hide_env_values = true)]
    config: Option<String>,

    /// Do not look whether this host has the secrets that the documents name
    #[arg(long)]
    skip_secrets: bool,

    /// Print a JSON array on stdout, with file, line, column, message and help of each mistake
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(engine) = load::engine(args.config.as_deref(), context) else {
        return Ok(CommandOutcome::Failed);
    };
    let secrets = secret_directory(&engine.secrets);
    let load = |file: &str| match args.skip_secrets {
        true => args.overrides.load(file, &context.registry),
        false => args.overrides.load_for_this_host(file, (&context.registry, &secrets)),
    };
    let mut problems = Vec::new();
    let mut valid = true;
    for (index, file) in args.files.iter().enumerate() {
        match load(file) {
            Ok(topology) if !args.json => {
                terminal::write_message(&format!("{}: {}", shown(file), describe(&topology)));
                topology
                    .warnings()
                    .iter()
                    .for_each(|text| terminal::write_message(&format!("warning: {text}")));
            }
            Ok(_) => {}
            Err(errors) => {
                valid = false;
                if args.json {
                    problems.extend(errors.diagnostics().iter().map(|problem| json!(problem)));
                } else {
                    let gap = if index > 0 { "\n" } else { "" };
                    terminal::write_message(&format!("{gap}{}", errors.render(context.colors(Stream::Err))));
                }
            }
        }
    }
    if args.json {
        terminal::print_json(&Value::Array(problems))?;
    }
    Ok(CommandOutcome::done_if(valid))
}

fn describe(topology: &Topology) -> String {
    let spouts = topology.components().iter().filter(|component| component.is_spout()).count();
    let tasks: u32 = topology.components().iter().map(tasks_of).sum();
    format!(
        "valid: `{}`, {}, {}, {}",
        topology.name(),
        counted(spouts, "spout"),
        counted(topology.components().len() - spouts, "bolt"),
        counted(tasks as usize, "task"),
    )
}

fn tasks_of(component: &Component) -> u32 {
    component.options.task_count()
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
