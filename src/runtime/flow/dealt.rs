//! The state of a component that had another number of tasks, dealt out among those of this process.
//!
//! Each of its tasks needs a part of each file. So that none of them reads all files, the executor that reads and checks
//! them writes the parts of each task into one scratch file.

use std::collections::BTreeMap;
use std::io;

use crate::checkpoint::Scratch;

/// What was dealt out. Written by the executor that writes checkpoints, and read by tasks.
#[derive(Debug)]
pub struct Dealt {
    scratch: Scratch,
    /// Bytes that were written.
    len: u64,
    /// By the index of the task that kept it, and then of the task that gets it.
    pieces: BTreeMap<u32, BTreeMap<u32, Vec<Piece>>>,
}

/// A chunk in the scratch file.
#[derive(Clone, Copy, Debug)]
struct Piece {
    offset: u64,
    len: usize,
}

impl Dealt {
    /// Nothing yet.
    pub fn new(scratch: Scratch) -> Dealt {
        Dealt { scratch, len: 0, pieces: BTreeMap::new() }
    }

    /// Adds a chunk of what the task `from` kept and the task `to` gets.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, from: u32, to: u32, chunk: &[u8]) -> io::Result<()> {
        let piece = Piece { offset: self.len, len: chunk.len() };
        self.scratch.write_at(chunk, piece.offset)?;
        self.len += chunk.len() as u64;
        self.pieces.entry(from).or_default().entry(to).or_default().push(piece);
        Ok(())
    }

    /// Passes on the chunks of what the task `from` kept and the task `to` gets, one at a time.
    ///
    /// # Errors
    /// When one cannot be read, and what `take` returns.
    pub fn for_each_chunk<E: From<io::Error>>(
        &self,
        from: u32,
        to: u32,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let pieces = self.pieces.get(&from).and_then(|to_each| to_each.get(&to));
        let mut chunk = Vec::new();
        for piece in pieces.into_iter().flatten() {
            chunk.resize(piece.len, 0);
            self.scratch.read_at(&mut chunk, piece.offset)?;
            take(&chunk)?;
        }
        Ok(())
    }
}
