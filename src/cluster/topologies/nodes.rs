//! Where the records of topologies stand.

use crate::cluster::coordination::NodePath;
use crate::cluster::topologies::id::TopologyId;

/// The node with the catalog, below which all topologies are.
pub fn topologies_node() -> NodePath {
    NodePath::root().child("topologies").expect("it is a name")
}

/// The nodes of one topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyNodes {
    /// The node that has the others.
    pub root: NodePath,
    /// [`SpecRecord`](super::SpecRecord).
    pub spec: NodePath,
    /// [`AssignmentRecord`](super::AssignmentRecord).
    pub assignment: NodePath,
    /// [`MasterRecord`](super::MasterRecord).
    pub master: NodePath,
    /// [`StateRecord`](super::StateRecord).
    pub state: NodePath,
}

impl TopologyNodes {
    /// Those of this topology.
    pub fn of(id: &TopologyId) -> TopologyNodes {
        let root = topologies_node().child(&id.to_string()).expect("an id is a name of a node");
        let child = |name| root.child(name).expect("it is a name");
        TopologyNodes {
            spec: child("spec"),
            assignment: child("assignment"),
            master: child("master"),
            state: child("state"),
            root,
        }
    }
}
