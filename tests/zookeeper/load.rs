//! Writers that write all the time, and what must be true of their writes in the end.
//!
//! Each writer makes nodes that only it makes, and all count together: each reads a node and writes it with the version
//! that it has read. What the writers were answered is compared with what the server has, read by a witness:
//!
//! 1. What was acknowledged is there, with its data.
//! 2. What was answered with an error that means "not done" is not there.
//! 3. No two writers were told that they wrote the same version, and the count is no more than what was acknowledged
//!    and what is uncertain. So nothing was done twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use squall::cluster::coordination::{Coordination as _, CoordinationError};

use crate::clients::{Client, path};
use crate::wait_until;
use crate::witness::Witness;

/// Writers that work.
pub struct Load {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Answers>>,
    /// Where the nodes are on the server.
    absolute: String,
}

#[derive(Default)]
struct Shared {
    has_ended: AtomicBool,
    /// How many writes were acknowledged. It only counts, so relaxed.
    acknowledged: AtomicU64,
}

/// What a writer was answered.
#[derive(Default)]
struct Answers {
    made: Vec<String>,
    not_made: Vec<String>,
    uncertain: Vec<String>,
    /// The versions that it has written of the node that all count in.
    counted: Vec<i32>,
    uncertain_counts: usize,
}

/// What all writers were answered, once it has been compared with what the server has.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    pub acknowledged: usize,
    pub not_done: usize,
    pub uncertain_makes: usize,
    pub uncertain_counts: usize,
}

impl Load {
    /// Starts a writer for each client. All have the same root.
    pub fn start(clients: &[Arc<Client>]) -> Load {
        clients[0].make("/load", b"");
        clients[0].make("/count", b"");
        let shared = Arc::<Shared>::default();
        let start = |(number, client): (usize, &Arc<Client>)| {
            let (client, shared) = (Arc::clone(client), Arc::clone(&shared));
            thread::spawn(move || write(number, &client, &shared))
        };
        let writers = clients.iter().enumerate().map(start).collect();
        Load { absolute: clients[0].absolute("/"), shared, writers }
    }

    /// How many writes were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes are acknowledged.
    #[track_caller]
    pub fn wait_for_more(&self, count: u64) {
        let from = self.acknowledged();
        wait_until("writes are acknowledged", || {
            assert!(!self.writers.iter().any(JoinHandle::is_finished), "a writer has panicked");
            self.acknowledged() >= from + count
        });
    }

    /// Ends the writers, and compares what they were answered with what the server has.
    pub fn finish(self, witness: &mut Witness) -> Summary {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        let answers: Vec<Answers> =
            self.writers.into_iter().map(|writer| writer.join().expect("no answer is wrong")).collect();
        let at = |below: &str| format!("{}{below}", self.absolute);
        witness.catch_up(&at("/load"));
        let there: BTreeSet<String> =
            witness.children(&at("/load")).expect("it is there").into_iter().collect();
        let all =
            |of: fn(&Answers) -> &Vec<String>| answers.iter().flat_map(of).cloned().collect::<BTreeSet<_>>();
        let (made, not_made) = (all(|answers| &answers.made), all(|answers| &answers.not_made));
        let uncertain = all(|answers| &answers.uncertain);
        let lost: Vec<_> = made.difference(&there).collect();
        assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
        let wrong: Vec<_> = not_made.intersection(&there).collect();
        assert!(wrong.is_empty(), "reported as not done, but there: {wrong:?}");
        for name in &there {
            assert!(made.contains(name) || uncertain.contains(name), "nobody made {name}");
            let (data, stat) = witness.get(&at(&format!("/load/{name}"))).expect("it is there");
            assert_eq!((data.as_slice(), stat.version), (name.as_bytes(), 0), "{name}");
        }
        let counts: Vec<i32> = answers.iter().flat_map(|answers| answers.counted.iter().copied()).collect();
        let distinct: BTreeSet<i32> = counts.iter().copied().collect();
        assert_eq!(distinct.len(), counts.len(), "a version was acknowledged to two writers");
        let uncertain_counts: usize = answers.iter().map(|answers| answers.uncertain_counts).sum();
        let count = usize::try_from(witness.get(&at("/count")).expect("it is there").1.version)
            .expect("it counts up");
        assert!(distinct.last().is_none_or(|last| usize::try_from(*last).is_ok_and(|last| last <= count)));
        assert!(
            counts.len() <= count && count <= counts.len() + uncertain_counts,
            "{count} of {}",
            counts.len()
        );
        Summary {
            acknowledged: made.len() + counts.len(),
            not_done: not_made.len(),
            uncertain_makes: uncertain.len(),
            uncertain_counts,
        }
    }
}

/// Writes until the end.
fn write(number: usize, client: &Client, shared: &Shared) -> Answers {
    let mut answers = Answers::default();
    let acknowledge = || _ = shared.acknowledged.fetch_add(1, Ordering::Relaxed);
    for turn in 0.. {
        if shared.has_ended.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{number}-{turn}");
        match client.create(&path(&format!("/load/{name}")), name.as_bytes()) {
            Ok(_) => {
                acknowledge();
                answers.made.push(name.clone());
            }
            Err(CoordinationError::Uncertain(_)) => answers.uncertain.push(name.clone()),
            Err(CoordinationError::Away(_)) => answers.not_made.push(name.clone()),
            Err(error) => panic!("only this writer makes {name}: {error}"),
        }
        let count = path("/count");
        let Ok(found) = client.get(&count) else { continue };
        let before = found.expect("nobody deletes it").version;
        match client.set(&count, name.as_bytes(), before) {
            Ok(version) => {
                assert_eq!(version.0, before.0 + 1);
                acknowledge();
                answers.counted.push(version.0);
            }
            Err(CoordinationError::Uncertain(_)) => answers.uncertain_counts += 1,
            Err(CoordinationError::Away(_) | CoordinationError::Changed(_)) => {}
            Err(error) => panic!("the node is there: {error}"),
        }
    }
    answers
}
