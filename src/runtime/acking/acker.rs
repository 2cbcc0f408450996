//! The acker: detects when all tuples of a tree are processed, with 16 bytes for each block, and which
//! blocks may have lost tuples together with a worker.
//!
//! The algorithm is Storm's (its `daemon/Acker`), with the repairs that an exhaustive search showed to be
//! necessary (`tests/acker_proof`). A *block* of up to 64 messages of one spout task is one entry.
//!
//! **The algebra.** Every edge of the tree has a random id that is never 0. The spout's *init* carries
//! the XOR of the edges it sent. A bolt's *ack* carries the XOR of the edges it took and of the edges it
//! sent anchored to them. Each edge stands in exactly two records, so the XOR of all records is 0.
//!
//! ```text
//!  spout --e1--> a --e3--> c      init  e1^e2
//!       \--e2--> b                acks  a: e1^e3   b: e2   c: e3       init^a^b^c == 0
//! ```
//!
//! No smaller set of records that includes the init is 0, except by a collision of probability 2^-64.
//! To see why, order the acks from the root down. Each ack holds an edge that no later ack holds (the
//! edge it took), so the acks are linearly independent. The init is the XOR of all acks, and no other
//! selection of acks gives the same value. Two consequences:
//!
//! * XOR commutes, so records may arrive in any order, and acks may arrive before their init.
//! * A record that arrives twice cancels itself. The network layer drops duplicates by (incarnation,
//!   sequence). In addition, the acker ignores a second init: applied twice, an init would leave a
//!   known block with XOR 0, acked though nothing was processed. An ack that is applied twice only
//!   leaves the block open until its time-out.
//!
//! **Runs.** The algebra does not require that an edge is one tuple. Consecutive tuples of a block to
//! one target are a *run* and share an edge (see `tuple::TupleBatch`). The receiver takes that edge
//! once for the whole run. A tuple that the receiver holds gets a new edge, as if the run had emitted a
//! child to the receiver itself. That edge is taken when the held tuple is acked or failed.
//!
//! **Lost records.** A lost record must not leave a partial XOR of 0. Therefore a record with created
//! edges must also take the edge from which they descend. So when a step ends inside a run, or when
//! something is emitted for a held tuple, the old edge is taken and a new edge stands for the rest.
//!
//! **Lost workers.** If a step sends tuples of a block to another worker, its record names that worker.
//! The cell keeps the union of all workers named. When a worker is lost, the blocks with its bit set may
//! have lost tuples, and no other blocks can. The proof is by induction from the spout: an executor that
//! sends a tuple to a worker names the worker in the record of the same step. If the executor is lost
//! together with that record, the executor before it has named the executor's own worker. A record is
//! stamped with the membership that its sender had read. If a record names a worker that was lost after
//! that membership, the record means the old incarnation, so the block is lost.
//!
//! 1. A block is open from its first record of any kind but `fail` and `reset` until it completes, is
//!    forgotten or is lost. It completes once, when it has its init and its XOR is 0.
//! 2. A record of a block that is over, or of an older generation of its slot, only raises a count. A
//!    newer generation replaces the old one: a spout uses a slot again only when the slot's old block
//!    is over. Generations wrap around, and compare as serial numbers (RFC 1982).
//! 3. `fail` and `reset` are forwarded to the spout and change nothing. A task that fails a tuple also
//!    acks its edge, and sends the failure first, so that the failure arrives before the block can
//!    complete.
//! 4. A table has as many cells as the highest slot its spout task used, never more than `slots_max`.
//!
//! One file, because every rule is about the same cell, and the proof covers all rules together.
//!
//! The acker has no clock: the spout expires its blocks and then sends `forget`. The acker does not know
//! which messages of a block failed: the spout's pending table does.

use std::fmt;

use rustc_hash::FxHashMap;

use crate::ids::{
    GENERATION_MOD, INCARNATIONS_MOD, Incarnation, RootId, SLOTS_MAX, TaskId, USES_MOD, WorkerId, WorkerSet,
};
use crate::runtime::acking::records::FailureReport;
use crate::tuple::MessageIndex;

/// What spouts and bolts report to the acker about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckRecord {
    /// From the spout, once per block: the XOR of all edges it sent.
    Init {
        /// The block.
        root: RootId,
        /// Its first edges.
        xor: u64,
    },
    /// From a bolt: edges taken XOR edges sent; several acks of a block may be combined into one.
    Ack {
        /// The block.
        root: RootId,
        /// The edges.
        xor: u64,
    },
    /// From a bolt: one message of the block failed.
    Fail {
        /// The block.
        root: RootId,
        /// Which of its messages.
        message: MessageIndex,
        /// Why.
        report: FailureReport,
    },
    /// From a bolt: restart the block's time-out.
    Reset {
        /// The block.
        root: RootId,
    },
    /// From the spout: the block timed out or was given up.
    Forget {
        /// The block.
        root: RootId,
    },
}

/// What the acker reports to the spout task that owns the block, `root.task()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an outcome that does not reach its spout is a message that times out"]
pub enum Outcome {
    /// Every edge of the block was processed. Reported once; the block is over.
    Complete(RootId),
    /// One message of the block failed; the block stays open for the others.
    Failed {
        /// The block.
        root: RootId,
        /// Which of its messages.
        message: MessageIndex,
        /// Why.
        report: FailureReport,
    },
    /// Restart the block's time-out.
    Reset(RootId),
    /// A worker that tuples of the block were sent to was lost; the block is over.
    Lost(RootId),
}

impl Outcome {
    /// The block it is about.
    pub fn root(self) -> RootId {
        match self {
            Outcome::Complete(root) | Outcome::Reset(root) | Outcome::Lost(root) => root,
            Outcome::Failed { root, .. } => root,
        }
    }
}

/// What an acker has refused or thrown away, since it began. Records, not tuples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckerCounts {
    /// Second inits of an open block. If above 0, the network layer delivered a record twice.
    pub duplicate_inits: u64,
    /// Records of blocks that are over. Normal after time-outs.
    pub late: u64,
    /// Open blocks whose slot a newer generation took over. Normal when a `forget` was lost.
    pub replaced: u64,
    /// Records that name no spout task, or a slot beyond `slots_max`.
    pub refused: u64,
}

/// Bits of a cell's tag that hold its state.
const STATE_BITS: u32 = 4;
const _: () = assert!(GENERATION_MOD <= 1 << (32 - STATE_BITS));

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// Nothing yet; any generation may begin.
    Unused = 0,
    /// An open block whose init has not arrived yet.
    Early = 1,
    /// An open block that has its init.
    Known = 2,
    /// The block of this generation is over.
    Over = 3,
}

/// The entry of one slot: its open block, or a mark that its last block is over. Only the acker task
/// writes it. It stays as long as the acker, so that late records of the last block are recognised.
#[derive(Clone, Copy)]
struct Cell {
    /// XOR of the inits and acks of the open block so far.
    xor: u64,
    /// 28 bits of the generation of the last block, then 4 bits of [`State`].
    tag: u32,
    /// Union of the workers that records of the open block named.
    touched: WorkerSet,
}

const _: () = assert!(size_of::<Cell>() <= 16, "with a vector's spare room: 32 bytes a block at most");

impl Cell {
    const UNUSED: Cell = Cell { xor: 0, tag: State::Unused as u32, touched: WorkerSet::NONE };

    /// A block that begins with a record other than its init.
    fn early(generation: u32) -> Cell {
        Cell { tag: generation << STATE_BITS | State::Early as u32, ..Cell::UNUSED }
    }

    fn generation(&self) -> u32 {
        self.tag >> STATE_BITS
    }

    fn state(&self) -> State {
        match self.tag & ((1 << STATE_BITS) - 1) {
            0 => State::Unused,
            1 => State::Early,
            2 => State::Known,
            _ => State::Over,
        }
    }

    fn set_state(&mut self, state: State) {
        self.tag = self.tag >> STATE_BITS << STATE_BITS | state as u32;
    }

    fn is_open(&self) -> bool {
        matches!(self.state(), State::Early | State::Known)
    }

    fn standing(&self, generation: u32) -> Standing {
        if self.state() == State::Unused || is_newer(generation, self.generation()) {
            Standing::Begins
        } else if self.generation() == generation && self.is_open() {
            Standing::Open
        } else {
            Standing::Late
        }
    }
}

/// How a record relates to the cell of its slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is the first record of its block.
    Begins,
    /// Its block is the open one.
    Open,
    /// Its block is over.
    Late,
}

/// Whether `generation` comes after `than`: of a later incarnation, or of the same incarnation and a
/// later use of the slot. Each number is later when it is less than half its circle ahead.
fn is_newer(generation: u32, than: u32) -> bool {
    let (incarnation, incarnation_before) = (generation / USES_MOD, than / USES_MOD);
    if incarnation == incarnation_before {
        is_ahead(generation, than, USES_MOD)
    } else {
        is_ahead(incarnation, incarnation_before, INCARNATIONS_MOD)
    }
}

fn is_ahead(number: u32, of: u32, circle: u32) -> bool {
    (1..circle / 2).contains(&(number.wrapping_sub(of) % circle))
}

/// The state of one acker task. See the [module](self).
///
/// # Examples
/// ```
/// use squall::ids::{RootId, TaskId};
/// use squall::runtime::acker::{Acker, Outcome};
///
/// let mut acker = Acker::new(1024);
/// let root = RootId::new(TaskId(1), 0, 1);
/// let (to_bolt, to_next) = (0x5eed, 0xface);
/// assert_eq!(acker.init(root, to_bolt), None);
/// assert_eq!(acker.ack(root, to_next), None, "the second bolt's ack may come first");
/// assert_eq!(acker.ack(root, to_bolt ^ to_next), Some(Outcome::Complete(root)));
/// assert_eq!(acker.open(), 0);
/// ```
pub struct Acker {
    /// Indexed by the id of the spout task (task 0 does not exist), then by slot.
    tables: Vec<Vec<Cell>>,
    /// By spout task whose worker was lost: the incarnation that followed. Records of an older
    /// incarnation are late. This must be kept here because `lose_worker` clears the cells of the task.
    incarnations: FxHashMap<TaskId, u32>,
    slots_max: u32,
    open: usize,
    counts: AckerCounts,
    /// By bit of [`WorkerSet`]: the membership in which a worker with that bit was last lost.
    lost_in: [u64; 32],
    /// The highest of them: a record with this stamp or a higher one needs no look at `lost_in`.
    last_loss: u64,
}

impl Acker {
    /// An acker for spout tasks that use fewer than `slots_max` slots each (at most [`SLOTS_MAX`]).
    /// Nothing is allocated before a slot is used.
    pub fn new(slots_max: u32) -> Acker {
        let slots_max = slots_max.min(SLOTS_MAX);
        Acker {
            tables: Vec::new(),
            incarnations: FxHashMap::default(),
            slots_max,
            open: 0,
            counts: AckerCounts::default(),
            lost_in: [0; 32],
            last_loss: 0,
        }
    }

    /// Applies one record of any kind.
    #[must_use = "the outcome is for the spout"]
    pub fn apply(&mut self, record: AckRecord) -> Option<Outcome> {
        match record {
            AckRecord::Init { root, xor } => self.init(root, xor),
            AckRecord::Ack { root, xor } => self.ack(root, xor),
            AckRecord::Fail { root, message, report } => self.fail(root, message, report),
            AckRecord::Reset { root } => self.reset(root),
            AckRecord::Forget { root } => {
                self.forget(root);
                None
            }
        }
    }

    /// The spout sent the block's first edges. Only the first init of a block counts.
    #[must_use = "the outcome is for the spout"]
    #[inline]
    pub fn init(&mut self, root: RootId, xor: u64) -> Option<Outcome> {
        let cell = self.enter(root)?;
        if cell.state() == State::Known {
            self.counts.duplicate_inits += 1;
            return None;
        }
        cell.set_state(State::Known);
        cell.xor ^= xor;
        self.settle(root)
    }

    /// A bolt took edges and sent others.
    #[must_use = "the outcome is for the spout"]
    #[inline]
    pub fn ack(&mut self, root: RootId, xor: u64) -> Option<Outcome> {
        let cell = self.enter(root)?;
        cell.xor ^= xor;
        self.settle(root)
    }

    /// A bolt failed a message; forwarded unless the block is over. It may precede the init.
    #[must_use = "the outcome is for the spout"]
    pub fn fail(&mut self, root: RootId, message: MessageIndex, report: FailureReport) -> Option<Outcome> {
        self.is_current(root).then_some(Outcome::Failed { root, message, report })
    }

    /// A bolt asks for more time; forwarded unless the block is over.
    #[must_use = "the outcome is for the spout"]
    pub fn reset(&mut self, root: RootId) -> Option<Outcome> {
        self.is_current(root).then_some(Outcome::Reset(root))
    }

    /// The spout gave the block up. Records of the block that arrive from now on are late.
    pub fn forget(&mut self, root: RootId) {
        if self.enter(root).is_some() {
            self.end(root);
        }
    }

    /// Tuples of the block were sent to these workers, by an executor that had read membership `stamp`.
    /// Must be applied before the init or ack of the same step, which could complete the block. If one
    /// of the workers was lost after that membership, the block is lost.
    #[must_use = "the outcome is for the spout"]
    pub fn touch(&mut self, root: RootId, touched: WorkerSet, stamp: u64) -> Option<Outcome> {
        let is_lost = stamp < self.last_loss && touched.bits().any(|bit| stamp < self.lost_in[bit]);
        let cell = self.enter(root)?;
        if is_lost {
            self.end(root);
            return Some(Outcome::Lost(root));
        }
        cell.touched = cell.touched.union(touched);
        None
    }

    /// A worker is lost. `next` is its next incarnation, and `stamp` is the first membership that
    /// contains it. Every open block that may have had tuples in the worker is over. Blocks of the
    /// spout tasks that it `ran` are forgotten without an outcome, since nobody waits for one.
    #[must_use = "the outcomes are for the spouts"]
    pub fn lose_worker(
        &mut self,
        worker: WorkerId,
        next: Incarnation,
        stamp: u64,
        ran: &[TaskId],
    ) -> Vec<Outcome> {
        let lost = WorkerSet::of(worker);
        lost.bits().for_each(|bit| self.lost_in[bit] = stamp);
        self.last_loss = self.last_loss.max(stamp);
        for task in ran {
            self.incarnations.insert(*task, next.generation_part());
            if let Some(table) = self.tables.get_mut(task.0 as usize) {
                self.open -= table.iter().filter(|cell| cell.is_open()).count();
                table.clear();
            }
        }
        let mut outcomes = Vec::new();
        for (task, table) in self.tables.iter_mut().enumerate() {
            let touched = |cell: &&mut Cell| cell.is_open() && cell.touched.intersects(lost);
            for (slot, cell) in table.iter_mut().enumerate() {
                if touched(&cell) {
                    cell.set_state(State::Over);
                    self.open -= 1;
                    let root = RootId::new(TaskId(task as u32), slot as u32, cell.generation());
                    outcomes.push(Outcome::Lost(root));
                }
            }
        }
        outcomes
    }

    /// Whether a record is of an incarnation of its spout task that is over.
    fn is_of_ended_incarnation(&self, root: RootId) -> bool {
        let Some(incarnation) = self.incarnations.get(&root.task()) else { return false };
        let of = root.generation() / USES_MOD;
        of != *incarnation && !is_ahead(of, *incarnation, INCARNATIONS_MOD)
    }

    /// Blocks that are open now.
    pub fn open(&self) -> usize {
        self.open
    }

    /// What was refused or thrown away so far.
    pub fn counts(&self) -> AckerCounts {
        self.counts
    }

    /// Bytes that the tables hold.
    pub fn table_bytes(&self) -> usize {
        let cells: usize = self.tables.iter().map(Vec::capacity).sum();
        cells * size_of::<Cell>() + self.tables.capacity() * size_of::<Vec<Cell>>()
    }

    /// The cell of the record's block, opened if the block begins with this record. If the record is
    /// late or out of bounds: `None`, and a count.
    #[inline]
    fn enter(&mut self, root: RootId) -> Option<&mut Cell> {
        let (task, slot) = (root.task().0 as usize, root.slot() as usize);
        if self.tables.get(task).is_none_or(|table| slot >= table.len()) {
            self.grow(root)?;
        }
        if !self.incarnations.is_empty() && self.is_of_ended_incarnation(root) {
            self.counts.late += 1;
            return None;
        }
        let cell = &mut self.tables[task][slot];
        match cell.standing(root.generation()) {
            Standing::Open => {}
            Standing::Late => {
                self.counts.late += 1;
                return None;
            }
            Standing::Begins => {
                if cell.is_open() {
                    self.counts.replaced += 1;
                } else {
                    self.open += 1;
                }
                *cell = Cell::early(root.generation());
            }
        }
        Some(cell)
    }

    /// Makes room for a slot that was not used before. Beyond the bounds: `None`, and a count.
    #[cold]
    fn grow(&mut self, root: RootId) -> Option<()> {
        if !self.is_in_bounds(root) {
            self.counts.refused += 1;
            return None;
        }
        let task = root.task().0 as usize;
        if task >= self.tables.len() {
            self.tables.resize_with(task + 1, Vec::new);
        }
        self.tables[task].resize(root.slot() as usize + 1, Cell::UNUSED);
        Some(())
    }

    /// Completes a block that has its init and an XOR of 0.
    #[inline]
    fn settle(&mut self, root: RootId) -> Option<Outcome> {
        let cell = &self.tables[root.task().0 as usize][root.slot() as usize];
        if cell.state() != State::Known || cell.xor != 0 {
            return None;
        }
        self.end(root);
        Some(Outcome::Complete(root))
    }

    /// Ends an open block; the cell remembers that.
    #[inline]
    fn end(&mut self, root: RootId) {
        self.tables[root.task().0 as usize][root.slot() as usize].set_state(State::Over);
        self.open -= 1;
    }

    /// Whether a record that changes nothing may pass: its block is open or not known yet.
    fn is_current(&mut self, root: RootId) -> bool {
        if !self.is_in_bounds(root) {
            self.counts.refused += 1;
            return false;
        }
        let cell = self.tables.get(root.task().0 as usize).and_then(|table| table.get(root.slot() as usize));
        let is_late = cell.is_some_and(|cell| cell.standing(root.generation()) == Standing::Late)
            || self.is_of_ended_incarnation(root);
        self.counts.late += u64::from(is_late);
        !is_late
    }

    fn is_in_bounds(&self, root: RootId) -> bool {
        root.task().0 != 0 && root.slot() < self.slots_max
    }
}

impl fmt::Debug for Acker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, counts) = (self.open, &self.counts);
        f.debug_struct("Acker").field("open", &open).field("counts", counts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::FailureCause;
    use crate::ids::TaskId;

    const PANICKED: FailureReport = FailureReport { cause: FailureCause::Panicked, is_final: false };
    const DONE: fn(RootId) -> Option<Outcome> = |root| Some(Outcome::Complete(root));

    fn root(generation: u32) -> RootId {
        RootId::new(TaskId(3), 7, generation)
    }

    #[test]
    fn a_block_completes_when_its_init_is_there_and_all_edges_are_taken() {
        let mut acker = Acker::new(64);
        assert_eq!(acker.init(root(1), 0b11), None);
        assert_eq!(acker.ack(root(1), 0b101), None);
        assert_eq!(acker.ack(root(1), 0b010), None);
        assert_eq!(acker.open(), 1);
        assert_eq!(acker.ack(root(1), 0b100), DONE(root(1)));
        assert_eq!((acker.open(), acker.counts()), (0, AckerCounts::default()));
    }

    #[test]
    fn acks_may_come_before_their_init() {
        let mut acker = Acker::new(64);
        assert_eq!(acker.ack(root(1), 0b01), None);
        assert_eq!(acker.ack(root(1), 0b10), None);
        assert_eq!(acker.init(root(1), 0b11), DONE(root(1)));
        assert_eq!(acker.ack(root(2), 5), None);
        assert_eq!(acker.ack(root(2), 5), None, "0 without an init is not complete");
    }

    #[test]
    fn a_lost_worker_takes_the_blocks_that_touched_it_and_no_others() {
        let mut acker = Acker::new(64);
        let block = |slot| RootId::new(TaskId(3), slot, 1);
        let (a, b) = (WorkerSet::of(WorkerId(1)), WorkerSet::of(WorkerId(2)));
        for (slot, touched) in [(0, a), (1, b), (2, a.union(b)), (3, WorkerSet::NONE)] {
            assert_eq!(acker.touch(block(slot), touched, 1), None);
            assert_eq!(acker.init(block(slot), 0b11), None);
        }
        let of_a_lost_spout = RootId::new(TaskId(4), 0, 1);
        assert_eq!(acker.init(of_a_lost_spout, 5), None);

        let outcomes = acker.lose_worker(WorkerId(1), Incarnation(2), 2, &[TaskId(4)]);
        assert_eq!(outcomes, [Outcome::Lost(block(0)), Outcome::Lost(block(2))]);
        assert_eq!(acker.open(), 2);
        assert_eq!(acker.ack(block(0), 0b11), None, "it is over");

        let late = RootId::new(TaskId(3), 5, 1);
        assert_eq!(acker.touch(late, a, 1), Some(Outcome::Lost(late)), "sent to the worker that was");
        assert_eq!(acker.init(late, 1), None);
        assert_eq!(acker.touch(block(3), a, 2), None, "sent to its successor");
        assert_eq!(acker.ack(block(3), 0b11), DONE(block(3)));
        assert_eq!(acker.open(), 1);

        let late = acker.counts().late;
        assert_eq!(acker.ack(of_a_lost_spout, 5), None, "of an incarnation that is over");
        assert_eq!((acker.open(), acker.counts().late), (1, late + 1));
        let of_the_next = RootId::new(TaskId(4), 0, 2 * USES_MOD + 1);
        assert_eq!(acker.init(of_the_next, 0), DONE(of_the_next));
    }

    #[test]
    fn a_spout_that_was_started_again_is_newer_whatever_its_predecessor_used() {
        let of = |incarnation: u32, uses: u32| incarnation * USES_MOD + uses;
        assert!(is_newer(of(2, 1), of(1, USES_MOD - 1)) && !is_newer(of(1, USES_MOD - 1), of(2, 1)));
        assert!(is_newer(of(0, 7), of(255, 9)), "incarnations wrap");
        assert!(is_newer(of(3, 0), of(3, USES_MOD - 1)), "uses wrap within one");
        assert!(!is_newer(of(3, 5), of(3, 5)));
    }

    #[test]
    fn a_block_without_edges_completes_at_once() {
        assert_eq!(Acker::new(64).init(root(1), 0), DONE(root(1)));
    }

    /// Storm XORs every init in: the second cancels the first, and a tree of which nothing was
    /// processed is acked.
    #[test]
    fn a_second_init_is_ignored() {
        let mut acker = Acker::new(64);
        assert_eq!(acker.init(root(1), 9), None);
        assert_eq!(acker.init(root(1), 9), None);
        assert_eq!(acker.counts().duplicate_inits, 1);
        assert_eq!(acker.ack(root(1), 9), DONE(root(1)));
    }

    /// Storm makes a new entry for them, which nobody completes (STORM-2786).
    #[test]
    fn late_records_leave_nothing_behind() {
        let mut acker = Acker::new(64);
        assert_eq!(acker.init(root(5), 0), DONE(root(5)));
        for generation in [5, 4, 1] {
            assert_eq!(acker.init(root(generation), 3), None);
            assert_eq!(acker.ack(root(generation), 3), None);
            assert_eq!(acker.fail(root(generation), 0, PANICKED), None);
            assert_eq!(acker.reset(root(generation)), None);
            acker.forget(root(generation));
        }
        assert_eq!((acker.open(), acker.counts().late), (0, 15));
    }

    #[test]
    fn a_newer_generation_takes_the_slot_over() {
        let mut acker = Acker::new(64);
        assert_eq!(acker.init(root(1), 3), None);
        assert_eq!(acker.init(root(2), 4), None);
        assert_eq!((acker.open(), acker.counts().replaced), (1, 1));
        assert_eq!(acker.ack(root(1), 3), None, "late");
        assert_eq!(acker.ack(root(2), 4), DONE(root(2)));
    }

    #[test]
    fn generations_compare_as_serial_numbers() {
        let check = |generation, than, newer| assert_eq!(is_newer(generation, than), newer);
        check(1, 0, true);
        check(0, 1, false);
        check(4, 4, false);
        check(0, GENERATION_MOD - 1, true);
        check(GENERATION_MOD - 1, 0, false);
        check(GENERATION_MOD / 2 - 1, 0, true);
        check(GENERATION_MOD / 2, 0, false);
        let mut acker = Acker::new(64);
        assert_eq!(acker.init(root(GENERATION_MOD - 1), 0), DONE(root(GENERATION_MOD - 1)));
        assert_eq!(acker.init(root(0), 0), DONE(root(0)));
        assert_eq!(acker.init(root(GENERATION_MOD - 1), 0), None, "older now");
    }

    #[test]
    fn failures_and_resets_pass_and_change_nothing() {
        let mut acker = Acker::new(64);
        let failed = Some(Outcome::Failed { root: root(1), message: 5, report: PANICKED });
        assert_eq!(acker.fail(root(1), 5, PANICKED), failed, "even before the init");
        assert_eq!((acker.open(), acker.table_bytes()), (0, 0));
        assert_eq!(acker.init(root(1), 3), None);
        assert_eq!(acker.fail(root(1), 5, PANICKED), failed);
        assert_eq!(acker.reset(root(1)), Some(Outcome::Reset(root(1))));
        assert_eq!(acker.ack(root(1), 3), DONE(root(1)));
    }

    #[test]
    fn a_forgotten_block_is_over_whatever_was_known_of_it() {
        let mut acker = Acker::new(64);
        acker.forget(root(1));
        assert_eq!(acker.init(root(1), 0), None);
        assert_eq!(acker.init(root(2), 6), None);
        acker.forget(root(2));
        assert_eq!(acker.ack(root(2), 6), None);
        assert_eq!((acker.open(), acker.counts().late), (0, 2));
    }

    #[test]
    fn records_beyond_the_bounds_are_refused_without_an_allocation() {
        let mut acker = Acker::new(8);
        assert_eq!(acker.init(RootId::new(TaskId(1), 8, 1), 0), None);
        assert_eq!(acker.ack(RootId::new(TaskId(1), SLOTS_MAX - 1, 1), 0), None);
        assert_eq!(acker.fail(RootId::new(TaskId(1), 8, 1), 0, PANICKED), None);
        assert_eq!(acker.init(RootId::NONE, 0), None);
        assert_eq!((acker.counts().refused, acker.table_bytes(), acker.open()), (4, 0, 0));
    }

    #[test]
    fn a_block_costs_at_most_32_bytes() {
        let mut acker = Acker::new(SLOTS_MAX);
        let blocks = 100_000;
        for slot in 0..blocks {
            assert_eq!(acker.init(RootId::new(TaskId(1), slot, 1), 1), None);
        }
        assert_eq!(acker.open(), blocks as usize);
        assert!(acker.table_bytes() <= 32 * blocks as usize + 1024, "{} bytes", acker.table_bytes());
    }
}
