//! How deep a document nests, found out before it is handed to the parser.
//!
//! A parsed tree is walked and dropped by recursion, so its depth must be bounded, and dotted
//! keys nest as brackets do: `a.a.a = 1` is three tables. The count comes from the lexer alone,
//! needs no stack, and stops at the first place that is too deep.

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use crate::config::limits::DOCUMENT_DEPTH_MAX;
use crate::topology::declare::texts::Span;

/// The first place that nests deeper than a document may.
///
/// The tables of a header do not count for the keys below it, so that a tree may be at most twice
/// as deep.
pub(super) fn too_deep(text: &str) -> Option<Span> {
    let mut depth = Depth::default();
    for token in Source::new(text).lex() {
        depth.take(token.kind());
        if depth.total > DOCUMENT_DEPTH_MAX {
            return Some(token.span().start()..token.span().end());
        }
    }
    None
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
