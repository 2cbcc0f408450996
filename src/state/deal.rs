//! Deals out the snapshots of a task among the tasks that its component has now.
//!
//! Of a record only its key is read. What each task gets is a sequence of snapshots again, with the records that it may
//! need: those of its keys, and those of states without keys, which go to all. So a task restores what it gets as it
//! would restore the whole (`restore`), and reads much less.

use crate::state::error::StateError;
use crate::state::records::{Record, Records, write_end};
use crate::tuple::Value;

/// Bytes that wait for all tasks together, about.
const WAITING_MAX: usize = 16 << 20;
/// Bytes that wait for one task.
const CHUNK_MAX: usize = 64 << 10;
const CHUNK_MIN: usize = 4 << 10;

/// Gets chunks of whole records, each for the recipient of this number.
pub(crate) type PutChunk<'p, E> = dyn FnMut(usize, &[u8]) -> Result<(), E> + 'p;

/// Deals out the snapshots of one task.
pub(crate) struct Dealing<'o> {
    /// The recipient of a key. `None`: it is not among those that are dealt out to.
    owner: &'o dyn Fn(&[Value]) -> Option<usize>,
    recipients: Vec<Recipient>,
    chunk_len: usize,
    key: Vec<Value>,
}

#[derive(Clone, Default)]
struct Recipient {
    waiting: Vec<u8>,
    /// Records of the snapshot that is being read.
    records: u64,
}

impl<'o> Dealing<'o> {
    /// Among so many.
    pub(crate) fn new(recipients: usize, owner: &'o dyn Fn(&[Value]) -> Option<usize>) -> Dealing<'o> {
        let chunk_len = (WAITING_MAX / recipients.max(1)).clamp(CHUNK_MIN, CHUNK_MAX);
        Dealing { owner, recipients: vec![Recipient::default(); recipients], chunk_len, key: Vec::new() }
    }

    /// Reads a chunk: whole records. `put` gets chunks of whole records for a recipient.
    ///
    /// # Errors
    /// When the chunk is damaged, and what `put` returns.
    pub(crate) fn read<E: From<StateError>>(
        &mut self,
        chunk: &[u8],
        put: &mut PutChunk<'_, E>,
    ) -> Result<(), E> {
        let mut records = Records::new(chunk);
        while let Some((record, bytes)) = records.next_with_bytes(&mut self.key)? {
            match record {
                Record::Begin(_) => self.recipients.iter_mut().for_each(|recipient| {
                    recipient.records = 0;
                    recipient.waiting.extend_from_slice(bytes);
                }),
                Record::End { .. } => {
                    for recipient in &mut self.recipients {
                        write_end(recipient.records, &mut recipient.waiting).map_err(StateError::entry)?;
                    }
                }
                Record::Forget | Record::Value { .. } | Record::Remove { .. } => self.deal(bytes),
            }
        }
        self.pass_on(self.chunk_len, put)
    }

    /// All chunks were read.
    ///
    /// # Errors
    /// What `put` returns.
    pub(crate) fn finish<E>(mut self, put: &mut PutChunk<'_, E>) -> Result<(), E> {
        self.pass_on(1, put)
    }

    /// Gives a record to whoever may need it.
    fn deal(&mut self, bytes: &[u8]) {
        let to = match self.key.is_empty() {
            true => 0..self.recipients.len(),
            false => (self.owner)(&self.key).map_or(0..0, |owner| owner..owner + 1),
        };
        for recipient in self.recipients.get_mut(to).unwrap_or_default() {
            recipient.records += 1;
            recipient.waiting.extend_from_slice(bytes);
        }
    }

    /// Passes on what waits, if it has this length.
    fn pass_on<E>(&mut self, len: usize, put: &mut PutChunk<'_, E>) -> Result<(), E> {
        for (number, recipient) in self.recipients.iter_mut().enumerate() {
            if recipient.waiting.len() >= len {
                put(number, &recipient.waiting)?;
                recipient.waiting.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::state::records::{Begin, StateColumn, write_begin, write_forget, write_value};
    use crate::state::saved_in_memory::SavedStateReader;
    use crate::state::stored::Written;

    /// A full snapshot and some deltas, of a state by key and one without keys, in chunks of some records.
    fn snapshots(random: &mut StdRng) -> Vec<Vec<u8>> {
        let mut chunks = vec![Vec::new()];
        for number in 1..=random.random_range(1..4) {
            let column = |name: &str, kind: &str| StateColumn {
                name: name.to_owned(),
                kind: kind.to_owned(),
                of: "i64".to_owned(),
            };
            let states = vec![column("counts", "value"), column("all", "operator")];
            let begin = Begin { number, after: (number > 1).then(|| number - 1), states };
            write_begin(&begin, false, chunks.last_mut().expect("there is one")).expect("it can be written");
            let records = random.random_range(0..200);
            for _ in 0..records {
                if random.random_bool(0.1) {
                    chunks.push(Vec::new());
                }
                let out = chunks.last_mut().expect("there is one");
                let (key, byte) =
                    ([Value::from(random.random_range(0..40_i64))], random.random_range(0..0x7f));
                let written = Written::Plain(std::slice::from_ref(&byte));
                match random.random_range(0..10) {
                    0 => write_forget(&key, out),
                    1 => write_value(0, &key, None, out),
                    2 => write_value(1, &[], Some(written), out),
                    _ => write_value(0, &key, Some(written), out),
                }
                .expect("it can be written");
            }
            write_end(records, chunks.last_mut().expect("there is one")).expect("it can be written");
        }
        chunks
    }

    /// What snapshots have, by state and key.
    fn saved<'c>(chunks: impl IntoIterator<Item = &'c Vec<u8>>) -> BTreeMap<(String, Box<[Value]>), Vec<u8>> {
        let mut reader = SavedStateReader::default();
        chunks.into_iter().try_for_each(|chunk| reader.read(chunk)).expect("it is whole");
        let mut saved = BTreeMap::new();
        for state in reader.finish().expect("it is whole") {
            for (key, value) in &state.values {
                let (Written::Plain(bytes) | Written::Dated(bytes)) = value.written();
                saved.insert((state.name.to_string(), key.clone()), bytes.to_vec());
            }
        }
        saved
    }

    #[test]
    fn each_gets_its_keys_and_what_has_no_key() {
        let random = &mut StdRng::seed_from_u64(1);
        for _ in 0..200 {
            let chunks = snapshots(random);
            let recipients = random.random_range(1..5);
            // The last of the owners is elsewhere.
            let owner = |key: &[Value]| {
                let owner = key[0].as_i64().expect("a number") as usize % (recipients + 1);
                (owner < recipients).then_some(owner)
            };
            let mut dealt = vec![Vec::new(); recipients];
            let mut put = |to: usize, chunk: &[u8]| {
                dealt[to].push(chunk.to_vec());
                Ok::<(), StateError>(())
            };
            let mut dealing = Dealing::new(recipients, &owner);
            dealing.chunk_len = random.random_range(1..300);
            chunks.iter().try_for_each(|chunk| dealing.read(chunk, &mut put)).expect("it is whole");
            dealing.finish(&mut put).expect("it is whole");
            let whole = saved(&chunks);
            for (number, chunks) in dealt.iter().enumerate() {
                let mut expected = whole.clone();
                expected.retain(|(_, key), _| key.is_empty() || owner(key) == Some(number));
                assert_eq!(saved(chunks), expected);
            }
        }
    }

    #[test]
    fn what_is_no_snapshot_is_an_error() {
        let mut dealing = Dealing::new(2, &|_| Some(0));
        let mut put = |_: usize, _: &[u8]| Ok::<(), StateError>(());
        assert!(dealing.read(b"storm", &mut put).is_err());
    }
}
