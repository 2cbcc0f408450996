//! The bytes of a document to text: UTF-8, and what else was found when they are not.
//!
//! A document is UTF-8. Editors of other systems write other encodings without asking, and "not
//! UTF-8" does not help whoever cannot see the difference; so what was found is named, with its
//! place and the command that converts it. Nothing is converted silently: a guess that is wrong
//! would change names and patterns.
//!
//! A UTF-8 byte-order mark at the head is allowed, as in TOML, and is no part of the text.

use std::str;

use crate::topology::declare::texts::Span;

/// The UTF-8 byte-order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes that are looked at to recognize UTF-16 without a mark, and that are decoded to be shown.
const LOOKED_AT: usize = 2048;

/// Kinds of files that are handed in by mistake, by their first bytes.
const OTHER_FILES: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"\xfd7zXZ\0", "compressed by xz"),
    (b"BZh", "compressed by bzip2"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x7fELF", "a program"),
];

/// Why bytes are no text of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotText {
    /// What can be shown of it.
    pub text: String,
    /// The place within `text`.
    pub span: Span,
    pub message: String,
    pub label: Option<String>,
    pub help: String,
}

/// The text of a document, without a byte-order mark.
///
/// # Errors
/// When it is not UTF-8, or holds a NUL, which no document may.
pub(super) fn decode(mut bytes: Vec<u8>) -> Result<String, NotText> {
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    if let Some(wide) = Wide::of(&bytes) {
        return Err(wide.not_text(&bytes));
    }
    if let Some((_, what)) = OTHER_FILES.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        let (text, help) = (String::new(), "give a TOML file; one that is packed has to be unpacked first");
        let message = format!("this is {what}, not text");
        return Err(NotText { text, span: 0..0, message, label: None, help: help.to_owned() });
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error();
        not_utf8(error.as_bytes(), at.valid_up_to(), at.error_len())
    })?;
    match text.find('\0') {
        Some(at) => Err(NotText {
            span: at..at + 1,
            message: format!("a NUL byte at offset {at}: no document may hold one"),
            label: Some("NUL".to_owned()),
            help: "remove it; many of them at the end mean that the file was not written to its end"
                .to_owned(),
            text,
        }),
        None => Ok(text),
    }
}

/// The bytes from `at` on are no UTF-8; `length` is missing when the text ends within a character.
fn not_utf8(bytes: &[u8], at: usize, length: Option<usize>) -> NotText {
    let byte = bytes[at];
    let text = String::from_utf8_lossy(bytes).into_owned();
    let span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
    let place = format!("byte 0x{byte:02X} at offset {at} is not UTF-8");
    let is_mixed = bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii());
    // A single byte at the end of text that is ASCII otherwise may be a whole character.
    if length.is_none() && (is_mixed || bytes.len() - at > 1) {
        let message = format!("{place}: the text ends in the middle of a character");
        let help = "the file is cut short; write it again, as UTF-8".to_owned();
        return NotText { text, span, message, label: None, help };
    }
    let one_byte = (!is_mixed).then(|| OneByte::of(bytes));
    let message = match &one_byte {
        Some(one_byte) => format!("{place}; the text looks like {}", one_byte.name),
        None => format!("{place}, while other parts of the text are"),
    };
    let label = one_byte.as_ref().and_then(|one_byte| one_byte.character(byte));
    let help = match one_byte {
        Some(one_byte) => save_as_utf8(one_byte.iconv),
        None => "write the character again in an editor that saves UTF-8".to_owned(),
    };
    NotText { text, span, message, label, help }
}

fn save_as_utf8(iconv: &str) -> String {
    format!(
        "documents are UTF-8: save it so in the editor, or convert it by `iconv -f {iconv} -t UTF-8 FILE`"
    )
}

/// An encoding of one byte per character that the text may be in.
struct OneByte {
    name: &'static str,
    iconv: &'static str,
}

impl OneByte {
    /// A guess, for a text of which no part beyond ASCII is UTF-8.
    fn of(bytes: &[u8]) -> OneByte {
        // Where Latin-1 has control characters that nobody writes, Windows has quotes and dashes.
        match bytes.iter().any(|byte| (0x80..0xa0).contains(byte)) {
            true => OneByte { name: "Windows-1252", iconv: "WINDOWS-1252" },
            false => OneByte { name: "Latin-1 (ISO 8859-1)", iconv: "ISO-8859-1" },
        }
    }

    /// What the byte stands for, where both encodings agree.
    fn character(&self, byte: u8) -> Option<String> {
        (byte >= 0xa0).then(|| format!("`{}` in {}", char::from(byte), self.name))
    }
}

/// An encoding of two or four bytes per unit.
#[derive(Clone, Copy)]
struct Wide {
    bits: u8,
    little: bool,
    marked: bool,
}

impl Wide {
    fn of(bytes: &[u8]) -> Option<Wide> {
        let wide = |bits, little, marked| Some(Wide { bits, little, marked });
        match bytes {
            [0xff, 0xfe, 0, 0, ..] => wide(32, true, true),
            [0, 0, 0xfe, 0xff, ..] => wide(32, false, true),
            [0xff, 0xfe, ..] => wide(16, true, true),
            [0xfe, 0xff, ..] => wide(16, false, true),
            _ => Wide::unmarked(bytes),
        }
    }

    /// TOML is ASCII for the most part, so that every second byte of UTF-16 is 0, always on the same
    /// side.
    fn unmarked(bytes: &[u8]) -> Option<Wide> {
        let pairs = bytes[..bytes.len().min(LOOKED_AT)].as_chunks::<2>().0;
        let zeros = |side: usize| pairs.iter().filter(|pair| pair[side] == 0 && pair[1 - side] != 0).count();
        let most = |zeros: usize| pairs.len() >= 2 && zeros * 4 >= pairs.len() * 3;
        match (most(zeros(1)), most(zeros(0))) {
            (true, false) => Some(Wide { bits: 16, little: true, marked: false }),
            (false, true) => Some(Wide { bits: 16, little: false, marked: false }),
            _ => None,
        }
    }

    fn not_text(self, bytes: &[u8]) -> NotText {
        let Wide { bits, little, marked } = self;
        let order = if little { "little-endian" } else { "big-endian" };
        let mark = if marked { "with" } else { "without" };
        let (text, message) = (
            self.beginning(bytes),
            format!("this is UTF-{bits} ({order}, {mark} a byte-order mark), not UTF-8"),
        );
        // With a mark the name without an order makes `iconv` take the mark away.
        let suffix = match (marked, little) {
            (true, _) => "",
            (false, true) => "LE",
            (false, false) => "BE",
        };
        NotText { text, span: 0..0, message, label: None, help: save_as_utf8(&format!("UTF-{bits}{suffix}")) }
    }

    /// The first of it, to be shown.
    fn beginning(self, bytes: &[u8]) -> String {
        let unit = usize::from(self.bits / 8);
        let units = bytes[..bytes.len().min(LOOKED_AT)].chunks_exact(unit).map(|unit| {
            let fold = |value: u32, byte: &u8| value << 8 | u32::from(*byte);
            if self.little { unit.iter().rev().fold(0, fold) } else { unit.iter().fold(0, fold) }
        });
        let units = units.skip(usize::from(self.marked));
        let lossy = char::REPLACEMENT_CHARACTER;
        match self.bits {
            16 => char::decode_utf16(units.map(|unit| unit as u16)).map(|c| c.unwrap_or(lossy)).collect(),
            _ => units.map(|unit| char::from_u32(unit).unwrap_or(lossy)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = "[topology]\nname = \"t\"\n";

    fn wide(mark: &[u8], text: &str, encode: fn(u16) -> [u8; 2]) -> Vec<u8> {
        mark.iter().copied().chain(text.encode_utf16().flat_map(encode)).collect()
    }

    #[test]
    fn utf8_is_text_with_and_without_a_mark() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(decode(bytes.to_vec()).unwrap(), expected);
        check(b"", "");
        check(b"\xef\xbb\xbf", "");
        check(b"a = 1\r\n", "a = 1\r\n");
        check("\u{feff}a = 'ü'".as_bytes(), "a = 'ü'");
        check("# 日本語\n".as_bytes(), "# 日本語\n");
        check(b"a", "a");
    }

    #[test]
    fn other_encodings_are_named_with_the_way_out() {
        let check = |bytes: Vec<u8>, found: &str, iconv: &str| {
            let error = decode(bytes).unwrap_err();
            assert!(error.message.starts_with(&format!("this is {found}")), "{error:?}");
            assert!(error.help.contains(&format!("`iconv -f {iconv} -t UTF-8 FILE`")), "{error:?}");
            assert!(error.text.starts_with("[topology]\n"), "{error:?}");
        };
        let (le, be) = (u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes as fn(u16) -> [u8; 2]);
        check(wide(b"\xff\xfe", TOML, le), "UTF-16 (little-endian, with a", "UTF-16");
        check(wide(b"\xfe\xff", TOML, be), "UTF-16 (big-endian, with a", "UTF-16");
        check(wide(b"", TOML, le), "UTF-16 (little-endian, without a", "UTF-16LE");
        check(wide(b"", TOML, be), "UTF-16 (big-endian, without a", "UTF-16BE");
        let utf32 = std::iter::once('\u{feff}').chain(TOML.chars()).flat_map(|c| u32::from(c).to_le_bytes());
        check(utf32.collect(), "UTF-32 (little-endian, with a", "UTF-32");
    }

    #[test]
    fn one_byte_encodings_are_guessed_at_the_byte_that_shows_them() {
        let check = |bytes: &[u8], at: usize, message: &str, label: Option<&str>, help: &str| {
            let error = decode(bytes.to_vec()).unwrap_err();
            assert_eq!((error.span.start, error.label.as_deref()), (at, label), "{error:?}");
            assert!(error.message.contains(message), "{error:?}");
            assert!(error.help.contains(help), "{error:?}");
        };
        let latin1 = Some("`é` in Latin-1 (ISO 8859-1)");
        check(
            b"# caf\xe9\n",
            5,
            "byte 0xE9 at offset 5 is not UTF-8; the text looks like Latin-1",
            latin1,
            "ISO-8859-1",
        );
        check(b"# caf\xe9", 5, "the text looks like Latin-1", latin1, "ISO-8859-1");
        check(b"a = \"\x93x\x94\"", 5, "looks like Windows-1252", None, "WINDOWS-1252");
        check(&"# ü\n# é".as_bytes()[..8], 7, "middle of a character", None, "cut short");
        check(b"# \xe2\x82", 2, "middle of a character", None, "cut short");
        check(b"# \xc3\xbc \xe9 ", 5, "while other parts of the text are", None, "saves UTF-8");
    }

    #[test]
    fn nul_and_other_files_are_named() {
        let message = |bytes: &[u8]| decode(bytes.to_vec()).unwrap_err().message;
        assert_eq!(message(b"a = 1\n\0"), "a NUL byte at offset 6: no document may hold one");
        assert_eq!(message(&[0; 100]), "a NUL byte at offset 0: no document may hold one");
        assert_eq!(message(b"\x1f\x8b\x08\0\0\0\0\0"), "this is compressed by gzip, not text");
        assert_eq!(message(b"\x7fELF\x02\x01\x01"), "this is a program, not text");
    }
}
