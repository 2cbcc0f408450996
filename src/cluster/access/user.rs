//! Users, and who asks.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::access::token::TokenHash;
use crate::text::shown;

/// Characters of the longest name of a user.
const NAME_MAX: usize = 64;

/// The name of a user: 1 to 64 letters, digits, `_`, `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Za-z0-9_.-]{1,64}$"))]
pub struct UserName(String);

/// Why a text is no [`UserName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no name of a user: 1 to {NAME_MAX} letters, digits, `_`, `.` or `-` are", shown(text))]
pub struct UserNameError {
    text: String,
}

impl UserName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<UserName, UserNameError> {
        let is_good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        match (1..=NAME_MAX).contains(&text.len()) && text.chars().all(is_good) {
            true => Ok(UserName(text.to_owned())),
            false => Err(UserNameError { text: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for UserName {
    type Error = UserNameError;

    fn try_from(text: String) -> Result<UserName, UserNameError> {
        text.parse()
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> String {
        name.0
    }
}

/// What a user may do beside what topologies allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Submit topologies, which are its own then.
    Submit,
    /// Read what topologies are made of: for supervisors that ask nimbuses for it.
    Host,
}

impl Role {
    /// Its word in files.
    pub fn word(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Submit => "submit",
            Role::Host => "host",
        }
    }
}

/// What is kept of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserEntry {
    /// The SHA-256 of the token.
    pub token_sha256: TokenHash,
    /// What the user may do everywhere. Without any: only what topologies allow.
    pub roles: BTreeSet<Role>,
    /// When the user was added, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub added_at: String,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who reaches an API that has no users. Such an API is on loopback.
    Anybody,
    /// A user, who has proved it by a token.
    User {
        /// The name.
        name: UserName,
        /// What the user may do everywhere.
        roles: BTreeSet<Role>,
    },
}

impl Caller {
    /// The name, if it is a user.
    pub fn name(&self) -> Option<&UserName> {
        match self {
            Caller::Anybody => None,
            Caller::User { name, .. } => Some(name),
        }
    }

    /// Whether everything is allowed.
    pub fn is_admin(&self) -> bool {
        match self {
            Caller::Anybody => true,
            Caller::User { roles, .. } => roles.contains(&Role::Admin),
        }
    }

    /// Whether topologies may be submitted.
    pub fn may_submit(&self) -> bool {
        self.has_role(Role::Submit)
    }

    /// Whether what topologies are made of may be read.
    pub fn may_read_blobs(&self) -> bool {
        self.has_role(Role::Host)
    }

    fn has_role(&self, role: Role) -> bool {
        match self {
            Caller::Anybody => true,
            Caller::User { roles, .. } => roles.contains(&Role::Admin) || roles.contains(&role),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::Anybody => f.write_str("anybody"),
            Caller::User { name, .. } => write!(f, "user `{name}`"),
        }
    }
}
