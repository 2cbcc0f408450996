//! `squall schema`.

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::topology::schema;

const EXAMPLES: &str = "\
Examples:
  squall schema > squall-topology.json
  squall schema --engine > squall-engine.json

With the line `#:schema ./squall-topology.json` at the top of a topology document, an editor that
knows Tombi or Taplo completes keys, shows their documentation and marks mistakes.";

/// Print the JSON schema of topology documents, for editors
///
/// The schema knows the settings of every component type of this program.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The schema of the engine's file, squall.toml, instead
    #[arg(long)]
    engine: bool,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let schema =
        if args.engine { schema::engine_schema() } else { schema::document_schema(&context.registry) };
    terminal::print_json(&schema)?;
    Ok(CommandOutcome::Done)
}
