//! Ackers that are wrong on purpose: a checker that does not find them proves nothing.

use std::collections::HashMap;

use squall::ids::{GENERATION_MOD, RootId};
use squall::runtime::acker::{AckRecord, Outcome};

use crate::Tracker;

/// What is wrong with a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing: a plain acker over a hash map, to show that the flaw is what is found.
    None,
    /// Every init is XORed in, as in Storm.
    EveryInitCounts,
    /// Complete whenever the XOR is 0, init or not; a block that completes so is begun again.
    InitIsNotNeeded,
    /// An ack without an entry is thrown away.
    EarlyAcksAreDropped,
    /// A record of a block that is over opens an entry again, as in Storm.
    LateAcksOpenEntries,
    /// All blocks of a slot are one.
    GenerationsAreIgnored,
    /// A failure ends the block.
    FailuresEndBlocks,
    /// `forget` does nothing.
    ForgetIsIgnored,
}

#[derive(Default)]
struct Entry {
    xor: u64,
    known: bool,
}

/// An acker over hash maps, written without regard to speed and memory.
pub struct Suspect {
    flaw: Flaw,
    entries: HashMap<RootId, Entry>,
    /// By slot (the root with its generation cut off): the newest generation, and whether it is over.
    newest: HashMap<RootId, (u32, bool)>,
}

impl Suspect {
    pub fn new(flaw: Flaw) -> Suspect {
        Suspect { flaw, entries: HashMap::new(), newest: HashMap::new() }
    }

    fn key(&self, root: RootId) -> RootId {
        if self.flaw == Flaw::GenerationsAreIgnored { slot_of(root) } else { root }
    }

    fn ahead_of_newest(&self, root: RootId) -> Option<u32> {
        let (newest, _) = self.newest.get(&slot_of(root))?;
        Some(root.generation().wrapping_sub(*newest) % GENERATION_MOD)
    }

    fn is_late(&self, root: RootId) -> bool {
        let is_over = || self.newest[&slot_of(root)].1;
        match self.ahead_of_newest(root) {
            _ if self.flaw == Flaw::GenerationsAreIgnored => false,
            None => false,
            Some(0) => is_over(),
            Some(ahead) => ahead >= GENERATION_MOD / 2,
        }
    }

    /// Makes a block that is not late the slot's newest.
    fn begin(&mut self, root: RootId) {
        if self.ahead_of_newest(root) == Some(0) || self.flaw == Flaw::GenerationsAreIgnored {
            return;
        }
        if let Some((old, _)) = self.newest.insert(slot_of(root), (root.generation(), false)) {
            self.entries.remove(&RootId(slot_of(root).0 | u64::from(old)));
        }
    }

    fn end(&mut self, root: RootId) {
        self.begin(root);
        self.entries.remove(&self.key(root));
        self.newest.insert(slot_of(root), (root.generation(), true));
    }

    fn update(&mut self, root: RootId, xor: u64, is_init: bool) -> Option<Outcome> {
        match self.is_late(root) {
            false => self.begin(root),
            true if self.flaw == Flaw::LateAcksOpenEntries => {}
            true => return None,
        }
        let (key, flaw) = (self.key(root), self.flaw);
        if flaw == Flaw::EarlyAcksAreDropped && !is_init && !self.entries.contains_key(&key) {
            return None;
        }
        let entry = self.entries.entry(key).or_default();
        if !(is_init && entry.known) || flaw == Flaw::EveryInitCounts {
            entry.xor ^= xor;
        }
        entry.known |= is_init || flaw == Flaw::InitIsNotNeeded;
        if !entry.known || entry.xor != 0 {
            return None;
        }
        self.end(root);
        Some(Outcome::Complete(root))
    }
}

fn slot_of(root: RootId) -> RootId {
    RootId(root.0 - u64::from(root.generation()))
}

impl Tracker for Suspect {
    fn apply(&mut self, record: AckRecord) -> Option<Outcome> {
        match record {
            AckRecord::Init { root, xor } => self.update(root, xor, true),
            AckRecord::Ack { root, xor } => self.update(root, xor, false),
            AckRecord::Fail { root, message, report } => {
                if self.is_late(root) {
                    return None;
                }
                if self.flaw == Flaw::FailuresEndBlocks {
                    self.end(root);
                }
                Some(Outcome::Failed { root, message, report })
            }
            AckRecord::Reset { root } => (!self.is_late(root)).then_some(Outcome::Reset(root)),
            AckRecord::Forget { root } => {
                if self.flaw != Flaw::ForgetIsIgnored && !self.is_late(root) {
                    self.end(root);
                }
                None
            }
        }
    }

    fn open(&self) -> usize {
        self.entries.len()
    }
}
