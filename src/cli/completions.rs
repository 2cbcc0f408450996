//! `squall completions SHELL`.

use clap_complete::Shell;

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;

const EXAMPLES: &str = "\
Examples:
  squall completions bash > ~/.local/share/bash-completion/completions/squall
  squall completions zsh > ~/.zfunc/_squall             with ~/.zfunc in fpath
  squall completions fish > ~/.config/fish/completions/squall.fish";

/// Print a script that completes commands and flags in a shell
///
/// The script goes to stdout and completes the program under the name by which it was called.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The shell to write for
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Writes the script for a parser, which has the name by which the program was called.
pub(super) fn execute(args: &Args, parser: &clap::Command) -> Result<CommandOutcome, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut without_hidden(parser), parser.get_name(), &mut script);
    terminal::print(&String::from_utf8_lossy(&script))?;
    Ok(CommandOutcome::Done)
}

/// The parser without hidden subcommands, which the generator would otherwise offer.
fn without_hidden(all: &clap::Command) -> clap::Command {
    clap::Command::new(all.get_name().to_owned())
        .version(all.get_version().unwrap_or_default().to_owned())
        .args(all.get_arguments().cloned())
        .subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}
