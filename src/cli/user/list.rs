//! `squall user list`.

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::table::table;
use crate::cli::terminal;
use crate::cli::user::file::FileFlags;
use crate::cluster::access::{Role, UserEntry, UserName, Users, UsersFile};
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall user list --users-file users.toml
  squall user list --json | jq -r '.[] | select(.roles == [\"admin\"]).name'

Exit codes: 0 they are listed; 1 the file cannot be read; 2 the command line is wrong.";

/// List the users of a file, and their roles
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileFlags,

    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(path) = args.file.path(context)? else { return Ok(CommandOutcome::Failed) };
    let users = UsersFile::read(&path)?;
    if users.users.is_empty() {
        terminal::write_message("the file has no users, so nobody may do anything");
    }
    match args.json {
        true => terminal::print_json(&in_json(&users))?,
        false => terminal::print(&for_people(&users))?,
    }
    Ok(CommandOutcome::Done)
}

fn in_json(users: &Users) -> Value {
    let user = |(name, entry): (&UserName, &UserEntry)| json!({ "name": name, "roles": entry.roles, "added_at": entry.added_at });
    users.users.iter().map(user).collect()
}

fn for_people(users: &Users) -> String {
    if users.users.is_empty() {
        return String::new();
    }
    let mut rows = vec![["USER", "ROLES", "ADDED"].map(str::to_owned)];
    rows.extend(users.users.iter().map(|(name, entry)| {
        let roles: Vec<&str> = entry.roles.iter().map(|role: &Role| role.word()).collect();
        let roles = if roles.is_empty() { "-".to_owned() } else { roles.join(", ") };
        [name.to_string(), roles, shown(&entry.added_at)]
    }));
    table(&rows, &[])
}
