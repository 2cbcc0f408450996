//! Small files that people can read: JSON with a checksum of everything else in it.
//!
//! ```text
//! {
//!   "crc32c": "9a3b12cd",       of every byte after these eight digits
//!   "kind": "manifest",
//!   "version": 1,
//!   "content": { … }
//! }
//! ```
//!
//! What stands before the digits is always the same, so a flipped bit anywhere is noticed. The envelope stays as it
//! is in later versions; only the content changes with the version.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use crate::checkpoint::error::Flaw;
use crate::checkpoint::error::damaged;

/// What stands before the digits.
const HEAD: &str = "{\n  \"crc32c\": \"";
/// Digits of a checksum.
const DIGITS: usize = 8;
/// The version of the contents.
pub(super) const VERSION: u32 = 1;

#[derive(Serialize)]
struct Envelope<'a, T> {
    crc32c: &'a str,
    kind: &'a str,
    version: u32,
    content: &'a T,
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    kind: String,
    version: u32,
}

#[derive(Deserialize)]
struct Content<T> {
    content: T,
}

/// The bytes of a file.
pub(crate) fn encode<T: Serialize>(kind: &str, content: &T) -> Vec<u8> {
    let zeros = "0".repeat(DIGITS);
    let envelope = Envelope { crc32c: &zeros, kind, version: VERSION, content };
    let mut text = serde_json::to_string_pretty(&envelope)
        .expect("keys are texts, and nothing in it refuses to be written");
    text.push('\n');
    let digits = HEAD.len()..HEAD.len() + DIGITS;
    let crc = digits_of(&text.as_bytes()[digits.end..]);
    text.replace_range(digits, &crc);
    text.into_bytes()
}

/// The content of a file.
pub(crate) fn decode<T: DeserializeOwned>(kind: &str, bytes: &[u8]) -> Result<T, Flaw> {
    let Some((digits, rest)) = bytes.strip_prefix(HEAD.as_bytes()).and_then(|at| at.split_at_checked(DIGITS))
    else {
        return Err(damaged("it does not begin as such a file does"));
    };
    let expected = digits_of(rest);
    if digits != expected.as_bytes() {
        return Err(damaged("its checksum is wrong, so some of it was lost or changed"));
    }
    let unreadable = |error: serde_json::Error| damaged(format!("it cannot be read: {error}"));
    let head: Head = serde_json::from_slice(bytes).map_err(unreadable)?;
    if head.kind != kind {
        return Err(damaged(format!("its kind is `{}`, not `{kind}`", head.kind)));
    }
    if head.version > VERSION {
        return Err(Flaw::Newer { version: head.version, supported: VERSION });
    }
    serde_json::from_slice(bytes).map(|content: Content<T>| content.content).map_err(unreadable)
}

fn digits_of(bytes: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_comes_back() {
        let bytes = encode("words", &["storm", "rain"]);
        assert_eq!(decode::<Vec<String>>("words", &bytes), Ok(vec!["storm".into(), "rain".into()]));
    }

    #[test]
    fn another_kind_and_a_newer_version_are_refused() {
        let bytes = encode("words", &["storm"]);
        let refused = Err(damaged("its kind is `words`, not `numbers`"));
        assert_eq!(decode::<Vec<String>>("numbers", &bytes), refused);

        let text = String::from_utf8(bytes).expect("it is JSON").replace("\"version\": 1", "\"version\": 2");
        let rest = &text[HEAD.len() + DIGITS..];
        let newer = format!("{HEAD}{}{rest}", digits_of(rest.as_bytes()));
        let refused = Err(Flaw::Newer { version: 2, supported: 1 });
        assert_eq!(decode::<Vec<String>>("words", newer.as_bytes()), refused);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = encode("words", &["storm", "rain"]);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(decode::<Vec<String>>("words", &flipped).is_err(), "byte {at}, bit {bit}");
            }
            assert!(decode::<Vec<String>>("words", &bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
