//! `squall schema`.

use crate::cli::error::{CommandError, Outcome};
use crate::cli::{Context, terminal};
use crate::topology::schema;

const EXAMPLES: &str = "\
Examples:
  squall schema > squall-topology.json

With the line `#:schema ./squall-topology.json` at the top of a topology document, an editor that
knows Tombi or Taplo completes keys, shows their documentation and marks mistakes.";

/// Print the JSON schema of topology documents, for editors
///
/// The schema knows the settings of every component type of this program.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {}

pub(super) fn execute(_: &Args, context: &Context) -> Result<Outcome, CommandError> {
    terminal::print_json(&schema::document_schema(&context.registry))?;
    Ok(Outcome::Done)
}
