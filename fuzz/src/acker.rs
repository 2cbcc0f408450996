//! Any records whatever, beside a map that keeps all that was ever said of each block.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use squall::api::FailureCause;
use squall::ids::{GENERATION_MOD, RootId, TaskId};
use squall::runtime::acker::{AckRecord, Acker, Outcome};

const SLOTS_MAX: u8 = 4;

/// One record. Slots are few, so that they meet, and some are beyond the bounds.
#[derive(Arbitrary, Debug)]
enum Operation {
    Init(Block, u8),
    Ack(Block, u8),
    Fail(Block, u8),
    Reset(Block),
    Forget(Block),
    /// A block of the first spout task that completes in order, in a slot of its own.
    WholeBlock(u64, u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Block {
    task: u8,
    slot: u8,
    /// Uses of the slot that this one comes after, less than half the circle of generations.
    used: u8,
}

impl Block {
    fn root(self) -> RootId {
        let generation = (GENERATION_MOD - 100 + u32::from(self.used)) % GENERATION_MOD;
        RootId::new(TaskId(u32::from(self.task % 3)), u32::from(self.slot % 6), generation)
    }

    fn is_refused(self) -> bool {
        self.root().task().0 == 0 || self.slot % 6 >= SLOTS_MAX
    }
}

/// All that was said of a block while it was open.
#[derive(Default)]
struct Heard {
    init: Option<u64>,
    acks: Vec<u64>,
    is_over: bool,
}

#[derive(Default)]
struct Reference {
    /// By task and slot, then by use.
    slots: BTreeMap<(u8, u8), BTreeMap<u8, Heard>>,
}

impl Reference {
    fn is_late(&self, block: Block) -> bool {
        let newest = self.slots.get(&key(block)).and_then(|uses| uses.last_key_value());
        newest.is_some_and(|(used, heard)| block.used < *used || block.used == *used && heard.is_over)
    }

    /// Hears something of a block that is not late; complete if that was all.
    fn hear(&mut self, block: Block, say: impl FnOnce(&mut Heard)) -> Option<Outcome> {
        if block.is_refused() || self.is_late(block) {
            return None;
        }
        let heard = self.slots.entry(key(block)).or_default().entry(block.used).or_default();
        say(heard);
        let is_complete =
            !heard.is_over && heard.init == Some(heard.acks.iter().fold(0, |xor, ack| xor ^ ack));
        heard.is_over |= is_complete;
        is_complete.then(|| Outcome::Complete(block.root()))
    }

    fn passes(&self, block: Block) -> bool {
        !block.is_refused() && !self.is_late(block)
    }

    fn open(&self) -> usize {
        let newest = self.slots.values().filter_map(|uses| uses.last_key_value());
        newest.filter(|(_, heard)| !heard.is_over).count()
    }
}

fn key(block: Block) -> (u8, u8) {
    (block.task % 3, block.slot % 6)
}

/// Records in any order: the acker answers as the reference does, and keeps as many entries.
pub fn acker_ops(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut acker = Acker::new(u32::from(SLOTS_MAX));
    let mut reference = Reference::default();
    while let (false, Ok(operation)) = (input.is_empty(), Operation::arbitrary(&mut input)) {
        apply(operation, &mut acker, &mut reference);
        assert_eq!(acker.open(), reference.open());
    }
}

fn apply(operation: Operation, acker: &mut Acker, reference: &mut Reference) {
    let report = FailureCause::Failed.into();
    let (record, expected) = match operation {
        Operation::Init(block, xor) => {
            let (root, xor) = (block.root(), u64::from(xor));
            (AckRecord::Init { root, xor }, reference.hear(block, |heard| _ = heard.init.get_or_insert(xor)))
        }
        Operation::Ack(block, xor) => {
            let (root, xor) = (block.root(), u64::from(xor));
            (AckRecord::Ack { root, xor }, reference.hear(block, |heard| heard.acks.push(xor)))
        }
        Operation::Fail(block, message) => {
            let root = block.root();
            let passed = reference.passes(block).then_some(Outcome::Failed { root, message, report });
            (AckRecord::Fail { root, message, report }, passed)
        }
        Operation::Reset(block) => {
            let root = block.root();
            (AckRecord::Reset { root }, reference.passes(block).then_some(Outcome::Reset(root)))
        }
        Operation::Forget(block) => {
            let forgotten = reference.hear(block, |heard| heard.is_over = true);
            (AckRecord::Forget { root: block.root() }, forgotten)
        }
        Operation::WholeBlock(first, second) => return whole_block(first, second),
    };
    assert_eq!(acker.apply(record), expected, "{record:?}");
}

/// Spout to a to b: init, then both acks.
fn whole_block(first: u64, second: u64) {
    let mut acker = Acker::new(1);
    let root = RootId::new(TaskId(1), 0, 0);
    let (first, second) = (first | 1, second | 2);
    if first == second {
        return;
    }
    assert_eq!(acker.init(root, first), None);
    assert_eq!(acker.ack(root, first ^ second), None);
    assert_eq!(acker.ack(root, second), Some(Outcome::Complete(root)));
    assert_eq!(acker.open(), 0);
}
