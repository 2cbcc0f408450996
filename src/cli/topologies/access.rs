//! `squall access TOPOLOGY`.

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::shown::{OutputFlag, user_names};
use crate::cluster::access::{AccessChange, UserName};
use crate::cluster::operations::TopologyInfo;
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall access words                              who may do what?
  squall access words --allow-user bob --allow-reader eve
  squall access words --revoke bob

Who is named gets what the flag says, and loses what it had before. The next request is judged by it. It counts
where the nimbus has users; only the owner of a topology and administrators may change it.

Exit codes: 0 done; 1 it was refused; 2 the command line is wrong; 3 there is no such topology; 4 no nimbus
answers, or none leads.";

/// Show or change who may do what with a topology of the cluster, beside its owner and administrators
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The topology, by its name
    #[arg(value_name = "TOPOLOGY")]
    topology: String,

    /// Let a user look at it and have it do something; may be repeated
    #[arg(long, value_name = "USER")]
    allow_user: Vec<UserName>,

    /// Let a user look at it, and no more; may be repeated
    #[arg(long, value_name = "USER")]
    allow_reader: Vec<UserName>,

    /// Let a user do neither; may be repeated
    #[arg(long, value_name = "USER")]
    revoke: Vec<UserName>,

    #[command(flatten)]
    output: OutputFlag,

    #[command(flatten)]
    nimbus: NimbusFlag,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let mut client = args.nimbus.client()?;
    let change = AccessChange {
        users: args.allow_user.clone(),
        readers: args.allow_reader.clone(),
        revoke: args.revoke.clone(),
    };
    let info = match change == AccessChange::default() {
        true => client.topology(&args.topology)?,
        false => client.change_access(&args.topology, &change)?,
    };
    args.output.print(&info, for_people)?;
    Ok(CommandOutcome::Done)
}

fn for_people(info: &TopologyInfo) -> String {
    let names = |names: &[UserName]| if names.is_empty() { "-".to_owned() } else { user_names(names) };
    let (users, readers) = (names(&info.access.users), names(&info.access.readers));
    format!("owner    {}\nusers    {users}\nreaders  {readers}\n", shown(&info.owner))
}
