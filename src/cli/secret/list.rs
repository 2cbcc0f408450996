//! `squall secret list`.

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::secret::directory::DirectoryFlags;
use crate::cli::table::table;
use crate::cli::terminal;
use crate::secrets::{SecretDirectory, SecretName};

const EXAMPLES: &str = "\
Examples:
  squall secret list
  squall secret list --json | jq -r '.[] | select(.problem == null).name'

Values are not shown. A secret whose file cannot be used, because others may read it for example, is
listed with the reason.

Exit codes: 0 they are listed; 1 the directory cannot be read; 2 the command line is wrong.";

/// List the names of the secrets of this host
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    directory: DirectoryFlags,

    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// A secret, and why it cannot be used.
type Listed = (SecretName, Option<String>);

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(secrets) = args.directory.secrets(context) else { return Ok(CommandOutcome::Failed) };
    let listed: Vec<Listed> =
        secrets.names()?.into_iter().map(|name| (name.clone(), problem(&secrets, &name))).collect();
    if listed.is_empty() {
        terminal::write_message("there are no secrets");
    }
    match args.json {
        true => terminal::print_json(&in_json(&listed))?,
        false => terminal::print(&for_people(&listed))?,
    }
    Ok(CommandOutcome::Done)
}

fn problem(secrets: &SecretDirectory, name: &SecretName) -> Option<String> {
    secrets.read(name).err().map(|error| error.to_string())
}

fn in_json(listed: &[Listed]) -> Value {
    listed.iter().map(|(name, problem)| json!({ "name": name, "problem": problem })).collect()
}

fn for_people(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return String::new();
    }
    let mut rows = vec![["SECRET", "PROBLEM"].map(str::to_owned)];
    rows.extend(
        listed
            .iter()
            .map(|(name, problem)| [name.to_string(), problem.clone().unwrap_or_else(|| "-".to_owned())]),
    );
    table(&rows, &[])
}
