//! The source of a spout behind a write-ahead log: it emits into stages of its own, whose batches are the records of the
//! log.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use smol_str::SmolStr;

use crate::api::{
    Chosen, EmitError, FailureCause, OpenMessages, OutputCollector, OutputState, Spout, SpoutOutputs,
    SpoutStatus, Stage, TaskError,
};
use crate::ids::{MessageId, RootId, TaskId};
use crate::logging::panics::catch_unwind;
use crate::tuple::{Anchor, TupleBatch, Value, codec};

/// Rows and bytes of a group, at the least, when more are at hand.
const GROUP_ROWS: usize = 2048;
const GROUP_BYTES: usize = 512 << 10;
/// Rows of a record, about.
const RECORD_ROWS: usize = 512;
/// A spout that cannot go back, and what it emitted since the last group.
pub struct Source {
    pub spout: Box<dyn Spout>,
    outputs: OutputState,
    pub collected: Collected,
    /// What its last call came to.
    pub status: Result<SpoutStatus, TaskError>,
    pub is_exhausted: bool,
    /// Whether it waits in its calls: then each row is a group, so that it does not wait for the next one.
    waits: bool,
}

impl Source {
    /// A source that has emitted nothing. `outputs`: what it emits into.
    /// `waits`: whether it waits in its calls.
    pub fn new(spout: Box<dyn Spout>, outputs: OutputState, waits: bool) -> Source {
        let (collected, status) = (Collected::default(), Ok(SpoutStatus::Emitted));
        Source { spout, outputs, collected, status, is_exhausted: false, waits }
    }

    /// Has it emit until it pauses, or a group is full. `Err`: it panicked.
    pub fn read(&mut self) -> Result<(), Box<dyn Any + Send>> {
        if self.is_exhausted {
            self.status = Ok(SpoutStatus::Exhausted);
            return Ok(());
        }
        self.status = Ok(SpoutStatus::Emitted);
        while matches!(self.status, Ok(SpoutStatus::Emitted)) && !self.is_group_full() {
            let (spout, outputs, collected) = (&mut self.spout, &mut self.outputs, &mut self.collected);
            let call = || spout.next_tuple(&mut SpoutOutputs::new(outputs, collected));
            self.status = catch_unwind(AssertUnwindSafe(call))?;
            self.keep_order();
            if self.waits && self.row_count() > 0 {
                break;
            }
        }
        Ok(())
    }

    /// Asks it to read no more than it has at hand. Whether it can be asked is its own affair.
    pub fn pause(&mut self) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.spout.deactivate()));
    }

    /// Acknowledges what it has emitted.
    pub fn ack(&mut self) -> Result<(), TaskError> {
        let Source { spout, collected, .. } = self;
        collected.messages.drain(..).try_for_each(|message| spout.ack(message))
    }

    fn is_group_full(&self) -> bool {
        let bytes: usize = self.outputs.stages.iter().map(|stage| stage.batch.heap).sum();
        self.row_count() >= GROUP_ROWS || self.collected.bytes + bytes >= GROUP_BYTES
    }

    /// Rows that are not in the log.
    pub fn row_count(&self) -> usize {
        let open: usize = self.outputs.stages.iter().map(|stage| stage.batch.len()).sum();
        open + self.collected.row_count
    }

    /// Rows of several streams stay in the order in which they were emitted.
    fn keep_order(&mut self) {
        if self.outputs.stages.len() > 1 {
            self.collect();
        }
    }

    pub fn collect(&mut self) {
        for stage in &mut self.outputs.stages {
            self.collected.take(stage);
        }
    }
}

/// What a source emitted, in the place of the runtime.
#[derive(Default)]
pub struct Collected {
    pub rows: Vec<LoggedRows>,
    /// Those of the group that is read, and their bytes.
    row_count: usize,
    bytes: usize,
    pub messages: Vec<MessageId>,
    pub errors: Vec<TaskError>,
    pub drain_requested: bool,
}

impl Collected {
    /// Takes what is in a stage.
    fn take(&mut self, stage: &mut Stage) {
        if stage.batch.is_empty() {
            return;
        }
        let empty = TupleBatch::new(stage.batch.arity as usize);
        let mut batch = std::mem::replace(&mut stage.batch, empty);
        stage.direct.clear();
        self.row_count += batch.len();
        self.bytes += batch.heap;
        match self.rows.last_mut() {
            Some(last) if last.stream == stage.stream.name && last.batch.len() < RECORD_ROWS => {
                last.batch.append(&mut batch);
            }
            _ => self.rows.push(LoggedRows { stream: stage.stream.name.clone(), batch }),
        }
    }

    pub fn take_rows(&mut self) -> Vec<LoggedRows> {
        (self.row_count, self.bytes) = (0, 0);
        std::mem::take(&mut self.rows)
    }
}

impl OutputCollector for Collected {
    fn route(&mut self, _index: usize, stage: &mut Stage) {
        self.take(stage);
    }

    /// Which tasks get a tuple is decided when it is emitted, and the source is not told.
    fn choose(&mut self, _index: usize, _row: &[Value], _tasks: &mut Vec<TaskId>) -> Vec<Chosen> {
        Vec::new()
    }

    fn route_chosen(&mut self, _index: usize, stage: &mut Stage, _chosen: &[Chosen]) {
        self.take(stage);
    }

    fn is_direct_target(&self, _index: usize, _task: TaskId) -> bool {
        false
    }

    fn keep_edge(&mut self, _root: RootId) -> u64 {
        0
    }

    fn renew_edge(&mut self, _anchor: &mut Anchor) {}

    fn ack(&mut self, _anchors: &[Anchor]) {}

    fn fail(&mut self, _anchors: &[Anchor], _cause: FailureCause) {}

    fn reset_timeout(&mut self, _anchors: &[Anchor]) {}

    fn open_message(&mut self, id: MessageId, _open: &mut OpenMessages) -> Anchor {
        self.messages.push(id);
        Anchor::NONE
    }

    fn takes_splits(&self) -> bool {
        false
    }

    fn is_in_split(&self, _split: &str) -> bool {
        true
    }

    fn begin_split(&mut self, _split: &str) {}

    fn end_split(&mut self, _split: &str) {}

    fn report(&mut self, error: TaskError) {
        self.errors.push(error);
    }

    fn request_drain(&mut self) {
        self.drain_requested = true;
    }
}

/// Rows of one stream: a record of the log.
///
/// ```text
///  length of the name(2) · name of the stream · batch, as peers send it
/// ```
pub struct LoggedRows {
    stream: SmolStr,
    batch: TupleBatch,
}

impl LoggedRows {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = (self.stream.len() as u16).to_le_bytes().to_vec();
        bytes.extend(self.stream.as_bytes());
        codec::encode(&self.batch, &mut bytes).expect("a stage refuses what nests too deep");
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<LoggedRows, String> {
        let cut = || "it is cut short".to_owned();
        let (len, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
        let (stream, batch) = rest.split_at_checked(u16::from_le_bytes(*len).into()).ok_or_else(cut)?;
        let stream = std::str::from_utf8(stream).map_err(|error| error.to_string())?;
        let batch = codec::decode(batch).map_err(|error| error.to_string())?;
        Ok(LoggedRows { stream: stream.into(), batch })
    }

    pub fn emit(&self, out: &mut SpoutOutputs<'_>) -> Result<(), EmitError> {
        (0..self.batch.len()).try_for_each(|row| out.emit_to(&self.stream, self.batch.row(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss and a fatal error are what they are to the runtime, although the source reports them to the log.
    #[test]
    fn a_reported_error_stays_what_it_is() {
        let mut collected = Collected::default();
        collected.report(
            EmitError::UnknownStream {
                component: "queue".into(),
                stream: "x".into(),
                declared: String::new(),
            }
            .into(),
        );
        collected.report(TaskError::fatal("it cannot work"));
        assert!(collected.errors[0].is_refused_emit() && collected.errors[1].is_fatal());
    }
}
