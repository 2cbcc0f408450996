//! What executors of different workers send each other, as bytes.
//!
//! The tuples of a batch are in the codec of `tuple`. The rest is fixed-width and little endian, because
//! it is small and read once. The bytes come from an authenticated peer and have a checksum, yet they are
//! not trusted: each count is compared with the bytes that are left before anything is allocated.
//!
//! ```text
//!  data      link(4) · source task(4) · stream(2) · local task(4) · tuples(4) · charged(4) · batch
//!  acks      executor(4) · membership(8) · six counts(4): touched, fails, forgets, inits, acks, resets
//!            · root(8) touched(4) … · root(8) message(1) cause(1) … · root(8) …
//!            · root(8) xor(8) … · root(8) xor(8) … · root(8) …
//!  outcomes  executor(4) · n(4) · kind(1) root(8) message(1) cause(1) …
//!  barrier   link(4) · epoch(8) · number(8) · txid(8) · last(1) · full(1)
//!  time      link(4) · idle(1) · watermark(8), which is 0 with idle
//!  cause     the cause's place among all, and 128 more if the message is given up
//! ```

use bytes::{Buf, Bytes};

use crate::api::FailureCause;
use crate::config::limits::BLOCK_MESSAGES_MAX;
use crate::event_time::TimeMark;
use crate::ids::{CheckpointId, LinkId, RootId, TaskId, WorkerSet};
use crate::runtime::acking::acker::Outcome;
use crate::runtime::acking::records::{AckRecords, FailureReport};
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::charge::LinkCredit;
use crate::runtime::flow::outlet::HEADROOM;
use crate::topology::plan::ExecutorId;
use crate::tuple::codec::{self, CodecError};
use crate::tuple::{MessageIndex, Timestamp, TupleBatch};

/// Why a payload is refused. A correct sender of the same version never causes one of these errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It ends too early, or a count in it is too high.
    #[error("a payload ends too early")]
    Truncated,
    /// Bytes follow its end.
    #[error("{0} bytes follow the end of a payload")]
    Trailing(usize),
    /// It contains a number that names nothing.
    #[error("a payload names {what} {number}, which does not exist")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// The number.
        number: u64,
    },
}

/// What stands before the batch of a data payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// The link whose credit it holds.
    pub link: LinkId,
    /// The task that emitted it.
    pub source: TaskId,
    /// Which of its component's streams.
    pub stream: u16,
    /// The target, counted from the first task of its executor.
    pub local_task: u32,
    /// Tuples in it.
    pub tuples: u32,
    /// Bytes that the link was charged.
    pub charged: u32,
}

impl DataHeader {
    /// What the link was charged for the batch.
    pub fn credit(&self) -> LinkCredit {
        LinkCredit { link: self.link, tuples: self.tuples.into(), bytes: self.charged.into() }
    }
}

const DATA_HEADER: usize = 22;

/// A batch with its header, after [`HEADROOM`] free bytes.
///
/// # Errors
/// When a value nests too deep.
pub fn encode_data(header: &DataHeader, batch: &TupleBatch) -> Result<Vec<u8>, CodecError> {
    // A rough estimate: 10 bytes for each value beside its text, and the bytes of the tracking.
    let values = batch.rows.values().len();
    let tracking = batch.msgs.len() + 20 * batch.runs.len() + 20 * batch.extras.len();
    let mut out = Vec::with_capacity(HEADROOM + DATA_HEADER + 32 + batch.heap + 10 * values + tracking);
    out.resize(HEADROOM, 0);
    out.extend_from_slice(&header.link.0.to_le_bytes());
    out.extend_from_slice(&header.source.0.to_le_bytes());
    out.extend_from_slice(&header.stream.to_le_bytes());
    out.extend_from_slice(&header.local_task.to_le_bytes());
    out.extend_from_slice(&header.tuples.to_le_bytes());
    out.extend_from_slice(&header.charged.to_le_bytes());
    codec::encode(batch, &mut out)?;
    Ok(out)
}

/// The header of a data payload. The bytes of the batch remain in `payload`.
///
/// # Errors
/// When it is too short.
pub fn decode_data_header(payload: &mut Bytes) -> Result<DataHeader, PayloadError> {
    let mut reader = Reader(payload);
    Ok(DataHeader {
        link: LinkId(reader.u32()?),
        source: TaskId(reader.u32()?),
        stream: reader.u16()?,
        local_task: reader.u32()?,
        tuples: reader.u32()?,
        charged: reader.u32()?,
    })
}

/// A barrier on a link, after [`HEADROOM`] free bytes.
pub fn encode_barrier(link: LinkId, barrier: Barrier) -> Vec<u8> {
    let Barrier { checkpoint, full, txid, last } = barrier;
    let mut out = vec![0; HEADROOM];
    out.extend_from_slice(&link.0.to_le_bytes());
    out.extend_from_slice(&checkpoint.epoch.to_le_bytes());
    out.extend_from_slice(&checkpoint.number.to_le_bytes());
    out.extend_from_slice(&txid.to_le_bytes());
    out.push(u8::from(last));
    out.push(u8::from(full));
    out
}

/// The link and the barrier.
///
/// # Errors
/// When it is not what [`encode_barrier`] writes.
pub fn decode_barrier(mut payload: Bytes) -> Result<(LinkId, Barrier), PayloadError> {
    let mut reader = Reader(&mut payload);
    let link = LinkId(reader.u32()?);
    let checkpoint = CheckpointId { epoch: reader.u64()?, number: reader.u64()? };
    let txid = reader.u64()?;
    let mut switch = |what| match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(PayloadError::Unknown { what, number: u64::from(other) }),
    };
    let (last, full) = (switch("place of a checkpoint")?, switch("kind of snapshot")?);
    reader.end()?;
    Ok((link, Barrier { checkpoint, full, txid, last }))
}

/// How far event time is on a link, after [`HEADROOM`] free bytes.
pub fn encode_time(link: LinkId, mark: TimeMark) -> Vec<u8> {
    let (idle, watermark) = match mark {
        TimeMark::Watermark(watermark) => (0, watermark.0),
        TimeMark::Idle => (1, 0),
    };
    let mut out = vec![0; HEADROOM];
    out.extend_from_slice(&link.0.to_le_bytes());
    out.push(idle);
    out.extend_from_slice(&watermark.to_le_bytes());
    out
}

/// The link, and how far event time is on it.
///
/// # Errors
/// When it is not what [`encode_time`] writes.
pub fn decode_time(mut payload: Bytes) -> Result<(LinkId, TimeMark), PayloadError> {
    let mut reader = Reader(&mut payload);
    let link = LinkId(reader.u32()?);
    let (idle, watermark) = (reader.u8()?, reader.u64()? as i64);
    reader.end()?;
    match (idle, watermark) {
        (0, watermark) => Ok((link, TimeMark::Watermark(Timestamp(watermark)))),
        (1, 0) => Ok((link, TimeMark::Idle)),
        (other, _) => Err(PayloadError::Unknown { what: "kind of watermark", number: other.into() }),
    }
}

/// Records for an acker, after [`HEADROOM`] free bytes.
pub fn encode_acks(acker: ExecutorId, records: &AckRecords) -> Vec<u8> {
    let AckRecords { membership, touched, fails, forgets, inits, acks, resets } = records;
    let roots = forgets.len() + resets.len();
    let len = 36 + 12 * touched.len() + 10 * fails.len() + 8 * roots + 16 * (inits.len() + acks.len());
    let mut out = Vec::with_capacity(HEADROOM + len);
    out.resize(HEADROOM, 0);
    out.extend_from_slice(&acker.0.to_le_bytes());
    out.extend_from_slice(&membership.to_le_bytes());
    for count in [touched.len(), fails.len(), forgets.len(), inits.len(), acks.len(), resets.len()] {
        out.extend_from_slice(&(count as u32).to_le_bytes());
    }
    for (root, touched) in touched {
        out.extend_from_slice(&root.0.to_le_bytes());
        out.extend_from_slice(&touched.0.to_le_bytes());
    }
    for (root, message, report) in fails {
        out.extend_from_slice(&root.0.to_le_bytes());
        out.extend_from_slice(&[*message, report_byte(*report)]);
    }
    forgets.iter().for_each(|root| out.extend_from_slice(&root.0.to_le_bytes()));
    for (root, xor) in inits.iter().chain(acks) {
        out.extend_from_slice(&root.0.to_le_bytes());
        out.extend_from_slice(&xor.to_le_bytes());
    }
    resets.iter().for_each(|root| out.extend_from_slice(&root.0.to_le_bytes()));
    out
}

/// The acker's executor, and the records.
///
/// # Errors
/// When it is not what [`encode_acks`] writes.
pub fn decode_acks(mut payload: Bytes) -> Result<(ExecutorId, AckRecords), PayloadError> {
    let mut reader = Reader(&mut payload);
    let acker = ExecutorId(reader.u32()?);
    let membership = reader.u64()?;
    let mut counts = [0; 6];
    for count in &mut counts {
        *count = reader.u32()? as usize;
    }
    let [touched, fails, forgets, inits, acks, resets] = counts;
    let records = AckRecords {
        membership,
        touched: reader.many(touched, 12, |r| Ok((RootId(r.u64()?), WorkerSet(r.u32()?))))?,
        fails: reader.many(fails, 10, |r| Ok((RootId(r.u64()?), r.message()?, r.report()?)))?,
        forgets: reader.many(forgets, 8, |r| Ok(RootId(r.u64()?)))?,
        inits: reader.many(inits, 16, |r| Ok((RootId(r.u64()?), r.u64()?)))?,
        acks: reader.many(acks, 16, |r| Ok((RootId(r.u64()?), r.u64()?)))?,
        resets: reader.many(resets, 8, |r| Ok(RootId(r.u64()?)))?,
    };
    reader.end()?;
    Ok((acker, records))
}

/// Outcomes for a spout's executor, after [`HEADROOM`] free bytes.
pub fn encode_outcomes(spout: ExecutorId, outcomes: &[Outcome]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADROOM + 8 + 11 * outcomes.len());
    out.resize(HEADROOM, 0);
    out.extend_from_slice(&spout.0.to_le_bytes());
    out.extend_from_slice(&(outcomes.len() as u32).to_le_bytes());
    for outcome in outcomes {
        let (kind, message, report) = match outcome {
            Outcome::Complete(_) => (0, 0, 0),
            Outcome::Failed { message, report, .. } => (1, *message, report_byte(*report)),
            Outcome::Reset(_) => (2, 0, 0),
            Outcome::Lost(_) => (3, 0, 0),
        };
        out.push(kind);
        out.extend_from_slice(&outcome.root().0.to_le_bytes());
        out.extend_from_slice(&[message, report]);
    }
    out
}

/// The spout's executor, and the outcomes.
///
/// # Errors
/// When it is not what [`encode_outcomes`] writes.
pub fn decode_outcomes(mut payload: Bytes) -> Result<(ExecutorId, Vec<Outcome>), PayloadError> {
    let mut reader = Reader(&mut payload);
    let spout = ExecutorId(reader.u32()?);
    let count = reader.u32()? as usize;
    let outcomes = reader.many(count, 11, |r| {
        let (kind, root, message, report) = (r.u8()?, RootId(r.u64()?), r.message()?, r.report()?);
        match kind {
            0 => Ok(Outcome::Complete(root)),
            1 => Ok(Outcome::Failed { root, message, report }),
            2 => Ok(Outcome::Reset(root)),
            3 => Ok(Outcome::Lost(root)),
            _ => Err(PayloadError::Unknown { what: "outcome", number: u64::from(kind) }),
        }
    })?;
    reader.end()?;
    Ok((spout, outcomes))
}

/// Set in the byte of a cause: the message is given up.
const FINAL: u8 = 0x80;

fn report_byte(report: FailureReport) -> u8 {
    report.cause.index() as u8 | if report.is_final { FINAL } else { 0 }
}

struct Reader<'a>(&'a mut Bytes);

impl Reader<'_> {
    fn u8(&mut self) -> Result<u8, PayloadError> {
        self.0.try_get_u8().map_err(|_| PayloadError::Truncated)
    }

    fn u16(&mut self) -> Result<u16, PayloadError> {
        self.0.try_get_u16_le().map_err(|_| PayloadError::Truncated)
    }

    fn u32(&mut self) -> Result<u32, PayloadError> {
        self.0.try_get_u32_le().map_err(|_| PayloadError::Truncated)
    }

    fn u64(&mut self) -> Result<u64, PayloadError> {
        self.0.try_get_u64_le().map_err(|_| PayloadError::Truncated)
    }

    fn message(&mut self) -> Result<MessageIndex, PayloadError> {
        let message = self.u8()?;
        if u32::from(message) < BLOCK_MESSAGES_MAX {
            Ok(message)
        } else {
            Err(PayloadError::Unknown { what: "message", number: u64::from(message) })
        }
    }

    fn report(&mut self) -> Result<FailureReport, PayloadError> {
        let byte = self.u8()?;
        let cause = FailureCause::ALL.get(usize::from(byte & !FINAL)).copied();
        let cause = cause.ok_or(PayloadError::Unknown { what: "cause", number: u64::from(byte) })?;
        Ok(FailureReport { cause, is_final: byte & FINAL != 0 })
    }

    fn many<T>(
        &mut self,
        count: usize,
        each: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, PayloadError>,
    ) -> Result<Vec<T>, PayloadError> {
        if count > self.0.len() / each {
            return Err(PayloadError::Truncated);
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn end(&self) -> Result<(), PayloadError> {
        if self.0.is_empty() { Ok(()) } else { Err(PayloadError::Trailing(self.0.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(bytes: Vec<u8>) -> Bytes {
        Bytes::from(bytes).slice(HEADROOM..)
    }

    fn root(slot: u32) -> RootId {
        RootId::new(TaskId(2), slot, 9)
    }

    #[test]
    fn acks_and_outcomes_come_back_as_they_were() {
        let records = AckRecords {
            membership: 7,
            touched: vec![(root(1), WorkerSet(5))],
            fails: vec![
                (root(2), 63, FailureCause::Abandoned.into()),
                (root(2), 0, FailureReport { cause: FailureCause::Failed, is_final: true }),
            ],
            forgets: vec![root(3), root(4)],
            inits: vec![(root(5), u64::MAX)],
            acks: vec![(root(6), 1), (root(7), 2)],
            resets: vec![root(8)],
        };
        let bytes = payload(encode_acks(ExecutorId(3), &records));
        assert_eq!(decode_acks(bytes.clone()), Ok((ExecutorId(3), records)));
        for len in 0..bytes.len() {
            assert_eq!(decode_acks(bytes.slice(..len)).map(|_| ()), Err(PayloadError::Truncated));
        }

        let outcomes = vec![
            Outcome::Complete(root(1)),
            Outcome::Failed {
                root: root(2),
                message: 5,
                report: FailureReport { cause: FailureCause::Panicked, is_final: true },
            },
            Outcome::Failed { root: root(2), message: 6, report: FailureCause::Lost.into() },
            Outcome::Reset(root(3)),
            Outcome::Lost(root(4)),
        ];
        let bytes = payload(encode_outcomes(ExecutorId(1), &outcomes));
        assert_eq!(decode_outcomes(bytes), Ok((ExecutorId(1), outcomes)));
    }

    #[test]
    fn a_batch_comes_back_with_its_header() {
        let header = DataHeader {
            link: LinkId(4),
            source: TaskId(2),
            stream: 1,
            local_task: 3,
            tuples: 2,
            charged: 48,
        };
        let mut batch = TupleBatch::new(1);
        batch.rows.owned().extend([crate::tuple::Value::from("a"), crate::tuple::Value::from(7)]);
        batch.len = 2;
        let mut bytes = payload(encode_data(&header, &batch).expect("nothing nests"));
        assert_eq!(decode_data_header(&mut bytes), Ok(header));
        assert_eq!(codec::decode(&bytes).expect("as it was").rows.values(), batch.rows.values());
    }

    #[test]
    fn a_barrier_comes_back_with_its_link() {
        let checkpoint = CheckpointId { epoch: 3, number: u64::MAX };
        let barrier = Barrier { checkpoint, full: true, txid: 5, last: true };
        let bytes = payload(encode_barrier(LinkId(7), barrier));
        assert_eq!(decode_barrier(bytes.clone()), Ok((LinkId(7), barrier)));
        for len in 0..bytes.len() {
            assert_eq!(decode_barrier(bytes.slice(..len)), Err(PayloadError::Truncated));
        }
        let mut other = bytes.to_vec();
        *other.last_mut().expect("it has bytes") = 2;
        assert!(matches!(decode_barrier(Bytes::from(other)), Err(PayloadError::Unknown { .. })));
    }

    #[test]
    fn promises_are_not_believed() {
        let mut bytes = encode_outcomes(ExecutorId(1), &[])[HEADROOM..].to_vec();
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode_outcomes(Bytes::from(bytes)), Err(PayloadError::Truncated));
    }
}
