//! A source that gives each row out once, and cannot be asked for it again: as a queue, or standard input.
//!
//! What it has given out and was not acknowledged is lost with the process that has it. So which rows a run counts is known
//! afterwards only. The bolt `taken` publishes each row that comes of the log, and the verdict demands:
//!
//! 1. each row that was acknowledged is among them,
//! 2. each is there once, and was given out,
//! 3. everything else that the run publishes comes of exactly these rows.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::Timestamp;
use squall::prelude::*;

use crate::exactly_once::books::{Books, Chaos, Given};
use crate::exactly_once::components::{FIELDS, own_splits};
use crate::exactly_once::plan::Shape;
use crate::kit::lock;

/// A task that reads some splits of the queue.
pub struct Queue {
    shape: Arc<Shape>,
    chaos: Arc<Chaos>,
    given: Arc<Mutex<Given>>,
    spout: usize,
    splits: Vec<u64>,
    at: usize,
}

/// The n-th row of a split.
fn message(split: u64, n: u64) -> MessageId {
    MessageId(split << 32 | n)
}

impl Queue {
    pub fn new(shape: &Arc<Shape>, books: &Books, spout: usize) -> Queue {
        let (chaos, given) = (Arc::clone(&books.chaos), Arc::clone(&books.queue));
        Queue { shape: Arc::clone(shape), chaos, given, spout, splits: Vec::new(), at: 0 }
    }
}

impl Spout for Queue {
    fn declare(&self) -> Streams {
        Streams::new(FIELDS)
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.splits = own_splits(self.shape.splits[self.spout], context).collect();
        self.chaos.strike("open")
    }

    /// It may fail before it has taken a row, and also after it has emitted one.
    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        self.at += 1;
        let given = |split: u64| lock(&self.given).next.get(&split).copied().unwrap_or(0);
        let open: Vec<u64> =
            self.splits.iter().copied().filter(|split| given(*split) < self.shape.rows).collect();
        if open.is_empty() {
            return Ok(SpoutStatus::Exhausted);
        }
        self.chaos.strike("next_tuple of a queue")?;
        let split = open[self.at % open.len()];
        let n = given(split);
        let row = self.shape.row(self.spout, split, n);
        {
            let mut given = lock(&self.given);
            given.next.insert(split, n + 1);
            given.given.insert(row.id);
        }
        out.emit_tracked((row.id, row.key, Timestamp(row.at)), message(split, n))?;
        self.chaos.strike("next_tuple of a queue")?;
        match self.at % 3 {
            0 => Ok(SpoutStatus::IdleFor(Duration::from_millis(3))),
            _ => Ok(SpoutStatus::Emitted),
        }
    }

    fn ack(&mut self, MessageId(id): MessageId) -> Result<(), TaskError> {
        let row = self.shape.row(self.spout, id >> 32, id & u64::from(u32::MAX));
        {
            let mut given = lock(&self.given);
            if !given.given.contains(&row.id) || !given.acked.insert(row.id) {
                given.wrong.push(format!("row {} was acknowledged twice, or never given out", row.id));
            }
        }
        self.chaos.strike("ack of a queue")
    }
}
