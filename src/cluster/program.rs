//! The program of a user's that the processes of a topology run, as it is submitted: in pieces, each of which is a blob.
//!
//! A topology whose components are in a program of the user's names it in its
//! [`TopologySource`](crate::cluster::TopologySource). Nimbus never runs it: it places the outline of the topology.
//! Supervisors put the program together from its pieces, check its hash, and start masters and workers of the topology
//! with it.

use ring::digest::{Context, Digest, SHA256};
use serde::{Deserialize, Serialize};

use crate::cluster::blob_hash::BlobHash;
use crate::text::shown;
use crate::topology::TopologyOutline;

/// Bytes of a piece; the last one may have fewer.
pub const PIECE_BYTES: usize = 16 << 20;
/// Bytes of the largest program.
pub const PROGRAM_BYTES_MAX: u64 = 1 << 30;
/// Characters of the longest name.
const NAME_MAX: usize = 64;

/// A program, and the topology that it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its file.
    pub file: ProgramFile,
    /// The topology, for those that do not have the program.
    pub outline: TopologyOutline,
}

/// The file of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramFile {
    /// How it is called, so that people find it in lists of processes.
    name: String,
    /// The hash of the whole.
    hash: BlobHash,
    /// Its bytes.
    bytes: u64,
    /// The blobs that it consists of, in order.
    pieces: Vec<BlobHash>,
}

/// Why something is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// It has no bytes, or too many.
    #[error(
        "a program has 1 to {PROGRAM_BYTES_MAX} bytes, and this one has {0}: strip it of debug information"
    )]
    Size(u64),
    /// It has more or fewer pieces than it should.
    #[error(
        "a program of {bytes} bytes has {expected} pieces of {PIECE_BYTES} bytes, and this one has {pieces}"
    )]
    Pieces {
        /// Its bytes.
        bytes: u64,
        /// How many pieces it should have.
        expected: u64,
        /// How many it has.
        pieces: usize,
    },
    /// Its name could lead to another file.
    #[error(
        "`{0}` is no name of a program: letters, digits, `_`, `.` and `-`, at most {NAME_MAX}, not `.` or `..`"
    )]
    Name(String),
    /// The pieces are not those of the program.
    #[error(
        "the pieces of program `{name}` have {found_bytes} bytes with the hash {found}, and {bytes} bytes with the hash \
             {expected} are named"
    )]
    OtherHash {
        /// Its name.
        name: String,
        /// The bytes that the program has.
        bytes: u64,
        /// The hash that it has.
        expected: BlobHash,
        /// The bytes that were found.
        found_bytes: u64,
        /// The hash that was found.
        found: BlobHash,
    },
}

impl ProgramFile {
    /// The file with this content. What cannot be a name is replaced.
    ///
    /// # Errors
    /// When it is empty or too large.
    pub fn of(name: &str, content: &[u8]) -> Result<ProgramFile, ProgramError> {
        let name = if is_name(name) { name.to_owned() } else { "program".to_owned() };
        let pieces = content.chunks(PIECE_BYTES).map(BlobHash::of).collect();
        let file = ProgramFile { name, hash: BlobHash::of(content), bytes: content.len() as u64, pieces };
        file.check()?;
        Ok(file)
    }

    /// Whether its parts fit each other: it may come from anywhere.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), ProgramError> {
        if !is_name(&self.name) {
            return Err(ProgramError::Name(shown(&self.name)));
        }
        if self.bytes == 0 || self.bytes > PROGRAM_BYTES_MAX {
            return Err(ProgramError::Size(self.bytes));
        }
        let expected = self.bytes.div_ceil(PIECE_BYTES as u64);
        match self.pieces.len() as u64 == expected {
            true => Ok(()),
            false => {
                let (bytes, pieces) = (self.bytes, self.pieces.len());
                Err(ProgramError::Pieces { bytes, expected, pieces })
            }
        }
    }

    /// How its file is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hash of the whole.
    pub fn hash(&self) -> &BlobHash {
        &self.hash
    }

    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The blobs that it consists of, in order.
    pub fn pieces(&self) -> &[BlobHash] {
        &self.pieces
    }
}

/// Looks whether pieces, one after the other, are those of a program.
pub struct ProgramSum {
    context: Context,
    bytes: u64,
}

impl Default for ProgramSum {
    fn default() -> ProgramSum {
        ProgramSum { context: Context::new(&SHA256), bytes: 0 }
    }
}

impl ProgramSum {
    /// Takes the next piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.context.update(piece);
        self.bytes += piece.len() as u64;
    }

    /// Whether these were all pieces of the program.
    ///
    /// # Errors
    /// When they are those of another one.
    pub fn check(self, program: &ProgramFile) -> Result<(), ProgramError> {
        let digest: Digest = self.context.finish();
        let found = BlobHash::from_digest(&digest);
        match found == program.hash && self.bytes == program.bytes {
            true => Ok(()),
            false => Err(ProgramError::OtherHash {
                name: program.name.clone(),
                bytes: program.bytes,
                expected: program.hash.clone(),
                found_bytes: self.bytes,
                found,
            }),
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(is_legal) && !name.chars().all(|c| c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(pieces: &[&[u8]]) -> ProgramSum {
        let mut sum = ProgramSum::default();
        pieces.iter().for_each(|piece| sum.add(piece));
        sum
    }

    #[test]
    fn a_program_is_its_pieces() {
        let content: Vec<u8> = (0..PIECE_BYTES + 1).map(|at| at as u8).collect();
        let program = ProgramFile::of("words", &content).expect("it is one");
        assert_eq!(
            program.pieces(),
            [BlobHash::of(&content[..PIECE_BYTES]), BlobHash::of(&content[PIECE_BYTES..])]
        );
        let (first, second) = content.split_at(PIECE_BYTES);
        assert_eq!(sum(&[first, second]).check(&program), Ok(()));
        for others in [&[first][..], &[second, first], &[first, second, b"x"]] {
            assert!(matches!(sum(others).check(&program), Err(ProgramError::OtherHash { .. })));
        }
        let text = serde_json::to_string(&program).expect("it is JSON");
        assert_eq!(serde_json::from_str::<ProgramFile>(&text).expect("it is read"), program);
    }

    #[test]
    fn what_fits_no_program_is_refused() {
        assert_eq!(ProgramFile::of("words", b""), Err(ProgramError::Size(0)));
        let good = ProgramFile::of("words", b"elf").expect("it is one");
        let check = |change: fn(&mut ProgramFile)| {
            let mut changed = good.clone();
            change(&mut changed);
            changed.check().expect_err("it is refused")
        };
        assert!(matches!(check(|it| it.pieces.clear()), ProgramError::Pieces { .. }));
        assert!(matches!(check(|it| it.bytes = PIECE_BYTES as u64 + 1), ProgramError::Pieces { .. }));
        assert!(matches!(check(|it| it.bytes = u64::MAX), ProgramError::Size(_)));
        for name in ["", "..", "a/b", "../../bin/sh", "a b", "a\n"] {
            let refused = ProgramFile { name: name.to_owned(), ..good.clone() }.check();
            assert!(matches!(refused, Err(ProgramError::Name(_))), "{name}");
            let made = ProgramFile::of(name, b"elf").expect("another name is taken");
            assert_eq!(made.name(), "program");
        }
    }
}
