//! All texts that were read, laid end to end, so that a place in any of them is one range.
//!
//! Values of different files, and of `--set` arguments, end up in one tree. As in rustc's source
//! map, each text gets a base offset of its own and every span in the tree is moved by it; serde
//! errors then point into the right text without knowing that there are several.

use std::ops::Range;
use std::sync::Arc;

use crate::topology::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Place, TopologyErrors};

/// A range of bytes in the texts laid end to end.
pub(super) type Span = Range<usize>;

/// One text that was read.
struct Text {
    name: Arc<str>,
    text: Arc<str>,
    base: usize,
    line_starts: Vec<usize>,
}

/// The texts in the order in which they were read.
#[derive(Default)]
pub(super) struct Texts(Vec<Text>);

impl Texts {
    /// Adds a text and returns its base.
    pub fn add(&mut self, name: &str, text: &str) -> usize {
        // One more than the length, so that the end of a text is not the start of the next.
        let base = self.0.last().map_or(0, |last| last.base + last.text.len() + 1);
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.0.push(Text { name: name.into(), text: text.into(), base, line_starts });
        base
    }

    /// The written text of a span.
    pub fn slice(&self, span: &Span) -> &str {
        self.of(span).and_then(|(_, text, within)| text.text.get(within)).unwrap_or_default()
    }

    /// The first line before the span's that has the same text, as a span.
    pub fn earlier_line_like(&self, span: &Span) -> Option<Span> {
        let (_, text, within) = self.of(span)?;
        let line = text.line_starts.partition_point(|&at| at <= within.start) - 1;
        let content = |line: usize| {
            let end = text.line_starts.get(line + 1).map_or(text.text.len(), |&at| at - 1);
            text.text[text.line_starts[line]..end].trim()
        };
        let wanted = content(line);
        let earlier = (0..line).find(|&earlier| content(earlier) == wanted)?;
        let start = text.base + text.line_starts[earlier];
        Some(start..start + wanted.len())
    }

    /// The line of a span, to be compared with the line of another.
    pub fn line(&self, span: &Span) -> Option<(usize, usize)> {
        let (order, text, within) = self.of(span)?;
        Some((order, text.line_starts.partition_point(|&at| at <= within.start)))
    }

    fn place(&self, span: &Span) -> Option<Place> {
        let (order, text, within) = self.of(span)?;
        Some(Place::new(order as u32, &text.name, &text.text, &text.line_starts, within))
    }

    /// The text that a span lies in, and where in it.
    fn of(&self, span: &Span) -> Option<(usize, &Text, Span)> {
        let order = self.0.partition_point(|text| text.base <= span.start).checked_sub(1)?;
        let text = &self.0[order];
        let within = |at: usize| at.saturating_sub(text.base).min(text.text.len());
        Some((order, text, within(span.start)..within(span.end)))
    }
}

/// Something wrong at a span.
#[derive(Debug)]
pub(super) struct Finding {
    span: Option<Span>,
    message: String,
    label: Option<Box<str>>,
    help: Option<String>,
    related: Vec<(Span, String)>,
    /// Whether something is missing, rather than wrong.
    is_absence: bool,
}

impl Finding {
    /// Something wrong at a place.
    pub fn at(span: Span, message: impl Into<String>) -> Finding {
        Finding { span: Some(span), ..Finding::nowhere(message) }
    }

    /// Something wrong that has no place, as a file that cannot be read.
    pub fn nowhere(message: impl Into<String>) -> Finding {
        Finding {
            span: None,
            message: message.into(),
            label: None,
            help: None,
            related: Vec::new(),
            is_absence: false,
        }
    }

    /// Marks that something is missing, rather than wrong.
    pub fn absence(mut self) -> Finding {
        self.is_absence = true;
        self
    }

    pub fn label(mut self, label: impl Into<Option<String>>) -> Finding {
        self.label = label.into().map(String::into_boxed_str);
        self
    }

    pub fn help(mut self, help: impl Into<Option<String>>) -> Finding {
        self.help = help.into();
        self
    }

    pub fn related(mut self, span: Span, label: impl Into<String>) -> Finding {
        self.related.push((span, label.into()));
        self
    }

    fn is_within(&self, span: &Span) -> bool {
        self.span.as_ref().is_some_and(|own| span.start <= own.start && own.end <= span.end)
    }
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    omitted: usize,
}

/// Findings kept while reading: more than are shown, because they are sorted afterwards.
const FINDINGS_MAX: usize = 3 * DIAGNOSTICS_MAX;

/// Characters of a message that are kept.
const MESSAGE_MAX: usize = 1000;

impl Report {
    pub fn push(&mut self, mut finding: Finding) {
        // Messages of serde may quote a value of any length.
        if let Some((end, _)) = finding.message.char_indices().nth(MESSAGE_MAX) {
            finding.message.truncate(end);
            finding.message.push('…');
        }
        if self.is_full() {
            self.omitted += 1;
        } else {
            self.findings.push(finding);
        }
    }

    /// Counts what was found but is not worth keeping.
    pub fn omit(&mut self, count: usize) {
        self.omitted += count;
    }

    /// Whether more findings would only be counted, so that they need no elaborate help.
    pub fn is_full(&self) -> bool {
        self.findings.len() >= FINDINGS_MAX
    }

    /// How many findings there are, those that are only counted among them.
    pub fn count(&self) -> usize {
        self.findings.len() + self.omitted
    }

    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether something is wrong within a span.
    pub fn has_within(&self, span: &Span) -> bool {
        self.findings.iter().any(|finding| finding.is_within(span))
    }

    /// Gives help to what is wrong within a span and has none.
    pub fn help_within(&mut self, span: &Span, help: &str) {
        let within = self.findings.iter_mut().filter(|finding| finding.is_within(span));
        within
            .filter(|finding| finding.help.is_none())
            .for_each(|finding| finding.help = Some(help.to_owned()));
    }

    /// Adds all that another report found.
    pub fn append(&mut self, other: Report) {
        self.omitted += other.omitted;
        other.findings.into_iter().for_each(|finding| self.push(finding));
    }

    /// Adds what another report found wrong on lines where this one, of a text that could not be
    /// parsed as a whole, found nothing. What is missing may only be unreadable, and is left out.
    pub fn extend_elsewhere(&mut self, other: Report, texts: &Texts) {
        let lines: Vec<_> = self.findings.iter().filter_map(|f| texts.line(f.span.as_ref()?)).collect();
        for finding in other.findings {
            let line = finding.span.as_ref().and_then(|span| texts.line(span));
            if !finding.is_absence && line.is_some_and(|line| !lines.contains(&line)) {
                self.push(finding);
            }
        }
    }

    /// Everything that was found, with places.
    pub fn into_errors(self, texts: &Texts) -> TopologyErrors {
        let diagnostic = |finding: Finding| Diagnostic {
            message: finding.message,
            label: finding.label.map(String::from),
            help: finding.help,
            place: finding.span.and_then(|span| texts.place(&span)),
            related: finding
                .related
                .into_iter()
                .filter_map(|(span, label)| Some((texts.place(&span)?, label)))
                .collect(),
        };
        let diagnostics = self.findings.into_iter().map(diagnostic).collect();
        TopologyErrors::new(diagnostics).with_omitted(self.omitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_knows_its_text_line_and_column() {
        let mut texts = Texts::default();
        texts.add("a", "one\ntwö three");
        let base = texts.add("b", "four");
        let check = |span: Span, expected: &str| {
            assert_eq!(texts.place(&span).unwrap().to_string(), expected);
        };
        check(0..3, "a:1:1");
        check(9..14, "a:2:5");
        check(14..14, "a:2:10");
        check(base..base + 4, "b:1:1");
        check(base + 4..base + 4, "b:1:5");
        check(base + 100..base + 200, "b:1:5");
        assert_eq!(texts.slice(&(9..14)), "three");
    }
}
