//! Tokens, by which users prove who they are.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// What all tokens begin with, so that people and programs that look for secrets recognise them.
const PREFIX: &str = "squall_";
/// Hexadecimal digits behind it.
const DIGITS: usize = 64;
/// Bytes of the longest header that is looked at.
const HEADER_MAX: usize = 256;

/// A token. Neither `Debug` nor an error shows it.
#[derive(Clone)]
pub struct Token(String);

/// Why a text is no [`Token`]. It does not show the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no token: `{PREFIX}` and {DIGITS} hexadecimal digits are one, as `squall user add` prints it"
)]
pub struct TokenError;

impl Token {
    /// A token of these bytes, which must be random.
    pub fn new(bytes: &[u8; DIGITS / 2]) -> Token {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Token(format!("{PREFIX}{digits}"))
    }

    /// Its text, which is a secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        let hash = digest(&SHA256, self.0.as_bytes());
        TokenHash(hash.as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Token, TokenError> {
        let digits = text.strip_prefix(PREFIX).ok_or(TokenError)?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match digits.len() == DIGITS && digits.bytes().all(is_digit) {
            true => Ok(Token(text.to_owned())),
            false => Err(TokenError),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The token in the value of a header `Authorization`, which is `Bearer` and the token (RFC 6750).
///
/// # Errors
/// When it is something else.
pub fn bearer_in(header: &[u8]) -> Result<Token, TokenError> {
    if header.len() > HEADER_MAX {
        return Err(TokenError);
    }
    let text = std::str::from_utf8(header).map_err(|_| TokenError)?;
    let (scheme, token) = text.split_once(' ').ok_or(TokenError)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenError);
    }
    token.trim_matches(' ').parse()
}

/// The SHA-256 of a token, as 64 hexadecimal digits.
#[derive(Clone, Copy, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash([u8; 32]);

/// All bytes are compared, whatever they are, so that nobody learns by the time how much of a hash is right. `black_box`
/// keeps the compiler from ending earlier.
impl PartialEq for TokenHash {
    fn eq(&self, other: &TokenHash) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |all, (one, two)| black_box(all | (one ^ two)));
        differing == 0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({self})")
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> String {
        hash.to_string()
    }
}

impl TryFrom<String> for TokenHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<TokenHash, &'static str> {
        let wanted = "it is no SHA-256 of a token: 64 of the digits 0 to 9 and a to f are";
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let digits: Option<Vec<u8>> = text.bytes().map(digit).collect();
        let digits = digits.filter(|digits| digits.len() == DIGITS).ok_or(wanted)?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        bytes.try_into().map(TokenHash).map_err(|_| wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_its_header_alone() {
        let token = Token::new(&[0xab; 32]);
        let text = token.reveal();
        assert_eq!(text, format!("squall_{}", "ab".repeat(32)));
        let is_read =
            |header: &str| bearer_in(header.as_bytes()).is_ok_and(|read| read.hash() == token.hash());
        for header in [format!("Bearer {text}"), format!("bearer   {text} "), format!("BEARER {text}")] {
            assert!(is_read(&header), "{header}");
        }
        for header in [
            String::new(),
            text.to_owned(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            format!("Basic {text}"),
            format!("Bearer\t{text}"),
            format!("Bearer {text}x"),
            format!("Bearer {text} {text}"),
            format!("Bearer {}", text.to_uppercase()),
            format!("Bearer {}", &text[1..]),
            format!("Bearer squall_{}", "é".repeat(32)),
            format!("Bearer {}{text}", " ".repeat(HEADER_MAX)),
        ] {
            assert!(!is_read(&header), "{header}");
        }
        assert!(bearer_in(b"Bearer \xff").is_err());
    }

    #[test]
    fn a_token_is_shown_by_nothing() {
        let token = Token::new(&[0xab; 32]);
        assert_eq!(format!("{token:?}"), "Token(..)");
        let error = "squall_secret".parse::<Token>().expect_err("it is too short").to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_hash_is_that_of_sha_256_and_is_read_again() {
        let hash = Token::new(&[0; 32]).hash();
        let text = hash.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(TokenHash::try_from(text.clone()), Ok(hash));
        assert_ne!(hash, Token::new(&[1; 32]).hash());
        for text in ["", "00", &text.to_uppercase(), &format!("{text}0"), &"é".repeat(32)] {
            assert!(TokenHash::try_from((*text).to_owned()).is_err(), "{text}");
        }
    }
}
