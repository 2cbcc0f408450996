//! What a request needs, and who has it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::access::user::{Caller, UserName};

/// Names of the longest list of a topology.
const NAMES_MAX: usize = 256;

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Nothing: it says nothing of the cluster.
    Nothing,
    /// To be a user.
    BeUser,
    /// To submit topologies.
    Submit,
    /// To read what topologies are made of.
    ReadBlobs,
    /// To look at the topology in the path.
    Read,
    /// To have the topology in the path do something.
    Operate,
    /// Everything.
    Admin,
}

impl Right {
    /// Whether it depends on a topology.
    pub fn is_of_topology(self) -> bool {
        matches!(self, Right::Read | Right::Operate)
    }

    /// Whether somebody has it. `topology`: the one that it concerns; without one, a right that depends on it is nobody's.
    pub fn is_of(self, caller: &Caller, topology: Option<(&str, &TopologyAccess)>) -> bool {
        let user = match caller {
            Caller::Anybody => return true,
            _ if self == Right::Nothing || caller.is_admin() => return true,
            Caller::User { name, .. } => name,
        };
        match (self, topology) {
            (Right::Nothing | Right::BeUser, _) => true,
            (Right::Submit, _) => caller.may_submit(),
            (Right::ReadBlobs, _) => caller.may_read_blobs(),
            (Right::Admin, _) | (Right::Read | Right::Operate, None) => false,
            (Right::Operate, Some((owner, access))) => owner == user.as_str() || access.users.contains(user),
            (Right::Read, Some((owner, access))) => {
                owner == user.as_str() || access.users.contains(user) || access.readers.contains(user)
            }
        }
    }
}

/// Who may do something with a topology, beside its owner and administrators. Empty: nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopologyAccess {
    /// Who may look at it and have it do something.
    #[serde(default)]
    pub users: Vec<UserName>,
    /// Who may look at it.
    #[serde(default)]
    pub readers: Vec<UserName>,
}

impl TopologyAccess {
    /// Whether the lists are short enough to be kept.
    pub fn is_short(&self) -> bool {
        self.users.len() <= NAMES_MAX && self.readers.len() <= NAMES_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::access::user::Role;

    fn user(name: &str, roles: &[Role]) -> Caller {
        let roles: BTreeSet<Role> = roles.iter().copied().collect();
        Caller::User { name: name.parse().expect("a name"), roles }
    }

    fn names(names: &[&str]) -> Vec<UserName> {
        names.iter().map(|name| name.parse().expect("a name")).collect()
    }

    #[test]
    fn each_has_what_is_given_and_nothing_else() {
        use Right::{Admin, BeUser, Nothing, Operate, Read, ReadBlobs, Submit};
        let access = TopologyAccess { users: names(&["bob"]), readers: names(&["eve"]) };
        let all = [Nothing, BeUser, Submit, ReadBlobs, Read, Operate, Admin];
        let check = |caller: &Caller, expected: &[Right]| {
            let has = all.iter().copied().filter(|right| right.is_of(caller, Some(("ada", &access))));
            assert_eq!(has.collect::<Vec<_>>(), expected, "{caller}");
        };
        check(&Caller::Anybody, &all);
        check(&user("root", &[Role::Admin]), &all);
        check(&user("ada", &[Role::Submit]), &[Nothing, BeUser, Submit, Read, Operate]);
        check(&user("ada", &[]), &[Nothing, BeUser, Read, Operate]);
        check(&user("bob", &[]), &[Nothing, BeUser, Read, Operate]);
        check(&user("eve", &[]), &[Nothing, BeUser, Read]);
        check(&user("zoe", &[Role::Submit]), &[Nothing, BeUser, Submit]);
        check(&user("zoe", &[]), &[Nothing, BeUser]);
        check(&user("host-1", &[Role::Host]), &[Nothing, BeUser, ReadBlobs]);
    }

    #[test]
    fn empty_lists_mean_nobody_and_so_does_no_topology() {
        let (none, ada) = (TopologyAccess::default(), user("ada", &[Role::Submit]));
        for right in [Right::Read, Right::Operate] {
            assert!(!right.is_of(&ada, Some(("bob", &none))));
            assert!(!right.is_of(&ada, Some(("", &none))), "a topology of nobody is that of administrators");
            assert!(!right.is_of(&ada, None));
            assert!(right.is_of(&user("root", &[Role::Admin]), Some(("", &none))));
        }
    }
}
