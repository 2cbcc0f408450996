//! The id of a topology in a cluster.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::ids::is_node_name;
use crate::text::shown;

/// The name of a topology, and a number that no other topology of the cluster has or had: `words-17`. Directories and
/// nodes are called by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct TopologyId {
    name: SmolStr,
    number: u64,
}

/// Characters of the longest name that a topology of a cluster may have: with its number it is the name of a node.
pub const CLUSTER_NAME_MAX: usize = 43;

/// Why a text is no [`TopologyId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no id of a topology, such as `words-17`: a name of at most {CLUSTER_NAME_MAX} characters, and a number",
    shown(text)
)]
pub struct TopologyIdError {
    text: String,
}

impl TopologyId {
    /// The id of the topology of this name with this number.
    ///
    /// # Errors
    /// When the name is none that a topology may have.
    pub fn new(name: &str, number: u64) -> Result<TopologyId, TopologyIdError> {
        let id = TopologyId { name: SmolStr::new(name), number };
        match is_node_name(name) && name.len() <= CLUSTER_NAME_MAX {
            true => Ok(id),
            false => Err(TopologyIdError { text: id.to_string() }),
        }
    }

    /// The name of the topology.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl fmt::Display for TopologyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name, self.number)
    }
}

impl FromStr for TopologyId {
    type Err = TopologyIdError;

    /// Reads what `Display` writes, and nothing else.
    fn from_str(text: &str) -> Result<TopologyId, TopologyIdError> {
        let error = || TopologyIdError { text: text.to_owned() };
        let (name, number) = text.rsplit_once('-').ok_or_else(error)?;
        let id = TopologyId::new(name, number.parse().map_err(|_| error())?)?;
        if id.to_string() == text { Ok(id) } else { Err(error()) }
    }
}

impl TryFrom<String> for TopologyId {
    type Error = TopologyIdError;

    fn try_from(text: String) -> Result<TopologyId, TopologyIdError> {
        text.parse()
    }
}

impl From<TopologyId> for String {
    fn from(id: TopologyId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id: TopologyId = "word-count-17".parse().expect("an id");
        assert_eq!((id.name(), id.number(), id.to_string()), ("word-count", 17, "word-count-17".to_owned()));
    }

    #[test]
    fn the_longest_id_is_the_name_of_a_node() {
        let id = TopologyId::new(&"x".repeat(CLUSTER_NAME_MAX), u64::MAX).expect("an id");
        assert!(is_node_name(&id.to_string()));
    }

    #[test]
    fn nothing_else_is_an_id() {
        for text in [
            "",
            "words",
            "words-",
            "-1",
            "words-01",
            "words-x",
            "../a-1",
            "a/b-1",
            "words--1 ",
            "w-+1",
            &format!("{}-1", "x".repeat(44)),
        ] {
            assert!(text.parse::<TopologyId>().is_err(), "{text}");
        }
    }
}
