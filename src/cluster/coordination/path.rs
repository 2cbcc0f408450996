//! Paths of nodes, like `/topologies/words-1`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::is_node_name;
use crate::text::shown;

/// Names in the longest path.
const DEPTH_MAX: usize = 8;

/// The path of a node: `/`, or up to eight names, each behind a slash. A name has 1 to 64 of the characters
/// `A` to `Z`, `a` to `z`, `0` to `9`, `_`, `.` and `-`, and is neither `.` nor `..`.
///
/// # Examples
/// ```
/// use squall::cluster::coordination::NodePath;
///
/// let topologies: NodePath = "/topologies".parse()?;
/// let words = topologies.child("words-1")?;
/// assert_eq!(words.to_string(), "/topologies/words-1");
/// assert_eq!(words.parent(), Some(topologies));
/// assert!("topologies".parse::<NodePath>().is_err());
/// # Ok::<(), squall::cluster::coordination::PathError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath {
    /// Each name behind a slash; empty for the root.
    text: String,
}

/// Why a text is not the path of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("`{0}` is not a path of a node: a path begins with `/`")]
    NoSlash(String),
    /// A name in it is not one.
    #[error(
        "`{0}` is not a name of a node: a name has 1 to 64 letters without accents, digits, `_`, `.` or `-`, \
         and is not `.` or `..`"
    )]
    Name(String),
    /// It has too many names.
    #[error("`{0}` is too deep: a path has at most {DEPTH_MAX} names")]
    TooDeep(String),
}

impl NodePath {
    /// The path `/`.
    pub const fn root() -> NodePath {
        NodePath { text: String::new() }
    }

    /// The path of a child.
    ///
    /// # Errors
    /// When this is not a name, or the path becomes too deep.
    pub fn child(&self, name: &str) -> Result<NodePath, PathError> {
        if !is_node_name(name) {
            return Err(PathError::Name(shown(name)));
        }
        let text = format!("{}/{name}", self.text);
        match text.matches('/').count() > DEPTH_MAX {
            true => Err(PathError::TooDeep(text)),
            false => Ok(NodePath { text }),
        }
    }

    /// The path of the parent; `None` for the root.
    pub fn parent(&self) -> Option<NodePath> {
        let (parent, _) = self.text.rsplit_once('/')?;
        Some(NodePath { text: parent.to_owned() })
    }

    /// The last name; `None` for the root.
    pub fn name(&self) -> Option<&str> {
        Some(self.text.rsplit_once('/')?.1)
    }

    /// Whether this is `ancestor`, or lies below it.
    pub fn is_within(&self, ancestor: &NodePath) -> bool {
        let rest = self.text.strip_prefix(&ancestor.text);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path that this one has below `root`.
    ///
    /// # Errors
    /// When that is too deep.
    pub fn below(&self, root: &NodePath) -> Result<NodePath, PathError> {
        let text = format!("{}{}", root.text, self.text);
        match text.matches('/').count() > DEPTH_MAX {
            true => Err(PathError::TooDeep(text)),
            false => Ok(NodePath { text }),
        }
    }
}

impl FromStr for NodePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<NodePath, PathError> {
        if text == "/" {
            return Ok(NodePath::root());
        }
        let Some(names) = text.strip_prefix('/') else {
            return Err(PathError::NoSlash(shown(text)));
        };
        names.split('/').try_fold(NodePath::root(), |path, name| path.child(name))
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() { "/" } else { &self.text })
    }
}

impl fmt::Debug for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for NodePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NodePath, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_they_were_read_from() {
        for text in ["/", "/a", "/a/b", "/A-1_2.c/x", "/1/2/3/4/5/6/7/8"] {
            assert_eq!(text.parse::<NodePath>().map(|path| path.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_not_a_path_is_refused_and_says_why() {
        let long = format!("/{}", "a".repeat(65));
        for (text, said) in [
            ("", "begins with `/`"),
            ("a/b", "begins with `/`"),
            ("/a/", "`` is not a name"),
            ("//a", "`` is not a name"),
            ("/a/../b", "`..` is not a name"),
            ("/.", "`.` is not a name"),
            ("/日本/x", "`日本` is not a name"),
            ("/üñ/é", "is not a name"),
            ("/a b", "`a b` is not a name"),
            ("/a\0", "is not a name"),
            (long.as_str(), "is not a name"),
            ("/1/2/3/4/5/6/7/8/9", "too deep"),
        ] {
            let error = text.parse::<NodePath>().expect_err("it is not a path").to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn relatives_are_found() {
        let path = |text: &str| text.parse::<NodePath>().expect("a path");
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), Some(NodePath::root()));
        assert_eq!(NodePath::root().parent(), None);
        assert_eq!((path("/a/b").name(), NodePath::root().name()), (Some("b"), None));
        assert!(path("/a/b").is_within(&path("/a")) && path("/a").is_within(&path("/a")));
        assert!(path("/a").is_within(&NodePath::root()));
        assert!(!path("/ab").is_within(&path("/a")) && !path("/a").is_within(&path("/a/b")));
        assert_eq!(path("/a").below(&path("/squall")), Ok(path("/squall/a")));
        assert!(path("/5/6/7/8/9").below(&path("/1/2/3/4")).is_err());
    }
}
