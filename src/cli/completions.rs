//! `squall completions SHELL`.

use clap_complete::Shell;

use crate::cli::error::{CommandError, Outcome};
use crate::cli::{Context, command, terminal};

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

pub(super) fn execute(args: &Args, context: &Context) -> Result<Outcome, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(&context.program), &context.program, &mut script);
    terminal::print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}
