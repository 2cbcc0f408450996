//! The text of a value: up to 23 bytes inside, longer text shared.
//!
//! A word is made for each tuple of a word count, so this type is as cheap to make, copy and compare as
//! one can be. What costs most is not to copy the bytes but to copy them twice: whoever writes some bytes
//! into a value on the stack and then moves the value as 8-byte words waits until the processor has
//! written the bytes back. So a row is given an empty text first, and then the bytes are written where they
//! stay (`push_text` in `convert`). What that gives, and why no library was taken:
//! `docs/decisions/0013-text-in-place.md`.
//!
//! 1. The bytes up to the length are UTF-8.
//! 2. The bytes after the length are 0. So two inline texts are equal if all 24 bytes are.
//! 3. Text of up to 23 bytes is inline, longer text is shared. So an inline text never equals a shared one.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use smol_str::SmolStr;

/// The longest text that stands inside a value, in bytes.
const INLINE_MAX: usize = 23;

/// Immutable text: up to 23 bytes inside, longer text shared by its clones. It derefs to `str`.
///
/// # Examples
/// ```
/// use squall::Value;
/// use squall::tuple::Text;
///
/// let word = Text::from("storm");
/// assert_eq!(word, "storm");
/// assert_eq!(word.to_uppercase(), "STORM");
/// assert_eq!(Value::Str(word), Value::from("storm"));
/// ```
#[derive(Clone)]
pub struct Text(Repr);

#[derive(Clone)]
enum Repr {
    Inline(Inline),
    Shared(Arc<str>),
}

/// Short text. It is `Copy`, so that it is copied as three words, its length among them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Inline {
    len: InlineLen,
    bytes: [u8; INLINE_MAX],
}

macro_rules! inline_lengths {
    ($($number:ident)*) => {
        /// A number from 0 to 23. An enum, because the compiler puts the kind of a [`Repr`] and of a
        /// [`Value`](super::value::Value) into the numbers that it leaves free.
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        enum InlineLen { $($number),* }

        impl InlineLen {
            const ALL: [InlineLen; INLINE_MAX + 1] = [$(InlineLen::$number),*];
        }
    };
}

inline_lengths! { L0 L1 L2 L3 L4 L5 L6 L7 L8 L9 L10 L11 L12 L13 L14 L15 L16 L17 L18 L19 L20 L21 L22 L23 }

const _: () = assert!(size_of::<Text>() == INLINE_MAX + 1, "text is as wide as a value");

impl Text {
    /// No text.
    pub(super) const EMPTY: Text = Text(Repr::Inline(Inline { len: InlineLen::L0, bytes: [0; INLINE_MAX] }));

    /// The text as `str`.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Inline(Inline { len, bytes }) => {
                let written = &bytes[..*len as usize];
                // SAFETY: `bytes` and `len` are written by `set`, which writes a whole `str` to the beginning of
                // `bytes` and its length to `len`, and by `clone` and `inline_copy`, which copy both. `EMPTY`
                // has the length 0.
                unsafe { std::str::from_utf8_unchecked(written) }
            }
            Repr::Shared(text) => text,
        }
    }

    /// Whether it holds bytes outside itself, which its clones share.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.0, Repr::Shared(_))
    }

    /// A copy of short text.
    #[inline]
    pub(super) fn inline_copy(&self) -> Option<Text> {
        match &self.0 {
            Repr::Inline(inline) => Some(Text(Repr::Inline(*inline))),
            Repr::Shared(_) => None,
        }
    }

    /// `text`, copied.
    #[inline]
    fn of(text: &str) -> Text {
        let mut copy = Text::EMPTY;
        copy.set(text);
        copy
    }

    #[cold]
    fn long(text: &str) -> Text {
        Text(Repr::Shared(text.into()))
    }

    /// Becomes `text`, whose bytes are written straight to where they stay.
    #[inline]
    pub(super) fn set(&mut self, text: &str) {
        match (InlineLen::ALL.get(text.len()), &mut self.0) {
            (Some(new_len), Repr::Inline(Inline { len, bytes })) => {
                *bytes = [0; INLINE_MAX];
                copy_short(bytes, text.as_bytes());
                *len = *new_len;
            }
            (Some(_), Repr::Shared(_)) => *self = Text::of(text),
            (None, _) => *self = Text::long(text),
        }
    }
}

/// Copies up to 23 bytes to the beginning of `to`. Two pieces of one size, which may overlap, take less time than
/// a call that copies any number of bytes.
#[inline]
fn copy_short(to: &mut [u8; INLINE_MAX], from: &[u8]) {
    match from.len() {
        0 => {}
        len @ 1..=3 => {
            to[0] = from[0];
            to[len / 2] = from[len / 2];
            to[len - 1] = from[len - 1];
        }
        4..=7 => copy_ends::<4>(to, from),
        8..=15 => copy_ends::<8>(to, from),
        _ => copy_ends::<16>(to, from),
    }
}

/// Copies the first and the last N bytes, which are all if there are at most twice as many.
#[inline]
fn copy_ends<const N: usize>(to: &mut [u8; INLINE_MAX], from: &[u8]) {
    if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        to[..N].copy_from_slice(first);
        to[from.len() - N..from.len()].copy_from_slice(last);
    }
}

impl Default for Text {
    fn default() -> Text {
        Text::EMPTY
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    #[inline]
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    #[inline]
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Text) -> bool {
        match (&self.0, &other.0) {
            (Repr::Inline(a), Repr::Inline(b)) => a == b,
            (Repr::Shared(a), Repr::Shared(b)) => a == b,
            (Repr::Inline(_), Repr::Shared(_)) | (Repr::Shared(_), Repr::Inline(_)) => false,
        }
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    #[inline]
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    #[inline]
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Text) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Text) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Text {
    /// As a `str` hashes, so that a map with text as keys is searched by `str`.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<&str> for Text {
    #[inline]
    fn from(text: &str) -> Text {
        Text::of(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        if text.len() <= INLINE_MAX { Text::of(&text) } else { Text(Repr::Shared(text.into())) }
    }
}

impl From<SmolStr> for Text {
    /// Long text is not copied.
    fn from(text: SmolStr) -> Text {
        if text.len() <= INLINE_MAX { Text::of(&text) } else { Text(Repr::Shared(text.into())) }
    }
}

impl From<&SmolStr> for Text {
    /// Long text is not copied.
    fn from(text: &SmolStr) -> Text {
        text.clone().into()
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        struct AnyText;

        impl Visitor<'_> for AnyText {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(text.into())
            }

            fn visit_string<E>(self, text: String) -> Result<Text, E> {
                Ok(text.into())
            }
        }

        deserializer.deserialize_str(AnyText)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Texts of every length around the limit, of one-byte and of longer characters. Miri, which is a
    /// thousand times slower, gets a few of them.
    fn samples() -> impl Iterator<Item = String> {
        let step = if cfg!(miri) { 6 } else { 1 };
        (0..40).step_by(step).flat_map(|chars| ["a", "ß", "語", "🌩"].map(|char| char.repeat(chars)))
    }

    fn set(before: &str, text: &str) -> Text {
        let mut set = Text::of(before);
        set.set(text);
        set
    }

    #[test]
    fn every_way_to_make_a_text_gives_the_same() {
        for sample in samples() {
            let made = [
                set("", &sample),
                Text::from(sample.as_str()),
                Text::from(sample.clone()),
                Text::from(SmolStr::new(&sample)),
                Text::from(&SmolStr::new(&sample)),
            ];
            for text in &made {
                assert_eq!(text.as_str(), sample);
                assert_eq!(text, &made[0]);
                assert_eq!(text.is_shared(), sample.len() > INLINE_MAX);
                assert_eq!(text.clone().as_str(), sample);
            }
        }
    }

    #[test]
    fn text_compares_and_hashes_as_str_does() {
        for a in samples() {
            for b in samples() {
                let (text, other) = (Text::from(a.as_str()), Text::from(b.as_str()));
                assert_eq!(text == other, a == b);
                assert_eq!(text.cmp(&other), a.cmp(&b));
            }
        }
        let places: HashMap<Text, usize> =
            samples().enumerate().map(|(place, text)| (text.into(), place)).collect();
        assert!(samples().all(|text| places.contains_key(text.as_str())));
    }

    #[test]
    fn one_byte_more_or_less_is_another_text() {
        assert_ne!(Text::from("a"), Text::from("a\0"));
        assert_ne!(Text::from("\0"), Text::from(""));
        let long = "x".repeat(INLINE_MAX + 1);
        assert_ne!(Text::from(long.as_str()), Text::from(&long[1..]));
    }

    #[test]
    fn nothing_stays_of_the_text_before() {
        for before in samples() {
            for after in samples() {
                let mut copied = Text::of(&before);
                copied.clone_from(&Text::of(&after));
                for text in [set(&before, &after), copied] {
                    assert_eq!((text.as_str(), &text), (after.as_str(), &Text::of(&after)));
                }
            }
        }
    }

    #[test]
    fn a_clone_of_long_text_shares_its_bytes() {
        let long = Text::from("x".repeat(INLINE_MAX + 1));
        assert_eq!(long.as_ptr(), long.clone().as_ptr());
        let named = SmolStr::from("x".repeat(INLINE_MAX + 1));
        assert_eq!(named.as_ptr(), Text::from(&named).as_ptr());
    }

    #[test]
    fn text_is_a_string_in_other_formats() {
        for sample in samples() {
            let json = serde_json::to_string(&Text::from(sample.as_str())).expect("text becomes JSON");
            assert_eq!(json, serde_json::to_string(&sample).expect("a string becomes JSON"));
            assert_eq!(serde_json::from_str::<Text>(&json).expect("JSON becomes text"), sample.as_str());
        }
    }
}
