//! `--set bolt.count.parallelism=2`: one value in place of that in the files.
//!
//! The key is a dotted TOML key. Component ids may hold dots themselves: of several readings the
//! longest id that exists is meant. The value is read as TOML, and as a plain string where it is
//! none, so that `--set spout.lines.config.path=a.txt` needs no quotes within quotes.
//!
//! A file may be called `5` or `2026-11-28`, which TOML reads as a number and a date. What is meant
//! is known to whoever takes the value; so a scalar that is refused there is handed over once more
//! as text, and holds if that is taken. A list or a table is never made text: its error says how to
//! quote it.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::topology::declare::bounds::too_deep;
use crate::topology::declare::reading::Reading;
use crate::topology::declare::texts::{Finding, Span};
use crate::topology::declare::tree::{Node, empty_table, key, moved};
use crate::topology::suggest::{self, shown};

/// One override.
pub(super) struct Override<'t> {
    /// The whole argument.
    argument: &'t str,
    path: Vec<(String, Span)>,
    pub value: Node<'t>,
    /// The value as it was written, where TOML reads it as something else than a string.
    as_text: Option<&'t str>,
}

/// A value that was laid over the tree and may be meant as text.
pub(super) struct Doubtful<'t> {
    path: Vec<String>,
    /// The value as text, in its place.
    text: Node<'t>,
    /// The argument that gives it as text for certain, as it is written in a shell.
    argument: String,
}

/// Reads an argument whose text begins at `base`.
pub(super) fn parse(argument: &str, base: usize) -> Result<Override<'_>, Finding> {
    let whole = base..base + argument.len();
    let wrong = |message: &str| {
        Finding::at(whole.clone(), format!("`--set {}`: {message}", shown(argument)))
            .help(Some("for example `--set bolt.count.parallelism=2`".to_owned()))
    };
    if too_deep(argument).is_some() {
        return Err(wrong("nests too deeply"));
    }
    let equals = equals_sign(argument).ok_or_else(|| wrong("there is no `=` between key and value"))?;
    let path = path(&argument[..equals], base).ok_or_else(|| wrong("the part before `=` is not a key"))?;
    let written = argument[equals + 1..].trim();
    let start = equals + 1 + (argument[equals + 1..].len() - argument[equals + 1..].trim_start().len());
    let (value, as_text) = match DeValue::parse(written) {
        Ok(value) => (moved(value, base + start), Some(written)),
        Err(_) => (text(written, base + start), None),
    };
    let as_text = as_text.filter(|_| !matches!(value.get_ref(), DeValue::String(_)));
    Ok(Override { argument, path, value, as_text })
}

/// A string that was written without quotes.
fn text(written: &str, start: usize) -> Node<'_> {
    Spanned::new(start..start + written.len(), DeValue::String(Cow::Borrowed(written)))
}

/// The first `=` that is not within quotes.
fn equals_sign(argument: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in argument.char_indices() {
        match (quote, c) {
            (None, '=') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

/// The parts of a dotted key.
fn path(written: &str, base: usize) -> Option<Vec<(String, Span)>> {
    let line = format!("{written}=0");
    let mut table = DeTable::parse(&line).ok()?.into_inner();
    let mut path = Vec::new();
    loop {
        let (key, value) = table.into_iter().next()?;
        let span = key.span();
        path.push((key.into_inner().into_owned(), span.start + base..span.end + base));
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

impl<'t> Override<'t> {
    /// The key as it was written.
    pub fn path_text(&self) -> String {
        self.path.iter().map(|(part, _)| part.as_str()).collect::<Vec<_>>().join(".")
    }

    /// Puts the value into the tree. What may be meant as text is returned.
    ///
    /// # Errors
    /// When the component does not exist, or the key leads into something that is no table.
    pub fn apply(mut self, root: &mut DeTable<'t>) -> Result<Option<Doubtful<'t>>, Finding> {
        self.join_component_id(root)?;
        let text = self.path_text();
        if text == "topology.include" {
            return Err(self.wrong(0, "includes cannot be set: the files have been read"));
        }
        let doubtful = self.doubtful();
        let argument = self.argument;
        let Override { path, value, .. } = self;
        let (last, parents) = path.split_last().expect("a key has a part");
        let mut table = root;
        for (part, span) in parents {
            if !table.contains_key(part.as_str()) {
                table.insert(key(part.clone(), span.clone()), empty_table(span.clone()));
            }
            let node = table.get_mut(part.as_str()).expect("it was inserted if it was not there");
            match node.get_mut() {
                DeValue::Table(inner) => table = inner,
                _ => {
                    let message = format!("`--set {}`: `{}` is not a table", shown(argument), shown(part));
                    return Err(Finding::at(span.clone(), message));
                }
            }
        }
        // A key that exists keeps its place; only the value is the argument's.
        match table.get_mut(last.0.as_str()) {
            Some(node) => *node = value,
            None => drop(table.insert(key(last.0.clone(), last.1.clone()), value)),
        }
        Ok(doubtful)
    }

    fn doubtful(&self) -> Option<Doubtful<'t>> {
        let written = self.as_text?;
        let equals = equals_sign(self.argument).expect("it was found when the argument was read");
        let quoted = format!("{}={}", &self.argument[..equals], toml::Value::from(written));
        Some(Doubtful {
            path: self.path.iter().map(|(part, _)| part.clone()).collect(),
            text: text(written, self.value.span().start),
            argument: in_shell(&quoted),
        })
    }

    /// Joins the parts behind `spout` or `bolt` that are an id together.
    fn join_component_id(&mut self, root: &DeTable<'t>) -> Result<(), Finding> {
        let kind = self.path[0].0.clone();
        if !matches!(kind.as_str(), "spout" | "bolt") || self.path.len() < 2 {
            return Ok(());
        }
        let components = root.get(kind.as_str()).and_then(|node| node.get_ref().as_table());
        let joined = |count: usize| {
            let parts: Vec<&str> = self.path[1..=count].iter().map(|(part, _)| part.as_str()).collect();
            parts.join(".")
        };
        let found = (1..self.path.len())
            .rev()
            .map(|count| (count, joined(count)))
            .find(|(_, id)| components.is_some_and(|components| components.contains_key(id.as_str())));
        let Some((count, id)) = found else {
            let ids = components.into_iter().flatten().map(|(id, _)| id.get_ref().as_ref());
            let help = suggest::help(&self.path[1].0, ids.collect::<Vec<_>>(), &format!("{kind}s"));
            let message = format!("there is no {kind} `{}`", shown(&self.path[1].0));
            return Err(self.wrong(1, &message).help(help));
        };
        let span = self.path[1].1.start..self.path[count].1.end;
        self.path.splice(1..=count, [(id, span)]);
        Ok(())
    }

    fn wrong(&self, part: usize, message: &str) -> Finding {
        let message = format!("`--set {}`: {message}", shown(self.argument));
        Finding::at(self.path[part].1.clone(), message)
    }
}

/// Reads the tree, and reads each doubtful value as text where that is what its taker wants.
pub(super) fn settle<'t>(
    root: &mut DeTable<'t>,
    doubtful: Vec<Doubtful<'t>>,
    read: impl Fn(&DeTable<'t>) -> Reading<'t>,
) -> Reading<'t> {
    let mut reading = read(root);
    for Doubtful { path, text, argument } in doubtful {
        if reading.report.is_empty() || reading.report.is_full() {
            break;
        }
        let span = text.span();
        // A later argument may have laid something else over it.
        let Some(node) = node_at(root, &path).filter(|node| node.span().start == span.start) else {
            continue;
        };
        let is_scalar = !matches!(node.get_ref(), DeValue::Array(_) | DeValue::Table(_));
        let first = std::mem::replace(node, text);
        let second = read(root);
        let is_better = second.report.count() < reading.report.count()
            || (reading.report.has_within(&span) && !second.report.has_within(&span));
        match (is_better, is_scalar) {
            (true, true) => reading = second,
            (is_better, _) => {
                if is_better {
                    reading.report.help_within(&span, &format!("if it is meant as text: --set {}", argument));
                }
                *node_at(root, &path).expect("it was found above") = first;
            }
        }
    }
    reading
}

/// An argument in the quotes that a shell takes away.
fn in_shell(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// The value at a path of keys.
fn node_at<'r, 't>(root: &'r mut DeTable<'t>, path: &[String]) -> Option<&'r mut Node<'t>> {
    let (last, parents) = path.split_last()?;
    let mut table = root;
    for part in parents {
        match table.get_mut(part.as_str())?.get_mut() {
            DeValue::Table(inner) => table = inner,
            _ => return None,
        }
    }
    table.get_mut(last.as_str())
}
