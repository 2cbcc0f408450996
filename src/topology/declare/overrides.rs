//! `--set bolt.count.parallelism=2`: one value laid over what the files say.
//!
//! The key is a dotted TOML key. Component ids may hold dots themselves: of several readings the
//! longest id that exists is meant. The value is read as TOML, and as a plain string where it is
//! none, so that `--set spout.lines.config.path=a.txt` needs no quotes within quotes.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::topology::declare::bounds::too_deep;
use crate::topology::declare::texts::{Finding, Span};
use crate::topology::declare::tree::{Node, empty_table, key, moved};
use crate::topology::suggest::{self, shown};

/// One override.
pub(super) struct Override<'t> {
    /// The whole argument.
    argument: &'t str,
    path: Vec<(String, Span)>,
    pub value: Node<'t>,
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
    let value = match DeValue::parse(written) {
        Ok(value) => moved(value, base + start),
        Err(_) => {
            Spanned::new(base + start..base + start + written.len(), DeValue::String(Cow::Borrowed(written)))
        }
    };
    Ok(Override { argument, path, value })
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

    /// Puts the value into the tree.
    ///
    /// # Errors
    /// When the component does not exist, or the key leads into something that is no table.
    pub fn apply(mut self, root: &mut DeTable<'t>) -> Result<(), Finding> {
        self.join_component_id(root)?;
        let text = self.path_text();
        if text == "topology.include" {
            return Err(self.wrong(0, "includes cannot be set: the files have been read"));
        }
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
        Ok(())
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
