//! The nodes, and ZooKeeper's rules for changing them.
//!
//! Each change checks in the order in which ZooKeeper's server does, so a call that breaks two rules gets the same
//! error from both.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::coordination::error::CoordinationError;
use crate::cluster::coordination::memory::node::KeptNode;
use crate::cluster::coordination::node::{Node, Version};
use crate::cluster::coordination::path::NodePath;

/// A session, as the service numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionId(pub(super) u64);

/// Who does something.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) session: SessionId,
    /// `None`: nobody in particular, whose nodes are everybody's.
    pub(super) user: Option<String>,
}

/// A change of one node.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Makes a node. One that is held vanishes with the session.
    Create { path: NodePath, data: Vec<u8>, is_held: bool },
    /// Replaces the data of a node that has this version.
    Set { path: NodePath, data: Vec<u8>, expected: Version },
    /// Deletes a node that has this version.
    Delete { path: NodePath, expected: Version },
}

/// A node, as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) data: Vec<u8>,
    pub(super) version: i32,
    /// The session with which the node vanishes.
    pub(super) owner: Option<SessionId>,
    /// Whose node it is; `None`: everybody's.
    user: Option<String>,
    children: BTreeSet<String>,
}

/// All nodes. The root is always there.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<NodePath, Stored>,
}

impl Tree {
    pub(super) fn new() -> Tree {
        let root =
            Stored { data: Vec::new(), version: 0, owner: None, user: None, children: BTreeSet::new() };
        Tree { nodes: BTreeMap::from([(NodePath::root(), root)]) }
    }

    /// All nodes but the root and those that a session holds, each after its parent.
    pub(super) fn kept(&self) -> Vec<KeptNode> {
        let kept =
            self.nodes.iter().filter(|(path, node)| **path != NodePath::root() && node.owner.is_none());
        let kept = kept.map(|(path, node)| KeptNode {
            path: path.to_string(),
            version: node.version,
            data: String::from_utf8_lossy(&node.data).into_owned(),
        });
        kept.collect()
    }

    /// Adds a node that was kept.
    ///
    /// # Errors
    /// Its path, if it cannot be there.
    pub(super) fn put(&mut self, node: KeptNode) -> Result<(), String> {
        let KeptNode { path, version, data } = node;
        let place = path.parse().ok().and_then(|path| Some((parent_and_name(&path)?, path)));
        let Some(((parent, name), place)) = place else { return Err(path) };
        let Some(above) = self.nodes.get_mut(&parent) else { return Err(path) };
        above.children.insert(name);
        let data = data.into_bytes();
        self.nodes
            .insert(place, Stored { data, version, owner: None, user: None, children: BTreeSet::new() });
        Ok(())
    }

    pub(super) fn stored(&self, path: &NodePath) -> Option<&Stored> {
        self.nodes.get(path)
    }

    pub(super) fn get(&self, user: Option<&str>, path: &NodePath) -> Result<Option<Node>, CoordinationError> {
        let Some(stored) = self.nodes.get(path) else { return Ok(None) };
        stored.check_user(user, path)?;
        let (data, version) = (stored.data.clone(), Version(stored.version));
        Ok(Some(Node { data, version, is_held: stored.owner.is_some() }))
    }

    pub(super) fn children(
        &self,
        user: Option<&str>,
        path: &NodePath,
    ) -> Result<Option<Vec<String>>, CoordinationError> {
        let Some(stored) = self.nodes.get(path) else { return Ok(None) };
        stored.check_user(user, path)?;
        Ok(Some(stored.children.iter().cloned().collect()))
    }

    /// Makes a change, or none. Returns the version that the node has then, or had when it was deleted.
    pub(super) fn change(&mut self, actor: &Actor, change: Change) -> Result<Version, CoordinationError> {
        let user = actor.user.as_deref();
        match change {
            Change::Create { path, data, is_held } => {
                let Some((parent, name)) = parent_and_name(&path) else {
                    return Err(CoordinationError::Exists(path));
                };
                let above = self.node_mut(&parent)?;
                above.check_user(user, &path)?;
                if above.children.contains(&name) {
                    return Err(CoordinationError::Exists(path));
                }
                if above.owner.is_some() {
                    return Err(CoordinationError::NoChildren(parent));
                }
                above.children.insert(name);
                let owner = is_held.then_some(actor.session);
                let user = actor.user.clone();
                self.nodes.insert(path, Stored { data, version: 0, owner, user, children: BTreeSet::new() });
                Ok(Version(0))
            }
            Change::Set { path, data, expected } => {
                let node = self.node_mut(&path)?;
                node.check_user(user, &path)?;
                if node.version != expected.0 {
                    return Err(CoordinationError::Changed(path));
                }
                (node.data, node.version) = (data, node.version.wrapping_add(1));
                Ok(Version(node.version))
            }
            Change::Delete { path, expected } => {
                let Some((parent, _)) = parent_and_name(&path) else {
                    return Err(CoordinationError::Refused(path, "it is the root".to_owned()));
                };
                let missing = || CoordinationError::Missing(path.clone());
                self.nodes.get(&parent).ok_or_else(missing)?.check_user(user, &path)?;
                let node = self.nodes.get(&path).ok_or_else(missing)?;
                if node.version != expected.0 {
                    return Err(CoordinationError::Changed(path));
                }
                if !node.children.is_empty() {
                    return Err(CoordinationError::NotEmpty(path));
                }
                self.remove(&path);
                Ok(expected)
            }
        }
    }

    /// The nodes that vanish with a session.
    pub(super) fn held_by(&self, session: SessionId) -> Vec<NodePath> {
        let held = self.nodes.iter().filter(|(_, node)| node.owner == Some(session));
        held.map(|(path, _)| path.clone()).collect()
    }

    /// Takes away a node that has no children.
    pub(super) fn remove(&mut self, path: &NodePath) {
        self.nodes.remove(path);
        if let Some((parent, name)) = parent_and_name(path)
            && let Some(parent) = self.nodes.get_mut(&parent)
        {
            parent.children.remove(&name);
        }
    }

    fn node_mut(&mut self, path: &NodePath) -> Result<&mut Stored, CoordinationError> {
        self.nodes.get_mut(path).ok_or_else(|| CoordinationError::Missing(path.clone()))
    }
}

impl Stored {
    /// Whether a user may read and write this node, make children of it, and delete them.
    fn check_user(&self, user: Option<&str>, asked_for: &NodePath) -> Result<(), CoordinationError> {
        match &self.user {
            Some(owner) if user != Some(owner) => {
                let why = format!("it is for user `{owner}`, and this is {}", user.unwrap_or("nobody"));
                Err(CoordinationError::Refused(asked_for.clone(), why))
            }
            _ => Ok(()),
        }
    }
}

impl Change {
    pub(super) fn path(&self) -> &NodePath {
        match self {
            Change::Create { path, .. } | Change::Set { path, .. } | Change::Delete { path, .. } => path,
        }
    }

    /// The nodes of which a process is notified.
    pub(super) fn changed(&self) -> Vec<NodePath> {
        match self {
            Change::Create { path, .. } | Change::Delete { path, .. } => with_parent(path),
            Change::Set { path, .. } => vec![path.clone()],
        }
    }
}

/// A node that was made or deleted, and the parent whose children changed.
pub(super) fn with_parent(path: &NodePath) -> Vec<NodePath> {
    [Some(path.clone()), path.parent()].into_iter().flatten().collect()
}

fn parent_and_name(path: &NodePath) -> Option<(NodePath, String)> {
    Some((path.parent()?, path.name()?.to_owned()))
}
