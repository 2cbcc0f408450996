//! Many tuples of one stream in flat vectors, with the anchors that track them.
//!
//! A batch is what moves between executors: one queue operation, one wake-up and one allocation
//! for hundreds of tuples. Its rows stand one after another in a single vector, so that writing a
//! tuple is a push and reading one is a slice.
//!
//! ```text
//!  rows   | w0 | w1 | w2 | w3 | w4 | w5 |      arity 1, six tuples
//!  runs   | root A, edge e1, 4 long | root B, edge e2, 2 long |
//!  msgs   | 0  | 0  | 1  | 1  | 0  | 7  |      message of the block
//!  extras                | 3: root C, edge e3, message 5 |
//! ```
//!
//! **Runs.** In Storm every tuple copy has an edge id of its own. Here consecutive tuples of one
//! tree that go to one target share an edge: a *run*. The reader acknowledges a run as a whole.
//! When it holds one tuple of the run, it draws a new edge for that tuple, which for the acker is the
//! same as emitting a child. So tracking costs a compare per tuple, not a random number and an
//! XOR, and the acker gets one record per tree and step.
//!
//! 1. `rows.len() == len * arity`.
//! 2. In a tracked batch the runs' lengths add up to `len`, and `msgs.len() == len`; an untracked
//!    batch has neither. An untracked tuple in a tracked batch is in a run of root 0.
//! 3. The edge id of a tracked run is not 0 once the batch has been sent.
//! 4. `extras` is sorted by tuple. It holds the second and further anchors of tuples with several.

use std::sync::Arc;

use super::value::Value;
use crate::ids::RootId;

/// Which message of a block, 0 to 63.
pub type MessageIndex = u8;

/// Which emit of its message a tuple descends from: how often the message had been replayed, and whether
/// this replay is its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt(u32);

impl Attempt {
    /// The first emit, of a message that may be replayed.
    pub const FIRST: Attempt = Attempt(0);
    /// The largest number of replays; further ones are not counted.
    pub const REPLAYS_MAX: u32 = u32::MAX >> 1;

    /// The attempt after so many replays.
    #[inline]
    pub fn new(replays: u32, is_last: bool) -> Attempt {
        Attempt(replays.min(Attempt::REPLAYS_MAX) << 1 | u32::from(is_last))
    }

    /// How often the message had been replayed: 0 for the first time it was sent.
    #[inline]
    pub fn replays(self) -> u32 {
        self.0 >> 1
    }

    /// Whether the spout does not replay the message again when a bolt fails it.
    #[inline]
    pub fn is_last(self) -> bool {
        self.0 & 1 == 1
    }

    /// The attempt as one number, for the binary form.
    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// The attempt from a number of [`Attempt::bits`].
    pub(super) fn from_bits(bits: u32) -> Attempt {
        Attempt(bits)
    }
}

/// Consecutive tuples of one tree on their way to one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The tree (block), or [`RootId::NONE`] for untracked tuples.
    pub root: RootId,
    /// The edge that all of the run's tuples share; drawn when the run is routed to its target.
    pub edge: u64,
    /// The number of tuples.
    pub len: u32,
    /// The attempt of the messages of this block.
    pub attempt: Attempt,
}

/// Ties a tuple to its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The tree (block), or [`RootId::NONE`] for an untracked tuple.
    pub root: RootId,
    /// The edge of the tuple itself.
    pub edge: u64,
    /// Which message of the block it descends from.
    pub message: MessageIndex,
    /// The attempt of that message.
    pub attempt: Attempt,
}

impl Anchor {
    /// The anchor of an untracked tuple.
    pub const NONE: Anchor = Anchor { root: RootId::NONE, edge: 0, message: 0, attempt: Attempt::FIRST };
}

/// The values of a batch: owned by its only reader, or shared by several.
#[derive(Clone, Debug)]
pub enum Rows {
    /// There is one reader, which may take values out.
    Owned(Vec<Value>),
    /// There are several readers, each of which clones the values that it keeps.
    Shared(Arc<Vec<Value>>),
}

impl Rows {
    /// All values, row after row.
    pub fn values(&self) -> &[Value] {
        match self {
            Rows::Owned(values) => values,
            Rows::Shared(values) => values,
        }
    }

    /// Makes the rows cheap to clone and returns a second handle to them.
    pub fn share(&mut self) -> Rows {
        if let Rows::Owned(values) = self {
            *self = Rows::Shared(Arc::new(std::mem::take(values)));
        }
        self.clone()
    }

    /// The vector to write to. Rows that were shared are copied first.
    #[inline]
    pub fn owned(&mut self) -> &mut Vec<Value> {
        if matches!(self, Rows::Shared(_)) {
            self.unshare();
        }
        let Rows::Owned(values) = self else { unreachable!("made owned above") };
        values
    }

    /// Apart from [`owned`](Rows::owned), which every emit calls, so that the compiler inlines that.
    #[cold]
    #[inline(never)]
    fn unshare(&mut self) {
        *self = Rows::Owned(self.values().to_vec());
    }
}

/// Many tuples of one stream. The header of the module has a picture and the rules.
#[derive(Clone, Debug)]
pub struct TupleBatch {
    /// The number of values per tuple.
    pub arity: u32,
    /// The number of tuples.
    pub len: u32,
    /// The values, row after row.
    pub rows: Rows,
    /// The runs: the trees that the tuples belong to. Empty when no tuple is tracked.
    pub runs: Vec<Run>,
    /// For each tuple, the message of its block. Empty when no tuple is tracked.
    pub msgs: Vec<MessageIndex>,
    /// The second and further anchors of tuples with several, as (tuple, anchor), sorted by tuple.
    pub extras: Vec<(u32, Anchor)>,
    /// Bytes of the values outside the rows ([`Value::heap_size`]), charged to the link with the rows.
    pub heap: usize,
}

/// When a batch under construction is full: by the number of its tuples, or by their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    tuples: u32,
    bytes: usize,
    /// Bytes of one row, without what its values hold outside it.
    row: usize,
    /// How many tuples that hold nothing outside their rows reach one of the two.
    rows: u32,
}

impl BatchLimits {
    /// Full at so many tuples of `arity` values, or at so many bytes. A single tuple always fits.
    pub fn new(tuples: u32, bytes: usize, arity: usize) -> BatchLimits {
        BatchLimits::at(tuples, bytes, arity * size_of::<Value>())
    }

    fn at(tuples: u32, bytes: usize, row: usize) -> BatchLimits {
        let by_bytes = bytes.checked_next_multiple_of(row).and_then(|bytes| bytes.checked_div(row));
        let rows = by_bytes.and_then(|rows| u32::try_from(rows).ok()).map_or(tuples, |rows| rows.min(tuples));
        BatchLimits { tuples, bytes, row, rows }
    }

    /// The limits for the tuples that follow in a batch, counted from its present end.
    pub fn beyond(&self, batch: &TupleBatch) -> BatchLimits {
        let bytes = batch.heap + batch.len as usize * self.row + self.bytes;
        BatchLimits::at(batch.len + self.tuples, bytes, self.row)
    }

    /// Whether a batch has reached a limit.
    #[inline]
    pub fn reached(&self, batch: &TupleBatch) -> bool {
        batch.len >= self.rows || (batch.heap > 0 && batch.heap + batch.len as usize * self.row >= self.bytes)
    }
}

impl TupleBatch {
    /// An empty batch for tuples of `arity` values.
    pub fn new(arity: usize) -> TupleBatch {
        TupleBatch {
            arity: arity as u32,
            len: 0,
            rows: Rows::Owned(Vec::new()),
            runs: Vec::new(),
            msgs: Vec::new(),
            extras: Vec::new(),
            heap: 0,
        }
    }

    /// Tuples in it.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it holds no tuple.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether any of its tuples may be tracked.
    pub fn is_tracked(&self) -> bool {
        !self.runs.is_empty()
    }

    /// The values of tuple `index`.
    pub fn row(&self, index: usize) -> &[Value] {
        let arity = self.arity as usize;
        &self.rows.values()[index * arity..(index + 1) * arity]
    }

    /// Bytes that a link is charged for the batch.
    pub fn charge(&self) -> usize {
        size_of_val(self.rows.values()) + self.heap
    }

    /// Notes the anchor of the row that was just written. To be called once per row in a tracked batch,
    /// never in an untracked one.
    #[inline]
    pub fn note_anchor(&mut self, root: RootId, message: MessageIndex, attempt: Attempt) {
        self.msgs.push(message);
        if let Some(last) = self.runs.last_mut()
            && last.root == root
        {
            last.len += 1;
            return;
        }
        self.runs.push(Run { root, edge: 0, len: 1, attempt });
    }

    /// Removes the tuples from number `len` on, and the values of a row that was not completed.
    pub fn truncate(&mut self, len: u32) {
        drop(self.split_off(len));
        let whole = self.len() * self.arity as usize;
        self.rows.owned().truncate(whole);
    }

    /// Moves the tuples from number `at` on into a batch of their own. A run that goes across is divided. The
    /// edges of the runs must not have been drawn yet.
    pub fn split_off(&mut self, at: u32) -> TupleBatch {
        let mut rest = TupleBatch::new(self.arity as usize);
        if at >= self.len {
            return rest;
        }
        let (from, to) = (at as usize * self.arity as usize, self.len() * self.arity as usize);
        rest.rows = Rows::Owned(self.rows.owned().drain(from..to).collect());
        rest.heap = rest.rows.values().iter().map(Value::heap_size).sum();
        rest.len = self.len - at;
        self.heap -= rest.heap;
        self.len = at;
        if self.is_tracked() {
            rest.msgs = self.msgs.split_off(at as usize);
            rest.runs = self.split_runs(at);
            let extras = self.extras.partition_point(|(tuple, _)| *tuple < at);
            rest.extras = self.extras.drain(extras..).map(|(tuple, anchor)| (tuple - at, anchor)).collect();
        }
        rest
    }

    /// Divides the runs at tuple `at`, and returns those from there on.
    fn split_runs(&mut self, at: u32) -> Vec<Run> {
        let (mut index, mut start) = (0, 0);
        while start + self.runs[index].len <= at {
            start += self.runs[index].len;
            index += 1;
        }
        let mut rest = self.runs.split_off(index);
        if start < at {
            self.runs.push(Run { len: at - start, ..rest[0] });
            rest[0].len -= at - start;
        }
        rest
    }

    /// Appends the tuples of another batch of the same stream.
    pub fn append(&mut self, other: &mut TupleBatch) {
        let len = self.len;
        self.rows.owned().append(other.rows.owned());
        self.runs.append(&mut other.runs);
        self.msgs.append(&mut other.msgs);
        self.extras.extend(other.extras.drain(..).map(|(tuple, anchor)| (tuple + len, anchor)));
        self.len += std::mem::take(&mut other.len);
        self.heap += std::mem::take(&mut other.heap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TaskId;

    #[test]
    fn neighbours_of_one_tree_share_a_run() {
        let (a, b) = (RootId::new(TaskId(1), 0, 1), RootId::new(TaskId(1), 1, 1));
        let mut batch = TupleBatch::new(1);
        for (root, message) in [(a, 0), (a, 0), (a, 1), (b, 0), (a, 2)] {
            batch.rows.owned().push(Value::from("w"));
            batch.len += 1;
            batch.note_anchor(root, message, Attempt::FIRST);
        }
        let runs: Vec<_> = batch.runs.iter().map(|run| (run.root, run.len)).collect();
        assert_eq!(runs, [(a, 3), (b, 1), (a, 1)]);
        assert_eq!(batch.msgs, [0, 0, 1, 0, 2]);
    }

    #[test]
    fn a_batch_is_divided_at_any_tuple_and_put_together_again() {
        let (a, b) = (RootId::new(TaskId(1), 0, 1), RootId::new(TaskId(1), 1, 1));
        let mut whole = TupleBatch::new(2);
        for (at, root) in [a, a, a, b, a, a].into_iter().enumerate() {
            let text = "w".repeat(at * 20);
            whole.heap += Value::from(&*text).heap_size();
            whole.rows.owned().extend([Value::from(at as i64), Value::from(text)]);
            whole.len += 1;
            whole.note_anchor(root, at as u8, Attempt::FIRST);
            if at % 2 == 1 {
                whole.extras.push((at as u32, Anchor { root: b, ..Anchor::NONE }));
            }
        }
        let runs = |batch: &TupleBatch| batch.runs.iter().map(|run| (run.root, run.len)).collect::<Vec<_>>();
        for at in 0..=6 {
            let mut front = whole.clone();
            let mut back = front.split_off(at);
            assert_eq!((front.len, back.len), (at, 6 - at));
            assert_eq!((front.msgs.len(), back.msgs.len()), (front.len(), back.len()));
            assert_eq!(front.runs.iter().chain(&back.runs).map(|run| run.len).sum::<u32>(), 6);
            assert!(back.extras.iter().all(|(tuple, _)| *tuple < back.len));
            let mut cut = whole.clone();
            cut.rows.owned().push(Value::from("of a row that was not completed"));
            cut.truncate(at);
            assert_eq!(cut.rows.values(), front.rows.values());
            assert_eq!((runs(&cut), cut.heap, &cut.extras), (runs(&front), front.heap, &front.extras));
            front.append(&mut back);
            assert_eq!(front.rows.values(), whole.rows.values());
            assert_eq!((front.len, front.heap, &front.msgs), (6, whole.heap, &whole.msgs));
            assert_eq!(front.extras, whole.extras);
            assert!(back.is_empty() && back.rows.values().is_empty() && back.heap == 0);
        }
        assert_eq!(runs(&whole.clone().split_off(2)), [(a, 1), (b, 1), (a, 2)]);
    }

    #[test]
    fn attempts_count_far_and_know_the_last() {
        let check = |replays, is_last, expected| {
            let attempt = Attempt::new(replays, is_last);
            assert_eq!((attempt.replays(), attempt.is_last()), (expected, is_last));
            assert_eq!(Attempt::from_bits(attempt.bits()), attempt);
        };
        check(0, false, 0);
        check(0, true, 0);
        check(300, true, 300);
        check(u32::MAX, false, Attempt::REPLAYS_MAX);
    }

    #[test]
    fn shared_rows_are_copied_only_when_written() {
        let mut first = Rows::Owned(vec![Value::from(1)]);
        let mut second = first.share();
        assert_eq!(first.values().as_ptr(), second.values().as_ptr());
        second.owned().push(Value::from(2));
        assert_eq!((first.values().len(), second.values().len()), (1, 2));
    }
}
