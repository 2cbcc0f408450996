//! `squall zk ls`.

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::summary::grouped;
use crate::cli::table::table;
use crate::cli::terminal;
use crate::cli::zk::access::{Access, Ensemble, parse_path};
use crate::cluster::coordination::{Node, NodePath};

const EXAMPLES: &str = "\
Examples:
  squall zk ls
  squall zk ls /topologies -R
  squall zk ls --json | jq -r '.[] | select(.held) | .node'

VERSION counts how often a node was written. HELD nodes vanish with the process that made them.

Exit codes: 0 done; 1 there is no such node, or no server answers; 2 the command line is wrong.";

/// List the nodes below a node
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The node, by its path below the root of the cluster
    #[arg(value_name = "NODE", default_value = "/", value_parser = parse_path)]
    node: NodePath,

    /// List also what is below those nodes
    #[arg(short = 'R', long)]
    recursive: bool,

    #[command(flatten)]
    access: Access,

    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(ensemble) = args.access.open(context)? else { return Ok(CommandOutcome::Failed) };
    let mut found = Vec::new();
    collect(&ensemble, &args.node, args.recursive, &mut found)?;
    match args.json {
        true => terminal::print_json(&found.iter().map(in_json).collect())?,
        false if found.is_empty() => {
            terminal::write_message(&format!("there is nothing below `{}`", args.node))
        }
        false => terminal::print(&for_people(&found))?,
    }
    Ok(CommandOutcome::Done)
}

/// Appends the nodes below this one, each before those below it.
fn collect(
    ensemble: &Ensemble,
    node: &NodePath,
    recursive: bool,
    found: &mut Vec<(NodePath, Node)>,
) -> Result<(), CommandError> {
    for name in ensemble.children(node)? {
        let path = node.child(&name).map_err(|error| CommandError::Refused(error.to_string()))?;
        // A node may vanish while others are read.
        let Some(child) = ensemble.find(&path)? else { continue };
        let may_have_children = recursive && !child.is_held;
        found.push((path.clone(), child));
        if may_have_children {
            collect_if_there(ensemble, &path, found)?;
        }
    }
    Ok(())
}

fn collect_if_there(
    ensemble: &Ensemble,
    node: &NodePath,
    found: &mut Vec<(NodePath, Node)>,
) -> Result<(), CommandError> {
    match collect(ensemble, node, true, found) {
        Err(error) if ensemble.find(node)?.is_some() => Err(error),
        _ => Ok(()),
    }
}

fn in_json((path, node): &(NodePath, Node)) -> Value {
    json!({
        "node": path,
        "version": node.version.0,
        "bytes": node.data.len(),
        "held": node.is_held,
    })
}

fn for_people(found: &[(NodePath, Node)]) -> String {
    let mut rows = vec![["NODE", "VERSION", "BYTES", "HELD"].map(str::to_owned)];
    rows.extend(found.iter().map(|(path, node)| {
        let held = if node.is_held { "held" } else { "-" };
        [path.to_string(), node.version.0.to_string(), grouped(node.data.len() as u64), held.to_owned()]
    }));
    table(&rows, &[1, 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::coordination::Version;

    fn found() -> [(NodePath, Node); 2] {
        let node = |bytes: usize, version, is_held| Node {
            data: vec![0; bytes],
            version: Version(version),
            is_held,
        };
        let path = |text: &str| text.parse().expect("a path");
        [(path("/cluster"), node(1200, 0, false)), (path("/supervisors/a"), node(20, 3, true))]
    }

    #[test]
    fn people_get_a_table() {
        let expected = "\
NODE            VERSION  BYTES  HELD
/cluster              0  1,200  -
/supervisors/a        3     20  held
";
        assert_eq!(for_people(&found()), expected);
    }

    #[test]
    fn programs_get_json() {
        let expected = json!({"node": "/supervisors/a", "version": 3, "bytes": 20, "held": true});
        assert_eq!(in_json(&found()[1]), expected);
    }
}
