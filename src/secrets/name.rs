//! What a secret is called.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use crate::ids::is_legal_name;

/// The name of a secret: 1 to 64 letters, digits, `.`, `_` or `-`, and not a dot first. It is also the name of the file
/// that has the value.
///
/// # Examples
/// ```
/// use squall::secrets::SecretName;
///
/// assert!("orders-db".parse::<SecretName>().is_ok());
/// assert!("../orders-db".parse::<SecretName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(SmolStr);

/// A text is not the name of a secret. The error does not quote it: it may be a value that was written in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the name of a secret: use 1 to 64 letters, digits, `.`, `_` or `-`, and no dot first")]
pub struct NotASecretName;

impl SecretName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = NotASecretName;

    fn from_str(text: &str) -> Result<SecretName, NotASecretName> {
        match is_legal_name(text) && !text.starts_with('.') {
            true => Ok(SecretName(SmolStr::new(text))),
            false => Err(NotASecretName),
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SecretName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretName, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path() {
        let check = |text: &str, legal: bool| {
            assert_eq!(text.parse::<SecretName>().is_ok(), legal, "{text:?}");
        };
        for legal in ["a", "orders-db", "Orders_DB.2", "-", "a..b", &"x".repeat(64)] {
            check(legal, true);
        }
        let too_long = "x".repeat(65);
        let paths =
            ["", ".", "..", ".hidden", "../a", "a/b", "/etc/passwd", "a\\b", "a\0", "a\n", "ä", "a b"];
        for illegal in paths.into_iter().chain([too_long.as_str(), "%2e%2e", "a:b", "~"]) {
            check(illegal, false);
        }
    }

    #[test]
    fn a_text_that_is_none_is_not_shown() {
        let error = serde_json::from_str::<SecretName>("\"postgres://me:hush@db\"").unwrap_err().to_string();
        assert!(!error.contains("hush"), "{error}");
    }
}
