//! What a write did whose answer was lost.
//!
//! The connection was lost after a write was sent. So the write was done, or it was not. The client sends it again,
//! takes the answer, and reads the node if the answer leaves it open. [`outcome`] decides from these two. It claims
//! nothing that is not known: `Ok` is returned for what was done, an error other than `Uncertain` for what was not.
//!
//! | write             | answer    | the node as it is read then    | outcome                                         |
//! |-------------------|-----------|--------------------------------|-------------------------------------------------|
//! | any               | `Ok`      |                                | done, by the second call                        |
//! | any               | `Away`, `Uncertain` |                      | `Uncertain`: the first call may have done it    |
//! | create            | `Exists`  | version 0, these data          | done, by the first call                         |
//! | create            | `Exists`  | version 0, other data          | `Exists`: somebody else has made it             |
//! | create            | `Exists`  | a later version                | `Uncertain`: the first data are written over    |
//! | create            | `Exists`  | none, or it cannot be read     | `Uncertain`: what was there is gone             |
//! | set, expected `v` | `Changed` | version `v + 1`, these data    | done, by the first call                         |
//! | set, expected `v` | `Changed` | version `v + 1`, other data    | `Changed`: another write of `v` was done        |
//! | set, expected `v` | `Changed` | a later version                | `Uncertain`: who wrote `v + 1` is written over  |
//! | set, expected `v` | `Changed` | an earlier version             | `Changed`: it never had `v`, or is another node |
//! | set, expected `v` | `Changed` | `v`, none, or it cannot be read | `Uncertain`: it was made again in between      |
//! | delete            | `Missing` |                                | done: the node is gone                          |
//! | any               | any other |                                | the answer: it was not done                     |
//!
//! Two rules of the coordination make this true: data name their writer, and a path is not used again for something
//! else. What somebody has deleted since counts as not done, because nobody can read it any more. A deletion leaves
//! nothing that names its writer: of two processes that delete the same node at once, both may be answered `Ok` when a
//! connection is lost. So a deletion does not decide between two processes; that is what `set` is for.

use crate::cluster::coordination::error::CoordinationError;
use crate::cluster::coordination::node::{Node, Version};
use crate::cluster::coordination::path::NodePath;

/// A write of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write<'a> {
    /// The node.
    pub(crate) path: &'a NodePath,
    /// What is done to it.
    pub(crate) kind: WriteKind<'a>,
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteKind<'a> {
    /// Makes the node.
    Create { data: &'a [u8] },
    /// Replaces the data of a node that has this version.
    Set { data: &'a [u8], expected: Version },
    /// Deletes a node that has this version.
    Delete { expected: Version },
}

/// The result of a write that was sent again, because the answer to an earlier call was lost. `answer` is what the
/// latest call was answered; of a deletion that was done, any version. `read` reads the node, and must return
/// nothing older than that call has seen. It is called at most once.
///
/// # Errors
/// Those of the write. `Uncertain` if it cannot be known whether it was done.
pub(crate) fn outcome(
    write: &Write<'_>,
    answer: Result<Version, CoordinationError>,
    read: impl FnOnce() -> Result<Option<Node>, CoordinationError>,
) -> Result<Version, CoordinationError> {
    let path = write.path;
    match (write.kind, answer) {
        (_, Ok(version)) => Ok(version),
        (_, Err(CoordinationError::Away(why) | CoordinationError::Uncertain(why))) => {
            Err(CoordinationError::Uncertain(why))
        }
        (WriteKind::Create { data }, Err(CoordinationError::Exists(_))) => match read() {
            Ok(Some(node)) if node.version == Version(0) => match node.data == data {
                true => Ok(node.version),
                false => Err(CoordinationError::Exists(path.clone())),
            },
            _ => Err(hidden(path)),
        },
        (WriteKind::Set { data, expected }, Err(CoordinationError::Changed(_))) => match read() {
            Ok(Some(node)) if Some(node.version.0) == expected.0.checked_add(1) => match node.data == data {
                true => Ok(node.version),
                false => Err(CoordinationError::Changed(path.clone())),
            },
            Ok(Some(node)) if node.version < expected => Err(CoordinationError::Changed(path.clone())),
            _ => Err(hidden(path)),
        },
        (WriteKind::Delete { expected }, Err(CoordinationError::Missing(_))) => Ok(expected),
        (_, Err(error)) => Err(error),
    }
}

fn hidden(path: &NodePath) -> CoordinationError {
    CoordinationError::Uncertain(format!(
        "the connection was lost while node `{path}` was written, and others have written it since; read it again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node as the service has it: version and data.
    type Stored = Option<(i32, &'static [u8])>;

    const OURS: &[u8] = b"ours";

    /// What another process does to the node. Rule 6: it does not make a node again that was there before.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Other {
        Nothing,
        Create,
        Set,
        SetTwice,
        Delete,
    }

    const OTHERS: [Other; 5] = [Other::Nothing, Other::Create, Other::Set, Other::SetTwice, Other::Delete];

    /// One node, and whether it was ever deleted.
    #[derive(Clone, Copy, Debug)]
    struct Model {
        node: Stored,
        was_deleted: bool,
    }

    impl Model {
        fn write(&mut self, path: &NodePath, kind: WriteKind<'static>) -> Result<Version, CoordinationError> {
            let at = |node: Stored| node.map(|(version, _)| Version(version));
            match kind {
                WriteKind::Create { data } => {
                    if self.node.is_some() {
                        return Err(CoordinationError::Exists(path.clone()));
                    }
                    self.node = Some((0, data));
                    Ok(Version(0))
                }
                WriteKind::Set { data, expected } => match at(self.node) {
                    None => Err(CoordinationError::Missing(path.clone())),
                    Some(version) if version != expected => Err(CoordinationError::Changed(path.clone())),
                    Some(version) => {
                        self.node = Some((version.0 + 1, data));
                        Ok(Version(version.0 + 1))
                    }
                },
                WriteKind::Delete { expected } => match at(self.node) {
                    None => Err(CoordinationError::Missing(path.clone())),
                    Some(version) if version != expected => Err(CoordinationError::Changed(path.clone())),
                    Some(version) => {
                        (self.node, self.was_deleted) = (None, true);
                        Ok(version)
                    }
                },
            }
        }

        fn other(&mut self, other: Other, data: &'static [u8]) {
            match (other, self.node) {
                (Other::Create, None) if !self.was_deleted => self.node = Some((0, data)),
                (Other::Set, Some((version, _))) => self.node = Some((version + 1, data)),
                (Other::SetTwice, Some((version, _))) => self.node = Some((version + 2, data)),
                (Other::Delete, Some(_)) => (self.node, self.was_deleted) = (None, true),
                _ => {}
            }
        }
    }

    /// What happened to a node.
    #[derive(Debug)]
    struct History {
        kind: WriteKind<'static>,
        start: Stored,
        /// Before the first call, twice between the calls, and between the second call and the reading.
        others: [Other; 4],
        first_done: bool,
        second_done: bool,
    }

    impl History {
        /// Whether the node was at the beginning as the write expects it, or not there.
        fn is_expected(&self) -> bool {
            match self.kind {
                WriteKind::Create { .. } => self.start.is_none(),
                WriteKind::Set { expected, .. } | WriteKind::Delete { expected } => {
                    self.start.is_none_or(|(version, _)| version == expected.0)
                }
            }
        }
    }

    /// Runs every interleaving of a first call that arrives or not, a second one that is answered, and others before,
    /// between and after them, and checks the outcome.
    fn for_each_history(check: impl Fn(&History, &Result<Version, CoordinationError>)) -> u32 {
        let path: NodePath = "/a".parse().expect("a path");
        let kinds = [
            WriteKind::Create { data: OURS },
            WriteKind::Set { data: OURS, expected: Version(0) },
            WriteKind::Set { data: OURS, expected: Version(1) },
            WriteKind::Set { data: OURS, expected: Version(3) },
            WriteKind::Delete { expected: Version(0) },
            WriteKind::Delete { expected: Version(2) },
        ];
        let starts: [Stored; 4] = [None, Some((0, b"first")), Some((1, b"second")), Some((3, b"fourth"))];
        let mut histories = 0;
        for kind in kinds {
            for start in starts {
                for arrives in [false, true] {
                    for drawn in 0..OTHERS.len().pow(4) {
                        let other = |place: u32| OTHERS[drawn / OTHERS.len().pow(place) % OTHERS.len()];
                        let mut model = Model { node: start, was_deleted: false };
                        model.other(other(0), b"before");
                        let first_done = arrives && model.write(&path, kind).is_ok();
                        model.other(other(1), b"between");
                        model.other(other(2), b"between 2");
                        let answer = model.write(&path, kind);
                        let second_done = answer.is_ok();
                        let read = || {
                            model.other(other(3), b"after");
                            let node = |(version, data): (i32, &[u8])| Node {
                                data: data.to_vec(),
                                version: Version(version),
                                is_held: false,
                            };
                            Ok(model.node.map(node))
                        };
                        let found = outcome(&Write { path: &path, kind }, answer, read);
                        let others = std::array::from_fn(|place| other(place as u32));
                        check(&History { kind, start, others, first_done, second_done }, &found);
                        histories += 1;
                    }
                }
            }
        }
        histories
    }

    #[test]
    fn what_is_claimed_is_true_whatever_was_done_and_whoever_wrote_in_between() {
        let histories = for_each_history(|history, found| {
            let done = history.first_done || history.second_done;
            match (history.kind, found) {
                // Gone is gone, whoever has deleted it.
                (WriteKind::Delete { .. }, Ok(_)) => {}
                (_, Ok(_)) => assert!(done, "{history:?}: {found:?}"),
                (_, Err(CoordinationError::Uncertain(_))) => {}
                // What was deleted since counts as not done.
                (_, Err(CoordinationError::Missing(_))) => {}
                (_, Err(_)) => assert!(!done, "{history:?}: {found:?}"),
            }
        });
        assert_eq!(histories, 6 * 4 * 2 * 625);
    }

    const ALONE: [Other; 4] = [Other::Nothing; 4];

    #[test]
    fn nothing_is_uncertain_when_nobody_else_writes() {
        for_each_history(|history, found| {
            if history.others == ALONE && (history.first_done || history.second_done) {
                assert!(found.is_ok(), "{history:?}: {found:?}");
            }
            // One that was not done may be, if it expected something else from the beginning.
            if history.others == ALONE && history.is_expected() {
                assert!(!matches!(found, Err(CoordinationError::Uncertain(_))), "{history:?}: {found:?}");
            }
        });
    }

    #[test]
    fn one_write_of_another_process_does_not_make_a_set_uncertain_that_was_not_done() {
        let other = [Other::Nothing, Other::Set, Other::Nothing, Other::Nothing];
        for_each_history(|history, found| {
            let is_set = matches!(history.kind, WriteKind::Set { .. }) && history.is_expected();
            if is_set && history.others == other && !history.first_done && history.start.is_some() {
                assert!(matches!(found, Err(CoordinationError::Changed(_))), "{history:?}: {found:?}");
            }
        });
    }

    #[track_caller]
    fn check(kind: WriteKind<'_>, answer: Result<Version, CoordinationError>, node: Stored, expected: &str) {
        let path: NodePath = "/a".parse().expect("a path");
        let node = node.map(|(version, data)| Node {
            data: data.to_vec(),
            version: Version(version),
            is_held: false,
        });
        let found = outcome(&Write { path: &path, kind }, answer, || Ok(node));
        let found = match found {
            Ok(version) => format!("done {}", version.0),
            Err(error) => format!("{error:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn each_row_of_the_table() {
        let path: NodePath = "/a".parse().expect("a path");
        let (exists, changed) = (
            || Err(CoordinationError::Exists(path.clone())),
            || Err(CoordinationError::Changed(path.clone())),
        );
        let missing = || Err(CoordinationError::Missing(path.clone()));
        let away = || Err(CoordinationError::Away("cut".into()));
        let create = WriteKind::Create { data: OURS };
        let set = WriteKind::Set { data: OURS, expected: Version(3) };
        let delete = WriteKind::Delete { expected: Version(3) };

        check(create, Ok(Version(0)), None, "done 0");
        check(set, Ok(Version(4)), None, "done 4");
        check(delete, Ok(Version(3)), None, "done 3");
        for kind in [create, set, delete] {
            check(kind, away(), Some((0, OURS)), "Uncertain");
            check(kind, Err(CoordinationError::Uncertain("lost".into())), Some((4, OURS)), "Uncertain");
        }
        check(create, exists(), Some((0, OURS)), "done 0");
        check(create, exists(), Some((0, b"theirs")), "Exists");
        check(create, exists(), Some((1, OURS)), "Uncertain");
        check(create, exists(), Some((1, b"theirs")), "Uncertain");
        check(create, exists(), None, "Uncertain");
        check(create, missing(), None, "Missing");
        check(set, changed(), Some((4, OURS)), "done 4");
        check(set, changed(), Some((4, b"theirs")), "Changed");
        check(set, changed(), Some((5, OURS)), "Uncertain");
        check(set, changed(), Some((5, b"theirs")), "Uncertain");
        check(set, changed(), Some((2, b"theirs")), "Changed");
        check(set, changed(), Some((3, b"theirs")), "Uncertain");
        check(set, changed(), None, "Uncertain");
        check(set, missing(), None, "Missing");
        check(delete, missing(), None, "done 3");
        check(delete, changed(), None, "Changed");
        check(delete, Err(CoordinationError::NotEmpty(path.clone())), None, "NotEmpty");
    }

    #[test]
    fn a_node_that_cannot_be_read_leaves_it_open() {
        let path: NodePath = "/a".parse().expect("a path");
        let write = Write { path: &path, kind: WriteKind::Create { data: OURS } };
        let away = || Err(CoordinationError::Away("cut".into()));
        let found = outcome(&write, Err(CoordinationError::Exists(path.clone())), away);
        assert!(matches!(found, Err(CoordinationError::Uncertain(_))), "{found:?}");
    }

    #[test]
    fn the_last_version_has_no_next_one() {
        let changed = || Err(CoordinationError::Changed("/a".parse().expect("a path")));
        let set = WriteKind::Set { data: OURS, expected: Version(i32::MAX) };
        check(set, changed(), Some((i32::MIN, OURS)), "Changed");
        check(set, changed(), Some((i32::MAX, OURS)), "Uncertain");
    }
}
