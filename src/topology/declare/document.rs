//! Reading: a file, what it includes, and `--set` overrides, merged to one tree.
//!
//! Files add to each other: an included file may hold any table, but no key and no component may
//! be given in two files. Overrides come last and win. Every mistake has its place in the text in
//! which it was made.
//!
//! Bounds: [`DOCUMENT_BYTES_MAX`] over all files, [`INCLUDES_MAX`] files, depth as in `bounds`.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::config::limits::{DOCUMENT_BYTES_MAX, INCLUDES_MAX};
use crate::topology::declare::bounds::{hopeless, too_deep};
use crate::topology::declare::encoding::{NotText, decode};
use crate::topology::declare::overrides::{self, Doubtful};
use crate::topology::declare::source::{NamedBy, Source};
use crate::topology::declare::texts::{Finding, Report, Span, Texts};
use crate::topology::declare::tree::{Node, Shelf, moved_table};
use crate::topology::declare::variables::Substitution;
use crate::topology::diagnostic::DIAGNOSTICS_MAX;
use crate::topology::suggest::shown;

/// What was read.
pub(super) struct Document<'t> {
    pub root: DeTable<'t>,
    pub texts: Texts,
    pub report: Report,
    /// Whether every text could be parsed. When not, something may be missing that was written.
    pub complete: bool,
    /// Resources of the process that reading used up.
    pub taken: Vec<&'static str>,
    /// Values of `--set` that may be meant as text.
    pub doubtful: Vec<Doubtful<'t>>,
}

/// Reads a file, its includes, and overrides. `instead` is what could be asked for when the file cannot
/// be read.
pub(super) fn read<'t>(
    source: &dyn Source,
    path: &str,
    set: &[String],
    shelf: &'t Shelf,
    instead: Option<String>,
) -> Document<'t> {
    let mut reader = Reader::new(source, shelf, DeTable::new());
    reader.instead = instead;
    reader.file(normal(Path::new(path)), None);
    reader.overrides(set)
}

/// Lays overrides over a tree that was read from no text.
pub(super) fn overlay<'t>(
    source: &dyn Source,
    root: DeTable<'t>,
    set: &[String],
    shelf: &'t Shelf,
) -> Document<'t> {
    Reader::new(source, shelf, root).overrides(set)
}

/// Room that [`read`] needs on the shelf.
pub(super) fn room(set: &[String]) -> usize {
    INCLUDES_MAX + 1 + set.len()
}

struct Reader<'a, 't> {
    source: &'a dyn Source,
    shelf: &'t Shelf,
    substitution: Substitution<'a>,
    document: Document<'t>,
    /// Bytes read so far.
    bytes: usize,
    /// Every file that was opened, and the include that asked for it.
    opened: HashMap<String, Option<Span>>,
    /// The files that are being read, each included by the one before.
    open: Vec<String>,
    /// What could be asked for when the first file cannot be read.
    instead: Option<String>,
}

impl<'a, 't> Reader<'a, 't> {
    fn new(source: &'a dyn Source, shelf: &'t Shelf, root: DeTable<'t>) -> Reader<'a, 't> {
        let (texts, report) = (Texts::default(), Report::default());
        Reader {
            source,
            shelf,
            substitution: Substitution::new(source),
            document: Document {
                root,
                texts,
                report,
                complete: true,
                taken: Vec::new(),
                doubtful: Vec::new(),
            },
            bytes: 0,
            opened: HashMap::new(),
            open: Vec::new(),
            instead: None,
        }
    }

    fn overrides(mut self, set: &[String]) -> Document<'t> {
        set.iter().for_each(|argument| self.set(argument));
        self.document
    }

    /// Reads a file and what it includes. `asked` is the place of the include.
    fn file(&mut self, path: String, asked: Option<Span>) {
        if let Err(finding) = self.may_open(&path, asked.as_ref()) {
            return self.give_up(finding);
        }
        self.opened.insert(path.clone(), asked.clone());
        let text = match self.text(&path, asked) {
            Ok(text) => text,
            Err(finding) => return self.give_up(finding),
        };
        let Some(mut table) = self.parse(&path, text) else { return };
        self.substitution.table(&mut table, "", &mut self.document.report);
        let includes = self.take_includes(&mut table);
        let mut merge = Merge(&mut self.document.report);
        merge.tables(&mut self.document.root, table, "");
        self.open.push(path.clone());
        for (include, span) in includes {
            let directory = Path::new(&path).parent().unwrap_or(Path::new(""));
            self.file(normal(&directory.join(include)), Some(span));
        }
        self.open.pop();
    }

    fn may_open(&self, path: &str, asked: Option<&Span>) -> Result<(), Finding> {
        let Some(asked) = asked else { return Ok(()) };
        if let Some(at) = self.open.iter().position(|open| open == path) {
            let around: Vec<&str> = self.open[at..].iter().map(String::as_str).chain([path]).collect();
            let message = format!("files include each other in a cycle: {}", around.join(" → "));
            return Err(Finding::at(asked.clone(), message));
        }
        if let Some(first) = self.opened.get(path) {
            let finding = Finding::at(asked.clone(), format!("`{}` is included twice", shown(path)));
            return Err(match first {
                Some(first) => finding.related(first.clone(), "included here first"),
                None => finding,
            });
        }
        if self.opened.len() > INCLUDES_MAX {
            let message = format!("more than {INCLUDES_MAX} files are included");
            return Err(Finding::at(asked.clone(), message));
        }
        Ok(())
    }

    fn text(&mut self, path: &str, asked: Option<Span>) -> Result<&'t str, Finding> {
        let failed = |message: String| match &asked {
            Some(asked) => Finding::at(asked.clone(), message),
            None => Finding::nowhere(message),
        };
        let left = DOCUMENT_BYTES_MAX - self.bytes;
        let named_by = if asked.is_some() { NamedBy::Document } else { NamedBy::Caller };
        let bytes = self
            .source
            .read(path, named_by, left)
            .map_err(|error| failed(format!("cannot read `{}`: {error}", shown(path))))
            .map_err(|finding| finding.help(self.instead.clone().filter(|_| asked.is_none())))?;
        if bytes.len() > left {
            let whole = if asked.is_some() { "the topology with its includes" } else { "the document" };
            return Err(failed(format!(
                "`{}`: {whole} has more than {DOCUMENT_BYTES_MAX} bytes",
                shown(path)
            )));
        }
        self.bytes += bytes.len();
        if named_by == NamedBy::Caller {
            self.document.taken.extend(self.source.takes(path));
        }
        match decode(bytes) {
            Ok(text) => Ok(self.shelf.keep(text)),
            Err(NotText { text, span, message, label, help }) => {
                let base = self.document.texts.add(path, &text);
                let finding = Finding::at(span.start + base..span.end + base, message);
                let finding = finding.label(label).help(help);
                Err(match asked {
                    Some(asked) => finding.related(asked, "included here"),
                    None => finding,
                })
            }
        }
    }

    fn parse(&mut self, name: &str, text: &'t str) -> Option<DeTable<'t>> {
        let base = self.document.texts.add(name, text);
        if let Some(deep) = too_deep(text) {
            let span = deep.start + base..deep.end + base;
            self.give_up(Finding::at(span, "the document nests too deeply here"));
            return None;
        }
        if let Some(hopeless) = hopeless(text) {
            let span = hopeless.first.start + base..hopeless.first.end + base;
            let finding = Finding::at(span, format!("this is no TOML: {} syntax errors", hopeless.count));
            self.give_up(finding.label(Some(format!("the first: {}", hopeless.message))));
            return None;
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        self.document.report.omit(errors.len().saturating_sub(DIAGNOSTICS_MAX));
        // Under a header that is given twice every key may be given twice: one mistake is enough.
        let mut excused = 0..0;
        for error in errors.iter().take(DIAGNOSTICS_MAX) {
            let span = error.span().unwrap_or(0..0);
            let is_repetition = error.message() == DUPLICATE_KEY;
            if is_repetition && excused.contains(&span.start) {
                continue;
            }
            if is_repetition && is_header(text, span.start) {
                let end = text[span.end..].find("\n[").map_or(text.len(), |at| span.end + at);
                excused = span.end..end;
            }
            let span = span.start + base..span.end + base;
            let finding = syntax_finding(&self.document.texts, span, error.message());
            self.give_up(finding);
        }
        Some(moved_table(table.into_inner(), base))
    }

    /// Reports something that keeps a text, or a part of it, from being read.
    fn give_up(&mut self, finding: Finding) {
        self.document.report.push(finding);
        self.document.complete = false;
    }

    /// Takes `topology.include` out of a table: it is the file's own and is not merged.
    fn take_includes(&mut self, table: &mut DeTable<'t>) -> Vec<(String, Span)> {
        let Some(DeValue::Table(topology)) = table.get_mut("topology").map(Node::get_mut) else {
            return Vec::new();
        };
        let Some(include) = topology.remove("include") else { return Vec::new() };
        let span = include.span();
        let DeValue::Array(items) = include.into_inner() else {
            self.give_up(
                Finding::at(span, "`include` must be an array of paths")
                    .help(Some("for example `include = [\"common/kafka.toml\"]`".to_owned())),
            );
            return Vec::new();
        };
        let mut paths = Vec::new();
        for item in items {
            let span = item.span();
            match item.into_inner() {
                DeValue::String(path) if !path.is_empty() => paths.push((path.into_owned(), span)),
                _ => self.give_up(Finding::at(span, "an item of `include` must be a path")),
            }
        }
        paths
    }

    /// Lays a `KEY=VALUE` argument over what was read.
    fn set(&mut self, argument: &str) {
        let base = self.document.texts.add(&format!("--set {}", shown(argument)), argument);
        let argument = self.shelf.keep(argument.to_owned());
        match overrides::parse(argument, base) {
            Err(finding) => self.give_up(finding),
            Ok(mut set) => {
                let path = set.path_text();
                self.substitution.node(&mut set.value, &path, &mut self.document.report);
                match set.apply(&mut self.document.root) {
                    Ok(doubtful) => self.document.doubtful.extend(doubtful),
                    Err(finding) => self.document.report.push(finding),
                }
            }
        }
    }
}

/// The message of the parser about a key or table that is given twice.
const DUPLICATE_KEY: &str = "duplicate key";

/// Whether the place lies in the header of a table.
fn is_header(text: &str, at: usize) -> bool {
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    text[line..].trim_start().starts_with('[')
}

/// A syntax error in our words where the parser's are scant.
fn syntax_finding(texts: &Texts, span: Span, message: &str) -> Finding {
    if message != DUPLICATE_KEY {
        return Finding::at(span, message);
    }
    let finding = Finding::at(span.clone(), format!("`{}` is given twice", shown(texts.slice(&span))))
        .label(Some("given again".to_owned()));
    match texts.earlier_line_like(&span) {
        Some(first) => finding.related(first, "given here first"),
        None => finding,
    }
}

/// Puts the tables of several files together.
struct Merge<'a>(&'a mut Report);

impl Merge<'_> {
    fn tables<'t>(&mut self, into: &mut DeTable<'t>, from: DeTable<'t>, path: &str) {
        for (key, node) in from {
            let Some((first, _)) = into.get_key_value(key.get_ref().as_ref()) else {
                into.insert(key, node);
                continue;
            };
            let first = first.span();
            let inner =
                if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            let there = into.get_mut(key.get_ref().as_ref()).expect("it was found a line above");
            match (there.get_mut(), node.into_inner()) {
                (DeValue::Table(there), DeValue::Table(more)) if is_shared(&inner) => {
                    self.tables(there, more, &inner);
                }
                _ => self.twice(&inner, key.span(), first),
            }
        }
    }

    fn twice(&mut self, path: &str, again: Span, first: Span) {
        let what = match path.split_once('.') {
            Some((kind @ ("spout" | "bolt"), id)) => format!("{kind} `{}`", shown(id)),
            _ => format!("`{}`", shown(path)),
        };
        self.0.push(
            Finding::at(again, format!("{what} is given in two files"))
                .label(Some("given again".to_owned()))
                .related(first, "given here first"),
        );
    }
}

/// Whether several files may add to this table.
fn is_shared(path: &str) -> bool {
    let settings = "topology.settings";
    ["topology", "spout", "bolt", "topology.queue", "topology.errors", "topology.watchdog"].contains(&path)
        || path.strip_prefix(settings).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The path without `.` and without `..` where the text alone decides it.
fn normal(path: &Path) -> String {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(normal.components().next_back(), Some(Component::Normal(_))) => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    // The directory itself is no file, but it is not nothing either.
    if normal.as_os_str().is_empty() && !path.as_os_str().is_empty() {
        normal.push(Component::CurDir);
    }
    normal.to_string_lossy().into_owned()
}
