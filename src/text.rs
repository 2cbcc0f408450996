//! Text that is made of data, as a person may see it: bounded and escaped.
//!
//! Error messages quote file names, lines and values. A line of data may be megabytes long and may
//! hold what moves a cursor, clears a terminal or begins a new line of a log. So whatever is made of
//! data passes through [`shown`] before it is kept, logged or printed, where it is made.
//!
//! 1. The result has at most [`SHOWN_MAX`] bytes before the note of how many were cut off.
//! 2. It has no control character, no line or paragraph separator, and nothing that changes the
//!    direction of the text; these are written as in a Rust string: `\n`, `\u{1b}`.
//! 3. Text that needs neither is unchanged.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Bytes of the longest text that is shown, not counting the note of what was cut off.
pub const SHOWN_MAX: usize = 1024;

/// Shows a text that is made of data. For what is no `&str`, see [`shown`].
///
/// # Examples
/// ```
/// use squall::text::Shown;
///
/// assert_eq!(format!("no such file: `{}`", Shown("a\nb")), r"no such file: `a\nb`");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.0))
    }
}

/// A text, an error or anything else that is made of data, as a person may see it. It is bounded while
/// it is written, so a long one costs no copy.
pub fn shown(text: impl fmt::Display) -> String {
    let mut bounded = Bounded { text: String::new(), cut: 0 };
    // Writing to a string does not fail; a `Display` that fails by itself has written less.
    let _ = write!(bounded, "{text}");
    if bounded.cut > 0 {
        let _ = write!(bounded.text, "… ({} bytes more)", bounded.cut);
    }
    bounded.text
}

/// Takes what fits, escaped, and counts the bytes of the rest.
struct Bounded {
    text: String,
    cut: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut > 0 {
            self.cut += text.len();
            return Ok(());
        }
        for (at, character) in text.char_indices() {
            let escaped = is_to_escape(character);
            let len = if escaped { character.escape_debug().count() } else { character.len_utf8() };
            if self.text.len() + len > SHOWN_MAX {
                self.cut = text.len() - at;
                return Ok(());
            }
            if escaped {
                self.text.extend(character.escape_debug());
            } else {
                self.text.push(character);
            }
        }
        Ok(())
    }
}

/// A text of several lines: each as [`shown`] shows it.
///
/// # Examples
/// ```
/// use squall::text::shown_lines;
///
/// assert_eq!(shown_lines("error: `\u{1b}`\n  here"), "error: `\\u{1b}`\n  here");
/// ```
pub fn shown_lines(text: &str) -> String {
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n")
}

/// JSON in which everything that a terminal would act upon is escaped, but the ends of its lines. Such
/// characters can only stand within the strings of JSON, where each may be written as `\u…`: a program
/// reads the same as before.
///
/// # Examples
/// ```
/// use squall::text::escaped_json;
///
/// assert_eq!(escaped_json("{\"a\": \"\u{9b}1m\"}\n"), "{\"a\": \"\\u009b1m\"}\n");
/// ```
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    let is_hostile = |c: char| is_to_escape(c) && c != '\n';
    if !json.contains(is_hostile) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hostile(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether a character does something to a terminal or to the order of a line.
pub fn is_to_escape(character: char) -> bool {
    let separates = matches!(character, '\u{2028}' | '\u{2029}');
    let turns =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || separates || turns
}

/// The text of an error and of its causes.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_something_to_a_terminal_is_escaped() {
        let check = |text: &str, expected: &str| assert_eq!(shown(text), expected, "{text:?}");
        check("", "");
        check("words, 世界, `ticks` and \"quotes\"", "words, 世界, `ticks` and \"quotes\"");
        check("two\nlines\r\tand a tab", r"two\nlines\r\tand a tab");
        check("\u{1b}[2J\u{7f}\u{9b}", r"\u{1b}[2J\u{7f}\u{9b}");
        check("a\u{202e}b\u{2028}", r"a\u{202e}b\u{2028}");
        check("null\0", r"null\0");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(shown("x".repeat(SHOWN_MAX)), "x".repeat(SHOWN_MAX));
        assert_eq!(shown("x".repeat(SHOWN_MAX + 7)), "x".repeat(SHOWN_MAX) + "… (7 bytes more)");
        // 1,024 is no multiple of 3, so the last whole character ends a byte before the limit.
        let wide = shown("世".repeat(400));
        assert_eq!(wide, "世".repeat(341) + "… (177 bytes more)");
        let escaped = shown("\n".repeat(2000));
        assert_eq!(escaped, r"\n".repeat(512) + "… (1488 bytes more)");
    }

    #[test]
    fn what_is_written_in_pieces_is_counted_as_one() {
        let pieces = format_args!("{}{}{}", "a".repeat(1000), "b".repeat(100), "c").to_string();
        assert_eq!(shown(format_args!("{}{}{}", "a".repeat(1000), "b".repeat(100), "c")), shown(pieces));
    }
}
