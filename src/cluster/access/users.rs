//! The users of a file, and who has a token.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::access::token::Token;
use crate::cluster::access::user::{Caller, UserEntry, UserName};

/// Users that a file may have.
const USERS_MAX: usize = 1000;

/// The users of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// By name. Empty: nobody.
    #[serde(default)]
    pub users: BTreeMap<UserName, UserEntry>,
}

impl Users {
    /// The users in the text of a file.
    ///
    /// # Errors
    /// What is wrong with it. The text of the error shows no token, because the file has none.
    pub fn parse(text: &str) -> Result<Users, String> {
        let users: Users =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().replace('\n', " "))?;
        users.check()?;
        Ok(users)
    }

    /// Whether this may be kept.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        match self.users.len() <= USERS_MAX {
            true => Ok(()),
            false => Err(format!("it has {} users, and may have {USERS_MAX}", self.users.len())),
        }
    }

    /// The text of a file.
    pub fn to_text(&self) -> String {
        let heading =
            "# Users of the API of a nimbus. `squall user` writes this file. Tokens are not in it.\n\n";
        format!("{heading}{}", toml::to_string(self).expect("names, digits and words are TOML"))
    }

    /// Whose token this is.
    pub fn find(&self, token: &Token) -> Option<Caller> {
        let hash = token.hash();
        // All are looked at, so that the time does not depend on who it is.
        let mut found = None;
        for (name, entry) in &self.users {
            if entry.token_sha256 == hash {
                found = Some(Caller::User { name: name.clone(), roles: entry.roles.clone() });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::access::user::Role;

    fn users(names: &[(&str, u8)]) -> Users {
        let entry = |byte: u8| UserEntry {
            token_sha256: Token::new(&[byte; 32]).hash(),
            roles: BTreeSet::from([Role::Submit]),
            added_at: "2026-11-30T08:00:00Z".to_owned(),
        };
        let names = names.iter().map(|(name, byte)| (name.parse().expect("a name"), entry(*byte)));
        Users { users: names.collect() }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        for users in [Users::default(), users(&[("ada", 1), ("b.o-b_2", 2)])] {
            let text = users.to_text();
            assert_eq!(Users::parse(&text), Ok(users.clone()), "{text}");
            assert!(!text.contains("squall_"), "{text}");
        }
        assert_eq!(Users::parse(""), Ok(Users::default()));
    }

    #[test]
    fn a_token_is_that_of_one_user() {
        let users = users(&[("ada", 1), ("bob", 2)]);
        let name = |byte: u8| {
            let caller = users.find(&Token::new(&[byte; 32]));
            caller.and_then(|caller| caller.name().map(ToString::to_string))
        };
        assert_eq!((name(1).as_deref(), name(2).as_deref(), name(3)), (Some("ada"), Some("bob"), None));
        assert_eq!(Users::default().find(&Token::new(&[1; 32])), None, "an empty list is nobody");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let text = users(&[("ada", 1)]).to_text();
        let check = |text: String, expected: &str| {
            let error = Users::parse(&text).expect_err(expected);
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        };
        check(text.replace("submit", "sumbit"), "unknown variant `sumbit`");
        check(text.replace("roles", "role"), "unknown field `role`");
        check(text.replace("token_sha256", "token"), "unknown field `token`");
        check(text.replace("[users.ada]", "[users.\"a b\"]"), "`a b` is no name of a user");
        check(format!("{text}{text}"), "duplicate key");
        check("[users.ada]\nroles = []".to_owned(), "missing field `token_sha256`");
        check("[users.ada]\ntoken_sha256 = \"1\"\nroles = []".to_owned(), "no SHA-256 of a token");
        check("users = 1".to_owned(), "invalid type");
        check("[users".to_owned(), "TOML");
        let many: Vec<String> = (0..=USERS_MAX).map(|at| format!("u{at}")).collect();
        let many: Vec<(&str, u8)> = many.iter().map(|name| (&**name, 1)).collect();
        check(users(&many).to_text(), "1001 users");
    }
}
