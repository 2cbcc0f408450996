//! What is wrong with a topology, for people and for programs.
//!
//! A [`Diagnostic`] that comes of a document knows its [`Place`] and is shown with the line and a
//! caret under it; one that comes of the Rust builder has none, and its message names
//! the component it is about. Everything is reported at once, in the order of the text.
//!
//! Bounds, because documents may be hostile: at most [`DIAGNOSTICS_MAX`] are kept, the rest is
//! counted; a line longer than 4 KiB is named but not shown.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DEFAULT_TERM_WIDTH;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::text::{is_to_escape, shown, shown_lines};

/// How many diagnostics are kept.
pub const DIAGNOSTICS_MAX: usize = 100;
/// Bytes of a line that is shown: 4 KiB, see the module.
const LINE_SHOWN_MAX: usize = 4096;
/// Lines that are shown of a place that covers several.
const LINES_SHOWN_MAX: usize = 3;

/// A place in a document.
#[derive(Clone)]
pub struct Place {
    /// The file, as it was named by the caller or by an include; `--set ARGUMENT` for an override.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// Where the document stands among all that were read, for sorting.
    order: u32,
    /// The lines to show, and which part of them is meant.
    text: Arc<str>,
    shown: Range<usize>,
    span: Range<usize>,
}

impl Place {
    /// The place of a byte range in a text. `line_starts` holds the offset of each line.
    pub(crate) fn new(
        order: u32,
        file: &Arc<str>,
        text: &Arc<str>,
        line_starts: &[usize],
        span: Range<usize>,
    ) -> Place {
        let start = floor_char(text, span.start.min(text.len()));
        let end = floor_char(text, span.end.clamp(start, text.len()));
        let line = line_starts.partition_point(|&at| at <= start).max(1) - 1;
        let line_start = line_starts.get(line).copied().unwrap_or(0);
        let last = line_starts.partition_point(|&at| at < end).max(line + 1).min(line + LINES_SHOWN_MAX);
        let shown_end = line_starts.get(last).map_or(text.len(), |&at| at - 1);
        let column = text[line_start..start].chars().count() as u32 + 1;
        Place {
            file: Arc::clone(file),
            line: line as u32 + 1,
            column,
            order,
            text: Arc::clone(text),
            shown: line_start..shown_end.max(start),
            span: start..end.min(shown_end).max(start),
        }
    }

    fn key(&self) -> (u32, usize, usize) {
        (self.order, self.span.start, self.span.end)
    }

    fn snippet<'a>(
        &'a self,
        kind: AnnotationKind,
        label: Option<&'a str>,
    ) -> Option<Snippet<'a, Annotation<'a>>> {
        let source = &self.text[self.shown.clone()];
        if source.lines().any(|line| line.len() > LINE_SHOWN_MAX) {
            return None;
        }
        let (start, end) = (self.span.start - self.shown.start, self.span.end - self.shown.start);
        let source = &without_passwords(source);
        let (before, meant) = (visible(&source[..start]), visible(&source[start..end]));
        let within = before.len()..before.len() + meant.len();
        let source = before + &meant + &visible(&source[end..]);
        let annotation = kind.span(within).label(label);
        let snippet = Snippet::source(source).line_start(self.line as usize).path(shown(&self.file));
        Some(snippet.fold(false).annotation(annotation))
    }

    fn origin(&self) -> Origin<'_> {
        Origin::path(shown(&self.file)).line(self.line as usize).char_column(self.column as usize)
    }
}

/// Lines of a document with stars for the passwords of URLs (`scheme://user:password@host`), a star for each byte, so
/// that places stay where they are.
fn without_passwords(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        shown.push_str(before);
        rest = after;
        // What belongs to the host begins behind the last `@` before anything that no user and no password has.
        let end = after.find(['/', '"', '\'', ' ', '\t', '\n', '?']).unwrap_or(after.len());
        let Some(user_end) = after[..end].rfind('@') else { continue };
        let Some(colon) = after[..user_end].find(':') else { continue };
        shown.push_str(&after[..=colon]);
        shown.extend(std::iter::repeat_n('*', user_end - colon - 1));
        rest = &after[user_end..];
    }
    shown.push_str(rest);
    without_named_passwords(&shown)
}

/// The same for `password=…`, as connection strings have it.
fn without_named_passwords(text: &str) -> String {
    const NAME: &str = "password=";
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(NAME) {
        let (before, after) = rest.split_at(at + NAME.len());
        let end = after.find(['"', '\'', ' ', '&', '\t', '\n']).unwrap_or(after.len());
        shown.push_str(before);
        shown.extend(std::iter::repeat_n('*', end));
        rest = &after[end..];
    }
    shown + rest
}

/// Lines of a document as they are shown: without what a terminal would act upon, one character for
/// each, so that carets stand under their places. The renderer does the same for ASCII.
fn visible(text: &str) -> String {
    let visible = |c: char| if is_to_escape(c) && !c.is_ascii() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(visible).collect()
}

type Annotation<'a> = annotate_snippets::Annotation<'a>;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", shown(&self.file), self.line, self.column)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn floor_char(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One thing that is wrong.
///
/// Serializes as `{file, line, column, message, help, related: [{file, line, column, label}]}`,
/// without the keys that do not apply.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// What is wrong, in one sentence that stands alone.
    pub message: String,
    /// A few words for the place itself.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Where it is, unless the topology was built in Rust.
    pub place: Option<Place>,
    /// Other places that it has to do with, and why.
    pub related: Vec<(Place, String)>,
}

impl Diagnostic {
    /// A diagnostic of a message alone.
    pub(crate) fn new(message: impl Into<String>) -> Diagnostic {
        Diagnostic { message: message.into(), label: None, help: None, place: None, related: Vec::new() }
    }

    /// Its message, with the help in parentheses, as one line.
    pub fn one_line(&self) -> String {
        match &self.help {
            Some(help) => format!("{} ({help})", self.message),
            None => self.message.clone(),
        }
    }

    fn group(&self) -> Group<'_> {
        let mut group = Group::with_title(Level::ERROR.primary_title(self.message.as_str()));
        if let Some(place) = &self.place {
            group = match place.snippet(AnnotationKind::Primary, self.label.as_deref()) {
                Some(snippet) => group.element(snippet),
                None => group.element(place.origin()),
            };
        }
        for (place, label) in &self.related {
            group = match place.snippet(AnnotationKind::Context, Some(label)) {
                Some(snippet) => group.element(snippet),
                None => group.element(place.origin()),
            };
        }
        match &self.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }

    /// Messages quote documents, and errors of libraries that quote them. Several lines are meant so.
    fn make_visible(&mut self) {
        let labels = self.related.iter_mut().map(|(_, label)| label);
        let texts = [self.label.as_mut(), self.help.as_mut()].into_iter().flatten().chain(labels);
        for text in texts.chain([&mut self.message]) {
            *text = shown_lines(text);
        }
    }

    fn cmp_place(&self, other: &Diagnostic) -> Ordering {
        self.place.as_ref().map(Place::key).cmp(&other.place.as_ref().map(Place::key))
    }
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: message (help)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.one_line())
    }
}

#[derive(Serialize)]
struct RelatedOut<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    label: &'a str,
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Diagnostic", 6)?;
        if let Some(place) = &self.place {
            out.serialize_field("file", &*place.file)?;
            out.serialize_field("line", &place.line)?;
            out.serialize_field("column", &place.column)?;
        }
        out.serialize_field("message", &self.message)?;
        if let Some(help) = &self.help {
            out.serialize_field("help", help)?;
        }
        if !self.related.is_empty() {
            let related = self.related.iter().map(|(place, label)| RelatedOut {
                file: &place.file,
                line: place.line,
                column: place.column,
                label,
            });
            out.serialize_field("related", &related.collect::<Vec<_>>())?;
        }
        out.end()
    }
}

/// Everything that is wrong with a topology, in the order of the text. Never empty.
#[derive(Clone)]
pub struct TopologyErrors {
    diagnostics: Vec<Diagnostic>,
    omitted: usize,
}

impl TopologyErrors {
    /// Sorts them, drops repetitions, counts those beyond the limit, and makes parts that
    /// come from data fit to be shown.
    pub(crate) fn new(mut diagnostics: Vec<Diagnostic>) -> TopologyErrors {
        assert!(!diagnostics.is_empty(), "an error says what is wrong");
        diagnostics.sort_by(Diagnostic::cmp_place);
        diagnostics.dedup_by(|a, b| a.message == b.message && a.cmp_place(b).is_eq());
        let omitted = diagnostics.len().saturating_sub(DIAGNOSTICS_MAX);
        diagnostics.truncate(DIAGNOSTICS_MAX);
        diagnostics.iter_mut().for_each(Diagnostic::make_visible);
        TopologyErrors { diagnostics, omitted }
    }

    /// One thing that is wrong, without a place.
    pub(crate) fn of(message: impl Into<String>) -> TopologyErrors {
        TopologyErrors::new(vec![Diagnostic::new(message)])
    }

    /// The same, with so many more left out.
    pub(crate) fn with_omitted(mut self, omitted: usize) -> TopologyErrors {
        self.omitted += omitted;
        self
    }

    /// What is wrong, by file and place.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many more there were than are kept.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// As a text for a terminal: each with its place, the line, a caret under the place and what
    /// to do about it. `color` adds escape sequences.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.term_width(DEFAULT_TERM_WIDTH);
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            text += &renderer.render(&[diagnostic.group()]);
            text += "\n\n";
        }
        if self.omitted > 0 {
            text += &format!("and {} more errors\n", self.omitted);
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl fmt::Display for TopologyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for TopologyErrors {
    /// As [`fmt::Display`], so that `unwrap` in a test shows what is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}", self.render(false))
    }
}

impl std::error::Error for TopologyErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_urls_are_not_shown() {
        let check = |line: &str, shown: &str| assert_eq!(without_passwords(line), shown, "{line}");
        check(
            "url = 'host=db user=me password=secret dbname=d'",
            "url = 'host=db user=me password=****** dbname=d'",
        );
        check("url = \"postgres://db?password=secret&x=1\"", "url = \"postgres://db?password=******&x=1\"");
        check("url = \"postgres://me:hush@db/shop\"", "url = \"postgres://me:****@db/shop\"");
        check("a = 'x://u:p@s@h' b = 'y://u:@h'", "a = 'x://u:***@h' b = 'y://u:@h'");
        check("url = \"postgres://me@db:5432/shop\"", "url = \"postgres://me@db:5432/shop\"");
        check("url = \"http://db:80/a@b:c\"", "url = \"http://db:80/a@b:c\"");
        check("no url: x@y", "no url: x@y");
    }
}
