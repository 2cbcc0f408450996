//! `${NAME}` and `${NAME:-default}` in string values.
//!
//! Substitution happens after parsing, in values only, so that a variable can never add keys or
//! tables to a document. `$$` is a dollar sign; a dollar sign before anything else than `{` stands
//! for itself, so regular expressions need no care.
//!
//! In the `config` of a component, `${…}` between two backquotes is left alone: it is the template of an
//! expression, as in `` `${method} ${path}` ``, and names a field, not a variable.
//!
//! Bounds: what variables add to all documents together is limited as the documents are.

use std::borrow::Cow;

use toml::de::{DeTable, DeValue};

use crate::config::limits::DOCUMENT_BYTES_MAX;
use crate::topology::declare::source::{NoVariable, Source};
use crate::topology::declare::texts::{Finding, Report, Span};
use crate::topology::declare::tree::Node;
use crate::topology::suggest::shown;

/// Puts variables into strings.
pub(super) struct Substitution<'a> {
    source: &'a dyn Source,
    /// Bytes that variables may still add.
    budget: usize,
}

impl<'a> Substitution<'a> {
    pub fn new(source: &'a dyn Source) -> Substitution<'a> {
        Substitution { source, budget: DOCUMENT_BYTES_MAX }
    }

    /// Substitutes in all strings of a table. `path` names the table.
    pub fn table(&mut self, table: &mut DeTable<'_>, path: &str, report: &mut Report) {
        for (key, node) in table.iter_mut().filter(|(_, node)| may_need_any(node)) {
            // A path is only ever shown, in an error, and cut there.
            let inner = match path {
                "" => key.get_ref().to_string(),
                path if path.len() < 256 => format!("{path}.{}", key.get_ref()),
                path => path.to_owned(),
            };
            self.node(node, &inner, report);
        }
    }

    /// Substitutes in all strings of a value. `path` names it.
    pub fn node(&mut self, node: &mut Node<'_>, path: &str, report: &mut Report) {
        let span = node.span();
        match node.get_mut() {
            DeValue::String(text) if text.contains('$') => match self.text(text, may_have_templates(path)) {
                Ok(substituted) => *text = Cow::Owned(substituted),
                Err(mistake) => report.push(mistake.finding(span, path)),
            },
            DeValue::Array(array) => {
                array.iter_mut().for_each(|item| self.node(item, path, report));
            }
            DeValue::Table(table) => self.table(table, path, report),
            _ => {}
        }
    }

    /// The text with its variables replaced; with `templates` those between backquotes are none.
    fn text(&mut self, text: &str, templates: bool) -> Result<String, Mistake> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut in_template = false;
        while let Some(at) = rest.find(['$', '`']) {
            out.push_str(&rest[..at]);
            let found = rest.as_bytes()[at];
            rest = &rest[at + 1..];
            if found == b'`' {
                in_template = !in_template && templates && rest.contains('`');
                out.push('`');
            } else if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{').filter(|_| !in_template) {
                let (inside, after) = after.split_once('}').ok_or(Mistake::Unclosed)?;
                self.variable(inside, &mut out)?;
                rest = after;
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn variable(&mut self, inside: &str, out: &mut String) -> Result<(), Mistake> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_variable_name(name) {
            return Err(Mistake::NotAName(shown(inside)));
        }
        match (self.source.variable(name), default) {
            (Ok(value), Some(default)) if value.is_empty() => out.push_str(default),
            (Ok(value), _) => {
                self.budget = self.budget.checked_sub(value.len()).ok_or(Mistake::TooLong)?;
                out.push_str(&value);
            }
            (Err(NoVariable::NotText), _) => return Err(Mistake::NotText(shown(name))),
            (Err(NoVariable::Unset), Some(default)) => out.push_str(default),
            (Err(NoVariable::Unset), None) => return Err(Mistake::Unset(shown(name))),
        }
        Ok(())
    }
}

/// Whether the value at a path may be an expression: it is a setting of a component.
fn may_have_templates(path: &str) -> bool {
    (path.starts_with("bolt.") || path.starts_with("spout.")) && path.contains(".config.")
}

/// Whether a value may hold a variable, itself or further down.
fn may_need_any(node: &Node<'_>) -> bool {
    match node.get_ref() {
        DeValue::String(text) => text.contains('$'),
        value => value.is_array() || value.is_table(),
    }
}

fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What is wrong with a `${`.
enum Mistake {
    Unset(String),
    NotText(String),
    NotAName(String),
    Unclosed,
    TooLong,
}

impl Mistake {
    fn finding(self, span: Span, path: &str) -> Finding {
        let path = shown(path);
        let literal = || Some("write `$${` for the text `${`".to_owned());
        match self {
            Mistake::Unset(name) => {
                Finding::at(span, format!("variable `{name}` is not set, and `{path}` needs it"))
                    .label(Some(format!("`${{{name}}}` has no value")))
                    .help(Some(format!(
                        "set it, or give a default: `${{{name}:-…}}`; write `$${{` for the text `${{`"
                    )))
            }
            Mistake::NotText(name) => {
                Finding::at(span, format!("variable `{name}` is not UTF-8, and `{path}` needs it"))
                    .help(Some("set it to UTF-8 text".to_owned()))
            }
            Mistake::NotAName(name) => {
                Finding::at(span, format!("`${{{name}}}` in `{path}` does not name a variable"))
                    .help(literal())
            }
            Mistake::Unclosed => Finding::at(span, format!("`${{` without `}}` in `{path}`")).help(literal()),
            Mistake::TooLong => Finding::at(
                span,
                format!("variables add more than {DOCUMENT_BYTES_MAX} bytes to the topology"),
            ),
        }
    }
}
