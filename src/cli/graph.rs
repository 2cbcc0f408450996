//! `squall graph FILE`.

use clap::ValueEnum;

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::load::Overrides;
use crate::cli::terminal::{self, Stream};

const EXAMPLES: &str = "\
Examples:
  squall graph topology.toml
  squall graph topology.toml --format mermaid           for Markdown pages
  squall graph topology.toml --format dot | dot -Tsvg > topology.svg";

/// Draw the graph of a topology
///
/// Shows components with type and parallelism, and the streams between them with their groupings.
/// The topology has to be valid. Nothing is started.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The topology document, or `-` for stdin; or the name of a topology that the program registers
    #[arg(value_name = "FILE")]
    file: String,

    #[command(flatten)]
    overrides: Overrides,

    /// How to draw it: for a terminal, as a Mermaid flowchart, or for Graphviz
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
}

/// How a graph is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    #[default]
    Text,
    Mermaid,
    Dot,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let mut topology = match args.overrides.load(&args.file, &context.registry) {
        Ok(topology) => topology,
        Err(errors) => {
            terminal::write_message(&errors.render(context.colors(Stream::Err)));
            return Ok(CommandOutcome::Failed);
        }
    };
    // Which components run as chains depends on the cores of this machine.
    topology.options.resolve_threads();
    let drawing = match args.format {
        Format::Text => topology.to_text(),
        Format::Mermaid => topology.to_mermaid(),
        Format::Dot => topology.to_dot(),
    };
    terminal::print(&drawing)?;
    Ok(CommandOutcome::Done)
}
