//! `squall components [NAME]`.

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::settings::{self, Setting};
use crate::cli::terminal::{self, Stream};
use crate::topology::registry::{ComponentType, Kind, Registry};

const EXAMPLES: &str = "\
Examples:
  squall components                  all of them, one line each
  squall components count            settings, output and an example of one
  squall components --json           all of them in full, for programs";

/// Text is wrapped before this column.
const COLUMNS: usize = 96;

/// List the component types that a topology can use, or describe one
///
/// A program with components of its own lists these along with the ready-made ones, and the topologies
/// that it registers.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The type to describe; all are listed if none is given
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Print JSON, with the JSON schema of each type's settings
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let registry = &context.registry;
    let bold = context.colors(Stream::Out);
    match (&args.name, args.json) {
        (None, false) => terminal::print(&list(registry, bold))?,
        (None, true) => terminal::print_json(&registry.components().map(in_json).collect())?,
        (Some(name), false) => terminal::print(&describe(find(registry, name)?, bold))?,
        (Some(name), true) => terminal::print_json(&in_json(find(registry, name)?))?,
    }
    Ok(CommandOutcome::Done)
}

fn find<'a>(registry: &'a Registry, name: &str) -> Result<&'a ComponentType, CommandError> {
    registry.component(name).ok_or_else(|| {
        let similar = registry
            .components()
            .map(|known| (strsim::jaro_winkler(name, &known.name), &known.name))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = similar.map_or_else(String::new, |(_, known)| format!(" (did you mean `{known}`?)"));
        CommandError::Refused(format!("there is no component type `{name}`{hint}"))
    })
}

fn list(registry: &Registry, bold: bool) -> String {
    let width = registry.components().map(|component| component.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (kind, title) in [(Kind::Spout, "Spouts"), (Kind::Bolt, "Bolts")] {
        let of_kind: Vec<_> = registry.components().filter(|component| component.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        heading(&mut text, title, bold);
        for component in of_kind {
            let name = format!("  {:width$}  ", component.name);
            match component.missing_feature {
                Some(feature) => {
                    let summary = format!("{} (needs the Cargo feature `{feature}`)", component.summary);
                    wrapped(&mut text, &name, &summary);
                }
                None => wrapped(&mut text, &name, &component.summary),
            }
        }
    }
    if registry.topologies().next().is_some() {
        heading(&mut text, "Topologies of this program", bold);
        registry.topologies().for_each(|name| wrapped(&mut text, "  ", name));
    }
    text
}

fn describe(component: &ComponentType, bold: bool) -> String {
    let settings = settings::settings_of(&settings::schema_of(component));
    let mut text = String::new();
    wrapped(&mut text, "", &format!("{} ({}): {}", component.name, component.kind, component.summary));
    if let Some(feature) = component.missing_feature {
        let build = format!("Not compiled in: build squall by `cargo build --release --features {feature}`.");
        wrapped(&mut text, "", &build);
    }
    if component.blocking {
        text.push_str("Its calls wait, so each of its executors gets a thread of its own.\n");
    }
    heading(&mut text, "Settings", bold);
    if settings.is_empty() {
        text.push_str("  none\n");
    }
    let width = settings.iter().map(|setting| setting.name.len()).max().unwrap_or(0);
    for setting in &settings {
        wrapped(&mut text, &format!("  {:width$}  ", setting.name), &kind_and_default(setting));
        if !setting.description.is_empty() {
            wrapped(&mut text, &format!("  {:width$}  ", ""), &setting.description);
        }
    }
    if !component.output.is_empty() {
        heading(&mut text, "Output", bold);
        wrapped(&mut text, "  ", &component.output);
    }
    if !component.example.is_empty() {
        heading(&mut text, "Example", bold);
        for line in component.example.lines() {
            text.extend(["  ", line, "\n"]);
        }
    }
    text
}

/// The values that a setting may have. Adds that it is required, or its default, unless the description
/// does.
fn kind_and_default(setting: &Setting) -> String {
    let unsaid = |what: &str| !setting.description.contains(what);
    match &setting.default {
        _ if setting.required && unsaid("Required") => format!("{}, required", setting.kind),
        Some(default) if unsaid("Default") => format!("{}, default {}", setting.kind, in_toml(default)),
        _ => setting.kind.clone(),
    }
}

/// A default as it would be written in a document.
fn in_toml(value: &Value) -> String {
    match value {
        Value::Object(table) if table.is_empty() => "{}".to_owned(),
        Value::Object(table) => {
            let pairs: Vec<_> =
                table.iter().map(|(key, value)| format!("{key} = {}", in_toml(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(in_toml).collect::<Vec<_>>().join(", ")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn in_json(component: &ComponentType) -> Value {
    json!({
        "name": component.name,
        "kind": component.kind.to_string(),
        "summary": component.summary,
        "output": component.output,
        "blocking": component.blocking,
        "settings": settings::schema_of(component),
        "example": component.example,
    })
}

fn heading(text: &mut String, title: &str, bold: bool) {
    let gap = if text.is_empty() { "" } else { "\n" };
    let (on, off) = if bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    text.push_str(&format!("{gap}{on}{title}{off}\n"));
}

/// Appends text after a label; further lines are indented by the width of the label.
fn wrapped(text: &mut String, label: &str, words: &str) {
    let indent = label.chars().count();
    text.push_str(label);
    let mut column = indent;
    for word in words.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width > COLUMNS {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = indent;
        }
        if column > indent {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wrap_under_themselves() {
        let mut text = String::new();
        wrapped(&mut text, "  name  ", &"word ".repeat(20));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("  name  word ") && lines[0].len() <= COLUMNS);
        assert!(lines[1].starts_with("        word"));
    }

    #[test]
    fn defaults_are_written_as_in_a_document() {
        let check = |value: Value, expected: &str| assert_eq!(in_toml(&value), expected);
        check(json!("a"), r#""a""#);
        check(json!([1, true]), "[1, true]");
        check(json!({}), "{}");
        check(json!({"a": {"b": "c"}}), r#"{ a = { b = "c" } }"#);
    }

    #[test]
    fn a_name_that_is_nearly_right_gets_a_hint() {
        let mut registry = Registry::new();
        crate::components::register(&mut registry);
        let check = |name: &str, expected: &str| {
            assert_eq!(find(&registry, name).unwrap_err().to_string(), expected);
        };
        check("cuont", "there is no component type `cuont` (did you mean `count`?)");
        check("line", "there is no component type `line` (did you mean `lines`?)");
        check("no-such-thing-at-all", "there is no component type `no-such-thing-at-all`");
    }
}
