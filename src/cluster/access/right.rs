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
    /// To change who may do what with the topology in the path.
    Own,
    /// Everything.
    Admin,
}

impl Right {
    /// Whether it depends on a topology.
    pub fn is_of_topology(self) -> bool {
        matches!(self, Right::Read | Right::Operate | Right::Own)
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
            (Right::Admin, _) | (Right::Read | Right::Operate | Right::Own, None) => false,
            (Right::Own, Some((owner, _))) => owner == user.as_str(),
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
    /// Applies a change. Who is named by none of its lists keeps what it has.
    pub fn change(&mut self, change: &AccessChange) {
        let named = [&change.users, &change.readers, &change.revoke];
        let is_named = |name: &UserName| named.iter().any(|names| names.contains(name));
        for (names, more) in [(&mut self.users, &change.users), (&mut self.readers, &change.readers)] {
            names.retain(|name| !is_named(name));
            names.extend(more.iter().cloned());
            names.sort_unstable();
            names.dedup();
        }
    }

    /// Whether the lists are short enough to be kept.
    pub fn is_short(&self) -> bool {
        self.users.len() <= NAMES_MAX && self.readers.len() <= NAMES_MAX
    }
}

/// How who may do something with a topology changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessChange {
    /// Who may look at it and have it do something from now on.
    #[serde(default)]
    pub users: Vec<UserName>,
    /// Who may look at it from now on, and no more.
    #[serde(default)]
    pub readers: Vec<UserName>,
    /// Who may do neither from now on.
    #[serde(default)]
    pub revoke: Vec<UserName>,
}

impl AccessChange {
    /// A user that more than one of the lists has.
    pub fn contradiction(&self) -> Option<&UserName> {
        let all: Vec<&UserName> = self.users.iter().chain(&self.readers).chain(&self.revoke).collect();
        all.iter().enumerate().find(|(at, name)| all[..*at].contains(name)).map(|(_, name)| *name)
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
        use Right::{Admin, BeUser, Nothing, Operate, Own, Read, ReadBlobs, Submit};
        let access = TopologyAccess { users: names(&["bob"]), readers: names(&["eve"]) };
        let all = [Nothing, BeUser, Submit, ReadBlobs, Read, Operate, Own, Admin];
        let check = |caller: &Caller, expected: &[Right]| {
            let has = all.iter().copied().filter(|right| right.is_of(caller, Some(("ada", &access))));
            assert_eq!(has.collect::<Vec<_>>(), expected, "{caller}");
        };
        check(&Caller::Anybody, &all);
        check(&user("root", &[Role::Admin]), &all);
        check(&user("ada", &[Role::Submit]), &[Nothing, BeUser, Submit, Read, Operate, Own]);
        check(&user("ada", &[]), &[Nothing, BeUser, Read, Operate, Own]);
        check(&user("bob", &[]), &[Nothing, BeUser, Read, Operate]);
        check(&user("eve", &[]), &[Nothing, BeUser, Read]);
        check(&user("zoe", &[Role::Submit]), &[Nothing, BeUser, Submit]);
        check(&user("zoe", &[]), &[Nothing, BeUser]);
        check(&user("host-1", &[Role::Host]), &[Nothing, BeUser, ReadBlobs]);
    }

    #[test]
    fn who_is_named_has_what_the_change_gives_and_nothing_else() {
        let mut access = TopologyAccess { users: names(&["bob", "zoe"]), readers: names(&["eve", "hal"]) };
        let change = AccessChange {
            users: names(&["eve", "ada"]),
            readers: names(&["bob"]),
            revoke: names(&["hal", "sam"]),
        };
        assert_eq!(change.contradiction(), None);
        access.change(&change);
        let expected = TopologyAccess { users: names(&["ada", "eve", "zoe"]), readers: names(&["bob"]) };
        assert_eq!(access, expected);
        access.change(&change);
        assert_eq!(access, expected, "twice is as once");
        let both = AccessChange { revoke: names(&["bob"]), ..change };
        assert_eq!(both.contradiction().map(UserName::as_str), Some("bob"));
    }

    #[test]
    fn empty_lists_mean_nobody_and_so_does_no_topology() {
        let (none, ada) = (TopologyAccess::default(), user("ada", &[Role::Submit]));
        for right in [Right::Read, Right::Operate, Right::Own] {
            assert!(!right.is_of(&ada, Some(("bob", &none))));
            assert!(!right.is_of(&ada, Some(("", &none))), "a topology of nobody is that of administrators");
            assert!(!right.is_of(&ada, None));
            assert!(right.is_of(&user("root", &[Role::Admin]), Some(("", &none))));
        }
    }
}
