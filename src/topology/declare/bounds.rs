//! How deep a document nests and how broken it is, found out before a tree is made of it.
//!
//! A parsed tree is walked and dropped by recursion, so its depth must be bounded, and dotted
//! keys nest as brackets do: `a.a.a = 1` is three tables. The count comes from the lexer alone,
//! needs no stack, and stops at the first place that is too deep.
//!
//! The parser keeps every error it finds, which for 4 MiB of nonsense are millions. Errors are
//! therefore counted first, by the parser's own events; a text with more than are ever shown is
//! not parsed further.

use toml_parser::decoder::Encoding;
use toml_parser::lexer::TokenKind;
use toml_parser::parser::{EventReceiver, parse_document};
use toml_parser::{ErrorSink, ParseError, Raw, Source, Span};

use crate::config::limits::DOCUMENT_DEPTH_MAX;
use crate::topology::declare::texts;
use crate::topology::diagnostic::DIAGNOSTICS_MAX;

/// The first place that nests deeper than a document may.
///
/// The tables of a header do not count for the keys below it, so that a tree may be at most twice
/// as deep.
pub(super) fn too_deep(text: &str) -> Option<texts::Span> {
    let mut depth = Depth::default();
    for token in Source::new(text).lex() {
        depth.take(token.kind());
        if depth.total > DOCUMENT_DEPTH_MAX {
            return Some(token.span().start()..token.span().end());
        }
    }
    None
}

/// A text with more syntax errors than are shown.
pub(super) struct Hopeless {
    pub count: usize,
    /// The place and the message of the first.
    pub first: texts::Span,
    pub message: String,
}

/// Whether a text has more syntax errors than are shown. Its depth was checked before.
pub(super) fn hopeless(text: &str) -> Option<Hopeless> {
    let mut first = None;
    let mut count = 0;
    let tokens = Source::new(text).lex().into_vec();
    parse_document(&tokens, &mut Decoding(text), &mut |error: ParseError| {
        count += 1;
        first.get_or_insert(error);
    });
    let first = first.filter(|_| count > DIAGNOSTICS_MAX)?;
    let span = first.unexpected().map_or(0..0, |span| span.start()..span.end());
    Some(Hopeless { count, first: span, message: first.description().to_owned() })
}

/// Decodes keys and values for the sake of the errors in them.
struct Decoding<'t>(&'t str);

impl<'t> Decoding<'t> {
    fn raw(&self, span: Span, encoding: Option<Encoding>) -> Option<Raw<'t>> {
        let written = self.0.get(span.start()..span.end())?;
        Some(Raw::new_unchecked(written, encoding, span))
    }
}

impl EventReceiver for Decoding<'_> {
    fn simple_key(&mut self, span: Span, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        if let Some(raw) = self.raw(span, encoding) {
            raw.decode_key(&mut (), error);
        }
    }

    fn scalar(&mut self, span: Span, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        if let Some(raw) = self.raw(span, encoding) {
            let _kind = raw.decode_scalar(&mut (), error);
        }
    }
}

/// How deep the lexer is inside brackets and dotted keys.
#[derive(Default)]
struct Depth {
    /// For each open bracket, the dots of the key that stood before it.
    open: Vec<usize>,
    /// The dots of the key at hand.
    dots: usize,
    /// Brackets and dots together.
    total: usize,
}

impl Depth {
    fn take(&mut self, kind: TokenKind) {
        match kind {
            TokenKind::Dot => {
                self.dots += 1;
                self.total += 1;
            }
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                self.open.push(std::mem::take(&mut self.dots));
                self.total += 1;
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                if let Some(dots) = self.open.pop() {
                    self.total -= self.dots + 1;
                    self.dots = dots;
                }
            }
            TokenKind::Comma => self.end_key(),
            // Inside brackets a line break ends nothing. An unclosed bracket therefore makes the
            // rest count as nested, which can only refuse a document that is broken anyway.
            TokenKind::Newline if self.open.is_empty() => self.end_key(),
            _ => {}
        }
    }

    fn end_key(&mut self) {
        self.total -= std::mem::take(&mut self.dots);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_a_few_errors_is_not_hopeless() {
        assert!(hopeless("=\n").is_none());
        assert!(hopeless(&"a\n".repeat(DIAGNOSTICS_MAX)).is_none());
        let fine = "a=1\n\"ü\"='\\'\n'b'.c=\"\\t\"\nd=\"\"\"\n\"\"\"\ne=1979-05-27T07:32:00Z\n";
        assert!(hopeless(&fine.repeat(1000)).is_none());
        let check = |line: &str, first| {
            let hopeless = hopeless(&format!("\n{}", line.repeat(DIAGNOSTICS_MAX + 1)));
            let hopeless = hopeless.expect("more than are shown");
            assert!(hopeless.count > DIAGNOSTICS_MAX);
            assert_eq!(hopeless.first, first);
        };
        check("a\n", 2..2);
        check("=\n", 1..1);
        check("ü=1\n", 1..3);
        check("a=x\n", 3..4);
        check("a=\"\\x\"\n", 6..6);
    }

    #[test]
    fn brackets_and_dots_are_counted_together() {
        let check = |text: &str, deep: bool| assert_eq!(too_deep(text).is_some(), deep, "{text:.80}");
        let max = DOCUMENT_DEPTH_MAX;
        check("a = [1.5, 2.5]\n[b.c]\nd.e = { f.g = [[]] }\n", false);
        check(&format!("a = {}1{}", "[".repeat(max), "]".repeat(max)), false);
        check(&format!("a = {}1{}", "[".repeat(max + 1), "]".repeat(max + 1)), true);
        check(&format!("a{} = 1", ".a".repeat(max)), false);
        check(&format!("a{} = 1", ".a".repeat(max + 1)), true);
        check(&"{".repeat(1 << 20), true);
        check(&"a={a.".repeat(1 << 16), true);
        check(&"a = 1.5\n".repeat(1000), false);
        check(&format!("a = [{}]", "1.5, ".repeat(1000)), false);
        check(&"]".repeat(1000), false);
        check(&format!("a = \"{}\"", "[.".repeat(1000)), false);
    }
}
