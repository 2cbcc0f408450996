//! `squall zk get`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cli::zk::access::{Access, parse_path};
use crate::cluster::coordination::{Node, NodePath};
use crate::text::shown_lines;

const EXAMPLES: &str = "\
Examples:
  squall zk get /nimbus
  squall zk get /nimbus --json | jq .data.epoch

What squall writes is JSON, and is shown indented. Other text is shown as it is. Bytes that are no
text are shown in hexadecimal digits.

Exit codes: 0 done; 1 there is no such node, or no server answers; 2 the command line is wrong.";

/// Show what stands in a node
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The node, by its path below the root of the cluster
    #[arg(value_name = "NODE", value_parser = parse_path)]
    node: NodePath,

    #[command(flatten)]
    access: Access,

    /// Print a JSON object with the path, the version, whether it is held, and the data
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(ensemble) = args.access.open(context)? else { return Ok(CommandOutcome::Failed) };
    let node = ensemble.get(&args.node)?;
    match args.json {
        true => terminal::print_json(&in_json(&args.node, &node))?,
        false if node.data.is_empty() => terminal::write_message(&format!("`{}` is empty", args.node)),
        false => terminal::print(&for_people(&node.data))?,
    }
    Ok(CommandOutcome::Done)
}

/// What data are.
enum Data<'d> {
    Json(Value),
    Text(&'d str),
    Bytes(String),
}

impl Data<'_> {
    fn of(bytes: &[u8]) -> Data<'_> {
        match (serde_json::from_slice(bytes), str::from_utf8(bytes)) {
            (Ok(value), _) => Data::Json(value),
            (_, Ok(text)) => Data::Text(text),
            _ => Data::Bytes(bytes.iter().fold(String::new(), |mut digits, byte| {
                // Writing to a string cannot fail.
                let _ = write!(digits, "{byte:02x}");
                digits
            })),
        }
    }
}

fn in_json(path: &NodePath, node: &Node) -> Value {
    let (kind, data) = match Data::of(&node.data) {
        Data::Json(value) => ("json", value),
        Data::Text(text) => ("text", Value::from(text)),
        Data::Bytes(digits) => ("hex", Value::from(digits)),
    };
    json!({
        "node": path,
        "version": node.version.0,
        "held": node.is_held,
        "data_is": kind,
        "data": data,
    })
}

fn for_people(data: &[u8]) -> String {
    let text = match Data::of(data) {
        Data::Json(value) => serde_json::to_string_pretty(&value).expect("a JSON value can be written"),
        Data::Text(text) => text.trim_end_matches('\n').to_owned(),
        Data::Bytes(digits) => digits,
    };
    shown_lines(&text) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::coordination::Version;

    #[test]
    fn data_are_shown_as_what_they_are() {
        assert_eq!(
            for_people(br#"{"kind":"leader","epoch":3}"#),
            "{\n  \"kind\": \"leader\",\n  \"epoch\": 3\n}\n"
        );
        assert_eq!(for_people(b"plain\n\x1b[2J"), "plain\n\\u{1b}[2J\n", "nothing commands a terminal");
        assert_eq!(for_people(&[0xff, 0x00]), "ff00\n");
    }

    #[test]
    fn programs_get_json() {
        let path: NodePath = "/a".parse().expect("a path");
        let of =
            |data: &[u8]| in_json(&path, &Node { data: data.to_vec(), version: Version(2), is_held: false });
        let expected =
            json!({"node": "/a", "version": 2, "held": false, "data_is": "json", "data": {"epoch": 3}});
        assert_eq!(of(br#"{"epoch": 3}"#), expected);
        assert_eq!(of(b"")["data_is"], "text");
        assert_eq!(of(&[0xff])["data"], "ff");
    }
}
