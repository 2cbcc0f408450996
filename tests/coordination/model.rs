//! Random calls and faults of three clients, compared with a model that is written as simply as it can be.
//!
//! After each action the result is compared, and all nodes. A write whose connection was lost, and which was repeated,
//! must have the result that it would have had without, or `Uncertain` if it changed nothing; a deletion of what is gone
//! is `Ok` then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use squall::clock::{Clock, Time};
use squall::cluster::coordination::{
    Coordination, CoordinationError, Lose, MemoryClient, MemoryOptions, MemoryService, NodePath, Version,
};

const TIMEOUT: Duration = Duration::from_secs(6);
const PATHS: [&str; 7] = ["/a", "/a/b", "/a/b/c", "/a/d", "/e", "/e/f", "/e/f/g"];

fn path(text: &str) -> NodePath {
    text.parse().expect("a path")
}

#[derive(Clone, Debug, PartialEq)]
struct ModelNode {
    data: Vec<u8>,
    version: i32,
    session: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct ModelClient {
    is_cut: bool,
    session: Option<u64>,
    held: BTreeMap<NodePath, Vec<u8>>,
    /// Those that the session could not make yet.
    unmade: BTreeSet<NodePath>,
    /// Connections that will be lost with the next writes.
    faults: Vec<Lose>,
}

#[derive(Debug, Default)]
struct Model {
    nodes: BTreeMap<NodePath, ModelNode>,
    /// When each session was heard of.
    sessions: BTreeMap<u64, Time>,
    begun: u64,
    clients: [ModelClient; 3],
}

type Done = Result<Version, CoordinationError>;

impl Model {
    fn has_children(&self, of: &NodePath) -> bool {
        self.nodes.keys().any(|path| path.parent().as_ref() == Some(of))
    }

    fn expire(&mut self, now: Time) {
        self.sessions.retain(|_, heard| heard.after(TIMEOUT) > now);
        let sessions = &self.sessions;
        self.nodes.retain(|_, node| node.session.is_none_or(|session| sessions.contains_key(&session)));
    }

    /// Whether the client is answered. It has a session then.
    fn reach(&mut self, c: usize, now: Time) -> bool {
        self.expire(now);
        if self.clients[c].is_cut {
            self.clients[c].session = None;
            return false;
        }
        let known = self.clients[c].session.filter(|session| self.sessions.contains_key(session));
        match known {
            Some(session) => drop(self.sessions.insert(session, now)),
            None => {
                self.begun += 1;
                self.sessions.insert(self.begun, now);
                self.clients[c].session = Some(self.begun);
                self.clients[c].unmade = self.clients[c].held.keys().cloned().collect();
                self.hold_again(c);
            }
        }
        true
    }

    fn hold_again(&mut self, c: usize) {
        for path in std::mem::take(&mut self.clients[c].unmade) {
            let Some(data) = self.clients[c].held.get(&path).cloned() else { continue };
            match self.hold(c, &path, &data) {
                Ok(_) => {}
                Err(CoordinationError::Exists(_)) => drop(self.clients[c].held.remove(&path)),
                Err(_) => drop(self.clients[c].unmade.insert(path)),
            }
        }
    }

    fn hold(&mut self, c: usize, path: &NodePath, data: &[u8]) -> Done {
        let session = self.clients[c].session;
        match self.nodes.get_mut(path) {
            Some(node) if node.session == session => {
                if node.data != data {
                    (node.data, node.version) = (data.to_vec(), node.version + 1);
                }
                return Ok(Version(0));
            }
            Some(node) if node.session.is_some() && node.data == data => drop(self.nodes.remove(path)),
            _ => {}
        }
        self.create(path, data, session)
    }

    fn create(&mut self, path: &NodePath, data: &[u8], session: Option<u64>) -> Done {
        let parent = path.parent().expect("it is not the root");
        if parent != NodePath::root() && !self.nodes.contains_key(&parent) {
            return Err(CoordinationError::Missing(parent));
        }
        if self.nodes.contains_key(path) {
            return Err(CoordinationError::Exists(path.clone()));
        }
        if self.nodes.get(&parent).is_some_and(|parent| parent.session.is_some()) {
            return Err(CoordinationError::NoChildren(parent));
        }
        self.nodes.insert(path.clone(), ModelNode { data: data.to_vec(), version: 0, session });
        Ok(Version(0))
    }

    fn set(&mut self, path: &NodePath, data: &[u8], expected: Version) -> Done {
        let node = self.nodes.get_mut(path).ok_or_else(|| CoordinationError::Missing(path.clone()))?;
        if node.version != expected.0 {
            return Err(CoordinationError::Changed(path.clone()));
        }
        (node.data, node.version) = (data.to_vec(), node.version + 1);
        Ok(Version(node.version))
    }

    fn delete(&mut self, path: &NodePath, expected: Version) -> Done {
        let node = self.nodes.get(path).ok_or_else(|| CoordinationError::Missing(path.clone()))?;
        if node.version != expected.0 {
            return Err(CoordinationError::Changed(path.clone()));
        }
        if self.has_children(path) {
            return Err(CoordinationError::NotEmpty(path.clone()));
        }
        self.nodes.remove(path);
        Ok(expected)
    }

    /// Makes a write of a client, with what its lost connections do before. `is_hold`: a write that was done and whose
    /// answer was lost is done again; others are done once.
    fn write(
        &mut self,
        c: usize,
        now: Time,
        is_hold: bool,
        write: impl Fn(&mut Model) -> Done,
    ) -> Option<(Done, bool)> {
        if !self.reach(c, now) {
            return None;
        }
        let lost = std::mem::take(&mut self.clients[c].faults);
        for lose in &lost {
            if is_hold && *lose == Lose::Answer {
                let _ = write(self);
            }
            self.clients[c].session = None;
            self.reach(c, now);
        }
        Some((write(self), !lost.is_empty()))
    }
}

/// Compares what a write did with what it had to do.
fn compare(what: &str, found: &Done, expected: Option<(Done, bool)>) {
    match expected {
        None => assert!(matches!(found, Err(CoordinationError::Away(_))), "{what}: {found:?}"),
        Some((expected, false)) => assert_eq!(*found, expected, "{what}"),
        Some((Ok(version), true)) => assert_eq!(*found, Ok(version), "{what}"),
        Some((Err(CoordinationError::Missing(_)), true)) if what.contains("delete") => {
            assert!(found.is_ok(), "{what}: {found:?}");
        }
        Some((Err(error), true)) => {
            let is_open = matches!(found, Err(CoordinationError::Uncertain(_)));
            assert!(is_open || *found == Err(error), "{what}: {found:?}");
        }
    }
}

fn run(seed: u64, actions: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let clock = Clock::simulated();
    let service = MemoryService::new(clock.clone(), MemoryOptions::default());
    let clients: [MemoryClient; 3] = std::array::from_fn(|_| service.client());
    let observer = service.client();
    let mut model = Model::default();
    for action in 0..actions {
        let c = random.random_range(0..3);
        let node = path(PATHS[random.random_range(0..PATHS.len())]);
        // Each write has data of its own, as the contract asks.
        let data = format!("{c} wrote {action}").into_bytes();
        let version = match random.random_bool(0.7) {
            true => model.nodes.get(&node).map_or(Version(0), |node| Version(node.version)),
            false => Version(random.random_range(0..3)),
        };
        let now = clock.now();
        let kind = random.random_range(0..100);
        let what =
            |name: &str| format!("seed {seed}, action {action}: client {c}: {name} {node} {version:?}");
        match kind {
            0..52 if is_held_and_lost(&model, c, &node) => {}
            0..20 => {
                let expected = model.write(c, now, false, |model| model.create(&node, &data, None));
                compare(&what("create"), &clients[c].create(&node, &data), expected);
            }
            20..40 => {
                let expected = model.write(c, now, false, |model| model.set(&node, &data, version));
                compare(&what("set"), &clients[c].set(&node, &data, version), expected);
            }
            40..52 => {
                let expected = model.write(c, now, false, |model| model.delete(&node, version));
                compare(&what("delete"), &clients[c].delete(&node, version).map(|()| version), expected);
            }
            52..64 => {
                let data = format!("{c} lives").into_bytes();
                let expected = model.write(c, now, true, |model| model.hold(c, &node, &data));
                let is_held = expected.as_ref().is_some_and(|(held, _)| held.is_ok());
                compare(&what("hold"), &clients[c].hold(&node, &data).map(|()| Version(0)), expected);
                model.clients[c].unmade.remove(&node);
                let held = &mut model.clients[c].held;
                if is_held {
                    held.insert(node, data)
                } else {
                    held.remove(&node)
                };
            }
            64..70 => {
                let was_held = model.clients[c].held.remove(&node);
                let released = clients[c].release(&node);
                if let Some(data) = was_held {
                    let expected = model.write(c, now, false, |model| {
                        model.nodes.retain(|path, kept| {
                            *path != node || kept.session.is_none() || kept.data != data
                        });
                        Ok(Version(0))
                    });
                    compare(&what("release"), &released.map(|()| Version(0)), expected);
                } else {
                    assert_eq!(released, Ok(()), "{}", what("release"));
                }
            }
            70..75 => {
                let expected = model.reach(c, now).then(|| model.nodes.get(&node).cloned());
                let found = clients[c].get(&node).ok();
                let found = found.map(|found| found.map(|node| (node.data, node.version.0, node.is_held)));
                let expected =
                    expected.map(|kept| kept.map(|node| (node.data, node.version, node.session.is_some())));
                assert_eq!(found, expected, "{}", what("get"));
            }
            75..85 => {
                if model.reach(c, now) {
                    model.hold_again(c);
                }
                clients[c].beat();
            }
            85..89 => {
                clock.advance(Duration::from_millis(random.random_range(0..4000)));
                service.step();
                model.expire(clock.now());
            }
            89..93 => {
                let lose = if random.random_bool(0.5) { Lose::Request } else { Lose::Answer };
                clients[c].lose_next(lose, false);
                model.clients[c].faults.push(lose);
            }
            93..95 => {
                clients[c].expire();
                if let Some(session) = model.clients[c].session {
                    model.sessions.remove(&session);
                }
                model.expire(now);
            }
            95..97 => {
                clients[c].cut();
                model.clients[c].is_cut = true;
            }
            _ => {
                clients[c].heal();
                model.clients[c].faults.clear();
                if std::mem::take(&mut model.clients[c].is_cut) {
                    model.clients[c].session = None;
                }
            }
        }
        check_nodes(&observer, &model, &format!("seed {seed}, action {action}"));
    }
}

/// A held node is written by `hold` alone, so that a process recognizes it after a lost connection.
fn is_held_and_lost(model: &Model, c: usize, node: &NodePath) -> bool {
    let is_held = model.nodes.get(node).is_some_and(|node| node.session.is_some());
    !model.clients[c].faults.is_empty() && (is_held || model.clients[c].held.contains_key(node))
}

fn check_nodes(observer: &MemoryClient, model: &Model, place: &str) {
    for name in PATHS {
        let found = observer.get(&path(name)).expect("nothing is done to the observer");
        let found = found.map(|node| (node.data, node.version.0, node.is_held));
        let kept = model.nodes.get(&path(name));
        let kept = kept.map(|node| (node.data.clone(), node.version, node.session.is_some()));
        assert_eq!(found, kept, "{place}: {name}");
    }
}

#[test]
fn random_actions_do_what_the_model_does() {
    for seed in 0..300 {
        run(seed, 200);
    }
}
