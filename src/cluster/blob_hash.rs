//! How blobs are called.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::shown;

/// The SHA-256 of a blob, as 64 hexadecimal digits. Blobs are called by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
pub struct BlobHash(String);

/// Why a text is no [`BlobHash`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no SHA-256: 64 of the digits 0 to 9 and a to f are", shown(text))]
pub struct BlobHashError {
    text: String,
}

impl BlobHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> BlobHash {
        BlobHash::from_digest(&ring::digest::digest(&ring::digest::SHA256, bytes))
    }

    /// The hash that was computed piece by piece.
    ///
    /// # Panics
    /// When the digest is not one of SHA-256.
    pub fn from_digest(digest: &ring::digest::Digest) -> BlobHash {
        assert_eq!(digest.as_ref().len(), 32, "a SHA-256 has 32 bytes");
        BlobHash(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BlobHash {
    type Err = BlobHashError;

    fn from_str(text: &str) -> Result<BlobHash, BlobHashError> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.len() == 64 && text.bytes().all(is_digit) {
            true => Ok(BlobHash(text.to_owned())),
            false => Err(BlobHashError { text: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for BlobHash {
    type Error = BlobHashError;

    fn try_from(text: String) -> Result<BlobHash, BlobHashError> {
        text.parse()
    }
}

impl From<BlobHash> for String {
    fn from(hash: BlobHash) -> String {
        hash.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(BlobHash::of(b"").as_str(), empty);
        assert_eq!(empty.parse::<BlobHash>(), Ok(BlobHash::of(b"")));
    }

    #[test]
    fn what_could_be_another_path_is_no_hash() {
        for text in
            ["", "../../etc/passwd", &"A".repeat(64), &"a".repeat(63), &format!("{}/", "a".repeat(63))]
        {
            assert!(text.parse::<BlobHash>().is_err(), "{text}");
        }
    }
}
