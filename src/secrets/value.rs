//! The text of a secret.

use std::fmt;

/// The text of a secret, which is not shown: `Debug` hides it, and it has neither `Display` nor `Serialize`.
///
/// # Examples
/// ```
/// use squall::secrets::SecretValue;
///
/// let value = SecretValue::from("hush".to_owned());
/// assert_eq!(format!("{value:?}"), "SecretValue(..)");
/// assert_eq!(value.reveal(), "hush");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    /// The text, for whoever connects with it. It belongs into no log, error or name.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretValue {
    fn from(text: String) -> SecretValue {
        SecretValue(text)
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}
