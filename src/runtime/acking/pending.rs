//! The open messages of a spout task, and when they expire.
//!
//! Messages are kept in *blocks* of up to 64 messages that share a tree entry at the acker. A block takes
//! messages until it is full or the spout's step ends; then it is closed. So under high load a block has
//! 64 messages, and under low load it has one and the latency is that of Storm. The price is that the
//! messages of a block expire together. Therefore each replay of a message gets a block of its own:
//! otherwise a neighbour that is never acked could fail the message again at every replay.
//!
//! Time-outs are a ring of deadlines in the order in which blocks were closed. Deadlines are in
//! *tree time*, which stands still while the spout's path is starved (see `tree_clock`), so no message
//! expires because its tuples waited in a queue. An entry of the ring is stale when its block is over or
//! its time-out was reset. A stale entry is recognised by its generation and deadline, and skipped.
//!
//! 1. `in_flight` is the number of messages in closed blocks that are neither acked nor failed.
//! 2. A slot is used again only once its block is over; its generation then grows by one.
//! 3. A message fails at most once per emit, even if the acker reports it failed and its block expires.

use std::collections::VecDeque;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::api::{FailureCause, OpenMessages, ReplayCounts};
use crate::clock::Time;
use crate::config::limits::{BLOCK_MESSAGES_MAX, BOUNDED_REPLAYS_MAX, FAILURES_REMEMBERED_MAX};
use crate::ids::{Incarnation, MessageId, RootId, TaskId, USES_MOD};
use crate::runtime::acking::records::FailureReport;
use crate::tuple::{Anchor, Attempt, MessageIndex};

/// A message that failed, as [`Pending`] found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedMessage {
    /// Which.
    pub id: MessageId,
    /// Why.
    pub cause: FailureCause,
    /// How often it has failed now.
    pub failures: u32,
    /// Whether it is given up.
    pub is_final: bool,
}

/// How often the messages of a spout task are replayed before they are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayLimit {
    /// `max_replays` is set: this often, whatever the causes of the failures.
    Set(u32),
    /// `max_replays` is not set, and the input may go on for ever: without limit.
    Unbounded,
    /// `max_replays` is not set, and the input has an end: [`BOUNDED_REPLAYS_MAX`] times. Failures because
    /// a worker was lost do not count, since the message did not cause them.
    Bounded,
}

impl ReplayLimit {
    /// The limit that `max_replays` sets, if it is set.
    pub fn new(max_replays: Option<u32>) -> ReplayLimit {
        max_replays.map_or(ReplayLimit::Unbounded, ReplayLimit::Set)
    }

    /// Whether the emit that follows this many failures of a message is the last one allowed. `own` of the
    /// failures were not the loss of a worker.
    fn is_reached(self, failures: u32, own: u32) -> bool {
        match self {
            ReplayLimit::Set(max) => failures >= max,
            ReplayLimit::Unbounded => false,
            ReplayLimit::Bounded => own >= BOUNDED_REPLAYS_MAX,
        }
    }
}

/// The spout's entry of one slot. It stays when its block is over, for the next generation.
#[derive(Debug, Default)]
struct Block {
    generation: u32,
    /// Whether the block is not over yet.
    in_use: bool,
    ids: Vec<MessageId>,
    /// One bit per message that failed.
    failed: u64,
    opened_at: Time,
    /// In tree time. An entry of the ring with another deadline is stale.
    deadline: Time,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    /// How many of these failures were not the loss of a worker.
    own: u32,
    /// Why it failed the last time.
    cause: FailureCause,
    /// Whether it was not emitted again since its last failure.
    waiting: bool,
}

/// The open messages of one spout task.
#[derive(Debug)]
pub struct Pending {
    task: TaskId,
    /// The worker's incarnation, as it stands in the upper bits of every generation.
    incarnation_part: u32,
    timeout: Option<Duration>,
    limit: ReplayLimit,
    blocks: Vec<Block>,
    /// Slots whose block is over.
    free: Vec<u32>,
    /// The block that messages are added to; all of them are first attempts. They are in [`OpenMessages`] until it is
    /// closed.
    open: Option<u32>,
    /// Blocks that take no more messages but whose init was not sent yet.
    closed: Vec<u32>,
    /// Deadlines in tree time; may hold stale entries.
    ring: VecDeque<(Time, RootId)>,
    in_flight: usize,
    /// Messages that failed since they were last acked. An ack removes the entry.
    failures: FxHashMap<MessageId, Failures>,
    /// Messages that failed and were not emitted again.
    waiting: usize,
    replayed: ReplayCounts,
}

impl Pending {
    /// For a spout task of a worker in its `incarnation`; `timeout` in tree time.
    pub fn new(
        task: TaskId,
        timeout: Option<Duration>,
        incarnation: Incarnation,
        limit: ReplayLimit,
    ) -> Pending {
        Pending {
            task,
            incarnation_part: incarnation.generation_part() * USES_MOD,
            timeout,
            limit,
            blocks: Vec::new(),
            free: Vec::new(),
            open: None,
            closed: Vec::new(),
            ring: VecDeque::new(),
            in_flight: 0,
            failures: FxHashMap::default(),
            waiting: 0,
            replayed: ReplayCounts::default(),
        }
    }

    /// The input has an end: if `max_replays` is not set, a default limit applies from now on.
    pub fn note_bounded(&mut self) {
        if self.limit == ReplayLimit::Unbounded {
            self.limit = ReplayLimit::Bounded;
        }
    }

    /// Messages that are neither acked nor failed, without those of the open block.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Messages that failed and were not emitted again.
    pub fn lost(&self) -> usize {
        self.waiting
    }

    /// Messages that were emitted again after a failure, by its cause.
    pub fn replayed(&self) -> ReplayCounts {
        self.replayed
    }

    /// Begins a message: gives it a place in the open block, or, if it is a replay, in a new block. Messages that
    /// cannot be replays are added to `open` without a call of this.
    pub fn open_message(&mut self, id: MessageId, open: &mut OpenMessages, now: Time) -> Anchor {
        let attempt = if self.failures.is_empty() { self.first_attempt() } else { self.begin_replay(id) };
        let is_replay = attempt.replays() > 0;
        if is_replay || self.open.is_none() || open.ids.len() >= BLOCK_MESSAGES_MAX as usize {
            self.open_block(attempt, open, now);
        }
        let anchor = Anchor { root: open.root, edge: 0, message: open.ids.len() as MessageIndex, attempt };
        open.ids.push(id);
        open.room = if self.failures.is_empty() { BLOCK_MESSAGES_MAX as usize } else { 0 };
        if is_replay {
            self.close_open(open);
        }
        anchor
    }

    #[inline]
    fn first_attempt(&self) -> Attempt {
        Attempt::new(0, self.limit.is_reached(0, 0))
    }

    /// The attempt of a message that may have failed before.
    fn begin_replay(&mut self, id: MessageId) -> Attempt {
        let limit = self.limit;
        let Some(failures) = self.failures.get_mut(&id) else { return self.first_attempt() };
        if failures.waiting {
            failures.waiting = false;
            self.waiting -= 1;
            *self.replayed.of_mut(failures.cause) += 1;
        }
        Attempt::new(failures.count, limit.is_reached(failures.count, failures.own))
    }

    fn open_block(&mut self, attempt: Attempt, open: &mut OpenMessages, now: Time) {
        self.close_open(open);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.blocks.push(Block::default());
            (self.blocks.len() - 1) as u32
        });
        let block = &mut self.blocks[slot as usize];
        block.generation = self.incarnation_part + (block.generation + 1) % USES_MOD;
        block.in_use = true;
        block.failed = 0;
        block.opened_at = now;
        block.ids.clear();
        (open.root, open.attempt) = (self.root(slot), attempt);
        self.open = Some(slot);
    }

    /// Takes the messages of the open block, which takes no more.
    pub fn close_open(&mut self, open: &mut OpenMessages) {
        open.room = 0;
        if let Some(slot) = self.open.take() {
            // The vector of the block's last messages goes round.
            std::mem::swap(&mut self.blocks[slot as usize].ids, &mut open.ids);
            self.in_flight += self.blocks[slot as usize].ids.len();
            self.closed.push(slot);
        }
    }

    /// Starts the time-out of every block that was closed in this step, and calls `init` for each of them.
    pub fn init_blocks(&mut self, tree_now: Time, mut init: impl FnMut(RootId)) {
        for index in 0..self.closed.len() {
            let slot = self.closed[index];
            let deadline = self.timeout.map_or(Time::NEVER, |timeout| tree_now.after(timeout));
            let root = self.root(slot);
            self.blocks[slot as usize].deadline = deadline;
            if self.timeout.is_some() {
                self.ring.push_back((deadline, root));
            }
            init(root);
        }
        self.closed.clear();
        self.compact_ring();
    }

    /// Bounds the ring by the number of blocks. Needed when one old block stays open for long:
    /// `trim_ring` then stops at its entry and cannot drop the stale entries behind it.
    fn compact_ring(&mut self) {
        if self.ring.len() > 2 * self.blocks.len() + BLOCK_MESSAGES_MAX as usize {
            let blocks = &self.blocks;
            self.ring.retain(|(deadline, root)| {
                let block = &blocks[root.slot() as usize];
                block.in_use && block.generation == root.generation() && block.deadline == *deadline
            });
        }
    }

    fn root(&self, slot: u32) -> RootId {
        RootId::new(self.task, slot, self.blocks[slot as usize].generation)
    }

    fn block_of(&mut self, root: RootId) -> Option<&mut Block> {
        let block = self.blocks.get_mut(root.slot() as usize)?;
        (block.in_use && block.generation == root.generation()).then_some(block)
    }

    /// The whole block is complete: acks its messages that did not fail, in the order in which they were
    /// emitted. Returns how many were acked, and when the block was opened.
    pub fn complete(&mut self, root: RootId, mut ack: impl FnMut(MessageId)) -> Option<(usize, Time)> {
        let block = self.block_of(root)?;
        let (ids, failed, opened_at) = (std::mem::take(&mut block.ids), block.failed, block.opened_at);
        let mut acked = 0;
        if failed == 0 && self.failures.is_empty() {
            acked = ids.len();
            ids.iter().for_each(|id| ack(*id));
        } else {
            for (message, id) in ids.iter().enumerate() {
                if failed & (1 << message) == 0 {
                    acked += 1;
                    self.forget_failures(*id);
                    ack(*id);
                }
            }
        }
        self.in_flight -= acked;
        self.blocks[root.slot() as usize].ids = ids;
        self.release(root.slot());
        Some((acked, opened_at))
    }

    fn forget_failures(&mut self, id: MessageId) {
        if let Some(failures) = self.failures.remove(&id)
            && failures.waiting
        {
            self.waiting -= 1;
        }
    }

    #[inline]
    fn release(&mut self, slot: u32) {
        self.blocks[slot as usize].in_use = false;
        self.free.push(slot);
        self.trim_ring();
    }

    /// Drops stale entries from the front, so that entries of blocks that are over do not pile up.
    fn trim_ring(&mut self) {
        while let Some((deadline, root)) = self.ring.front().copied() {
            let block = &self.blocks[root.slot() as usize];
            let live = block.in_use && block.generation == root.generation() && block.deadline == deadline;
            if live {
                return;
            }
            self.ring.pop_front();
        }
    }

    /// One message of a block failed. `None` if it had failed already or the block is over.
    pub fn fail(
        &mut self,
        root: RootId,
        message: MessageIndex,
        report: FailureReport,
    ) -> Option<FailedMessage> {
        let block = self.block_of(root)?;
        let id = *block.ids.get(usize::from(message))?;
        let bit = 1 << message;
        if block.failed & bit != 0 {
            return None;
        }
        block.failed |= bit;
        self.in_flight -= 1;
        Some(self.note_failure(id, report))
    }

    /// Counts a failure and decides whether it is final. If a bolt reported the failure, the bolt decided,
    /// because it may have a limit of its own. Otherwise (a time-out or a lost worker) it is final if the
    /// message was replayed as often as the topology allows.
    fn note_failure(&mut self, id: MessageId, report: FailureReport) -> FailedMessage {
        let FailureReport { cause, is_final } = report;
        let room = self.failures.len() < FAILURES_REMEMBERED_MAX;
        let known = self.failures.contains_key(&id);
        if !known && !room {
            // The table is full: the message counts as failed, its next replay as a first attempt.
            self.waiting += 1;
            return FailedMessage { id, cause, failures: 1, is_final };
        }
        let none = Failures { count: 0, own: 0, cause, waiting: false };
        let failures = self.failures.entry(id).or_insert(none);
        let is_used_up = self.limit.is_reached(failures.count, failures.own);
        let is_lost = cause == FailureCause::Lost;
        failures.cause = cause;
        failures.count = failures.count.saturating_add(1);
        failures.own = failures.own.saturating_add(u32::from(!is_lost));
        let is_final = match cause {
            FailureCause::TimedOut => is_used_up,
            FailureCause::Lost => is_used_up && self.limit != ReplayLimit::Bounded,
            FailureCause::Failed | FailureCause::Panicked | FailureCause::Abandoned => is_final,
        };
        if !failures.waiting {
            failures.waiting = true;
            self.waiting += 1;
        }
        FailedMessage { id, cause, failures: failures.count, is_final }
    }

    /// Ends a block without an outcome `Complete`: every open message of it fails. If the acker still has
    /// the block, the caller must send it `forget`.
    pub fn give_up(
        &mut self,
        root: RootId,
        cause: FailureCause,
        mut fail: impl FnMut(FailedMessage),
    ) -> bool {
        let Some(block) = self.block_of(root) else { return false };
        let (ids, failed) = (std::mem::take(&mut block.ids), block.failed);
        for (message, id) in ids.iter().enumerate() {
            if failed & (1 << message) == 0 {
                self.in_flight -= 1;
                fail(self.note_failure(*id, cause.into()));
            }
        }
        self.blocks[root.slot() as usize].ids = ids;
        self.release(root.slot());
        true
    }

    /// Expires every block whose deadline has passed: calls `fail` for its open messages, then `forget`.
    pub fn expire(
        &mut self,
        tree_now: Time,
        mut fail: impl FnMut(FailedMessage),
        mut forget: impl FnMut(RootId),
    ) {
        while let Some((deadline, root)) = self.ring.front().copied() {
            if deadline > tree_now {
                return;
            }
            self.ring.pop_front();
            let current = self.block_of(root).is_some_and(|block| block.deadline == deadline);
            if current && self.give_up(root, FailureCause::TimedOut, &mut fail) {
                forget(root);
            }
        }
    }

    #[cfg(test)]
    /// When the next block may expire, in tree time.
    pub fn next_deadline(&self) -> Option<Time> {
        self.ring.front().map(|(deadline, _)| *deadline)
    }

    /// Restarts the time-out of a block.
    pub fn reset_timeout(&mut self, root: RootId, tree_now: Time) {
        let Some(timeout) = self.timeout else { return };
        let deadline = tree_now.after(timeout);
        if let Some(block) = self.block_of(root) {
            block.deadline = deadline;
            self.ring.push_back((deadline, root));
        }
    }

    /// All blocks that are not over, including the one that still takes messages.
    pub fn open_roots(&self) -> Vec<RootId> {
        let slots = 0..self.blocks.len() as u32;
        slots.filter(|slot| self.blocks[*slot as usize].in_use).map(|slot| self.root(slot)).collect()
    }

    /// Forgets every message, after the spout instance that emitted them broke. Calls `forget` for each
    /// block, so that the caller can have the acker forget it, too. The caller clears the open messages.
    pub fn clear(&mut self, mut forget: impl FnMut(RootId)) {
        self.open = None;
        self.closed.clear();
        for root in self.open_roots() {
            self.release(root.slot());
            forget(root);
        }
        self.ring.clear();
        self.in_flight = 0;
        self.failures.clear();
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_secs(10);

    const FAILED: FailureReport = FailureReport { cause: FailureCause::Failed, is_final: false };

    fn seconds(s: u64) -> Time {
        Time(s * 1_000_000_000)
    }

    fn pending(limit: ReplayLimit) -> Pending {
        Pending::new(TaskId(1), Some(T), Incarnation(1), limit)
    }

    /// Emits a message, as a spout does.
    fn begin(pending: &mut Pending, open: &mut OpenMessages, id: u64, at: u64) -> Anchor {
        open.add(MessageId(id)).unwrap_or_else(|| pending.open_message(MessageId(id), open, seconds(at)))
    }

    /// Ends a step, and returns the blocks that were closed in it.
    fn end_step(pending: &mut Pending, open: &mut OpenMessages, at: u64) -> Vec<RootId> {
        pending.close_open(open);
        let mut roots = Vec::new();
        pending.init_blocks(seconds(at), |root| roots.push(root));
        roots
    }

    fn emit(pending: &mut Pending, ids: impl IntoIterator<Item = u64>, at: u64) -> Vec<RootId> {
        let mut open = OpenMessages::default();
        for id in ids {
            begin(pending, &mut open, id, at);
        }
        end_step(pending, &mut open, at)
    }

    /// Emits a message in a step of its own.
    fn emit_alone(pending: &mut Pending, id: u64) -> Anchor {
        let mut open = OpenMessages::default();
        let anchor = begin(pending, &mut open, id, 0);
        end_step(pending, &mut open, 0);
        anchor
    }

    fn expired(pending: &mut Pending, at: u64) -> Vec<u64> {
        let mut ids = Vec::new();
        pending.expire(seconds(at), |failed| ids.push(failed.id.0), |_| ());
        ids
    }

    #[test]
    fn sixty_four_messages_share_a_block_and_few_do_not_wait_for_more() {
        let mut pending = pending(ReplayLimit::Unbounded);
        assert_eq!(emit(&mut pending, 0..130, 0).len(), 3);
        assert_eq!(emit(&mut pending, 200..201, 0).len(), 1);
        assert_eq!(pending.in_flight(), 131);
    }

    #[test]
    fn a_message_that_fails_alone_is_not_acked_with_its_block() {
        let mut pending = pending(ReplayLimit::Unbounded);
        let root = emit(&mut pending, 0..3, 0)[0];
        assert_eq!(pending.fail(root, 1, FAILED).map(|f| (f.id, f.failures)), Some((MessageId(1), 1)));
        assert_eq!(pending.fail(root, 1, FAILED), None, "once per emit");
        let mut acked = Vec::new();
        pending.complete(root, |id| acked.push(id.0));
        assert_eq!(acked, [0, 2]);
        assert_eq!((pending.in_flight(), pending.lost()), (0, 1));
        assert_eq!(pending.complete(root, |_| panic!("a block ends once")), None);
    }

    #[test]
    fn a_replay_carries_its_attempt_and_has_a_block_of_its_own() {
        let mut pending = pending(ReplayLimit::Unbounded);
        let root = emit(&mut pending, 0..2, 0)[0];
        pending.fail(root, 0, FAILED);
        pending.fail(root, 1, FAILED);
        let mut open = OpenMessages::default();
        let all = [7, 0, 1, 8].map(|id| begin(&mut pending, &mut open, id, 1));
        assert_eq!(all.map(|anchor| anchor.attempt.replays()), [0, 1, 1, 0]);
        let roots: std::collections::HashSet<_> = all.iter().map(|anchor| anchor.root).collect();
        assert_eq!(roots.len(), 4, "what failed once shares its time-out with nobody");
        assert_eq!((pending.lost(), pending.replayed().total()), (0, 2));
    }

    /// Fails message 7 with these causes, one after another, and returns at which replay it is the last one,
    /// and after which failure it is given up. A bolt's report is final when the attempt was the last.
    fn last_replay_and_give_up(limit: ReplayLimit, causes: &[FailureCause]) -> (Option<u32>, Option<u32>) {
        let mut pending = pending(limit);
        let (mut last, mut given_up) = (None, None);
        for cause in causes {
            let Anchor { root, message, attempt, .. } = emit_alone(&mut pending, 7);
            if attempt.is_last() {
                last = last.or(Some(attempt.replays()));
            }
            let report = FailureReport { cause: *cause, is_final: attempt.is_last() };
            let failed = pending.fail(root, message, report).expect("it is open");
            if failed.is_final {
                given_up = given_up.or(Some(failed.failures));
            }
        }
        (last, given_up)
    }

    #[test]
    fn messages_are_given_up_after_their_last_replay() {
        use FailureCause::{Failed, Lost, TimedOut};
        let max = BOUNDED_REPLAYS_MAX;
        let check = |limit, causes: &[FailureCause], expected| {
            assert_eq!(last_replay_and_give_up(limit, causes), expected, "{limit:?} {causes:?}");
        };
        check(ReplayLimit::Set(2), &[Failed; 3], (Some(2), Some(3)));
        check(ReplayLimit::Set(2), &[TimedOut; 3], (Some(2), Some(3)));
        check(ReplayLimit::Set(2), &[Lost; 3], (Some(2), Some(3)));
        check(ReplayLimit::Set(300), &[Failed; 301], (Some(300), Some(301)));
        check(ReplayLimit::Set(0), &[Failed], (Some(0), Some(1)));
        check(ReplayLimit::Unbounded, &[Failed; 1000], (None, None));
        check(ReplayLimit::Bounded, &[Failed; 11], (Some(max), Some(max + 1)));
        check(ReplayLimit::Bounded, &[Lost; 1000], (None, None));
        let after_losses = [vec![Lost; 50], vec![TimedOut; 11]].concat();
        check(ReplayLimit::Bounded, &after_losses, (Some(60), Some(61)));
    }

    #[test]
    fn a_bolt_with_a_higher_limit_has_the_word() {
        let mut pending = pending(ReplayLimit::Set(1));
        for failures in 1..=5 {
            let Anchor { root, message, attempt, .. } = emit_alone(&mut pending, 1);
            assert_eq!(attempt.is_last(), failures > 1);
            let failed = pending.fail(root, message, FAILED).expect("it is open");
            assert_eq!((failed.failures, failed.is_final), (failures, false));
        }
    }

    #[test]
    fn blocks_expire_at_their_deadline_and_not_before() {
        let mut pending = pending(ReplayLimit::Unbounded);
        emit(&mut pending, [1], 0);
        emit(&mut pending, [2], 5);
        assert!(expired(&mut pending, 9).is_empty());
        assert_eq!(expired(&mut pending, 10), [1]);
        assert!(expired(&mut pending, 14).is_empty());
        assert_eq!(expired(&mut pending, 15), [2]);
        assert_eq!(pending.next_deadline(), None);
    }

    #[test]
    fn a_reset_gives_the_whole_timeout_again() {
        let mut pending = pending(ReplayLimit::Unbounded);
        let root = emit(&mut pending, [1], 0)[0];
        pending.reset_timeout(root, seconds(9));
        assert!(expired(&mut pending, 18).is_empty());
        assert_eq!(expired(&mut pending, 19), [1]);
    }

    #[test]
    fn a_slot_comes_back_with_another_generation() {
        let mut pending = pending(ReplayLimit::Unbounded);
        let first = emit(&mut pending, [1], 0)[0];
        pending.complete(first, |_| ());
        let second = emit(&mut pending, [2], 1)[0];
        assert_eq!(first.slot(), second.slot());
        assert_ne!(first, second);
        assert!(expired(&mut pending, 10).is_empty(), "the first block's deadline is stale");
        assert_eq!(pending.fail(first, 0, FAILED), None);
    }

    #[test]
    fn a_ring_of_done_blocks_does_not_grow() {
        let mut pending = pending(ReplayLimit::Unbounded);
        for n in 0..1000 {
            let root = emit(&mut pending, [n], 0)[0];
            pending.complete(root, |_| ());
        }
        assert!(pending.ring.len() <= 1, "{}", pending.ring.len());
    }
}
