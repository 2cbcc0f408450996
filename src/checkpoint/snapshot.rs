//! The bytes of a snapshot file: what a task kept, in chunks.
//!
//! ```text
//!  | SQUALLCK | version u32 |                                    little endian
//!  | length u32 | crc32c u32 of length and bytes | bytes |       as often as there are chunks
//!  | FFFFFFFF | chunks u64 | crc32c u32 of all before it |       the end
//! ```
//!
//! The manifest repeats the size of the file and the checksum at its end, so a file that was exchanged for another
//! one of ours is noticed, too. (A checksum of the whole file would not do: a CRC over bytes that end with their own
//! CRC is the same for all files.) A length is checked against what is left before it is used.

use std::io::{self, ErrorKind};

use bytes::{Buf as _, Bytes};

use crate::checkpoint::error::{CheckpointError, Flaw, damaged};
use crate::checkpoint::manifest::SnapshotFile;

const MAGIC: &[u8; 8] = b"SQUALLCK";
const VERSION: u32 = 1;
/// Stands where a length would, after the last chunk.
const END: u32 = u32::MAX;
/// Bytes of a checksum.
const CRC: usize = 4;
/// The longest chunk.
pub(super) const CHUNK_MAX: usize = 1 << 30;

const _: () = assert!(CHUNK_MAX < END as usize);

/// Frames the chunks of one file. It keeps none of them.
#[derive(Debug, Default)]
pub(super) struct SnapshotWriter {
    chunks: u64,
    bytes: u64,
    /// Of all bytes so far.
    crc: u32,
}

impl SnapshotWriter {
    /// The bytes to append for a chunk, which is at most [`CHUNK_MAX`] long.
    pub(super) fn chunk(&mut self, chunk: &[u8]) -> Vec<u8> {
        let len = u32::try_from(chunk.len()).expect("the caller has checked the length").to_le_bytes();
        let mut out = Vec::with_capacity(MAGIC.len() + 12 + chunk.len());
        self.begin(&mut out);
        out.extend_from_slice(&len);
        out.extend_from_slice(&chunk_crc(len, chunk).to_le_bytes());
        out.extend_from_slice(chunk);
        self.chunks += 1;
        self.count(&out);
        out
    }

    /// The bytes to append at the end, and the checksum that they contain.
    pub(super) fn end(&mut self) -> (Vec<u8>, u32) {
        let mut out = Vec::new();
        self.begin(&mut out);
        out.extend_from_slice(&END.to_le_bytes());
        out.extend_from_slice(&self.chunks.to_le_bytes());
        let crc = crc32c::crc32c_append(self.crc, &out);
        out.extend_from_slice(&crc.to_le_bytes());
        self.count(&out);
        (out, crc)
    }

    /// Bytes of the file so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn begin(&self, out: &mut Vec<u8>) {
        if self.bytes == 0 {
            out.extend_from_slice(MAGIC);
            out.extend_from_slice(&VERSION.to_le_bytes());
        }
    }

    fn count(&mut self, out: &[u8]) {
        self.bytes += out.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, out);
    }
}

/// The chunks of a file that a manifest names. `read` is what the storage has returned for its name, with the length
/// of the file as the limit.
pub(super) fn read_chunks(
    file: &SnapshotFile,
    read: io::Result<Vec<u8>>,
    location: String,
) -> Result<Vec<Bytes>, CheckpointError> {
    read_checked(file, read, location).map(|(_, chunks)| chunks)
}

/// The bytes of a file that a manifest names, which were checked, and its chunks.
pub(super) fn read_checked(
    file: &SnapshotFile,
    read: io::Result<Vec<u8>>,
    location: String,
) -> Result<(Bytes, Vec<Bytes>), CheckpointError> {
    let SnapshotFile { name, bytes: expected, crc32c } = file;
    let read = match read {
        Ok(bytes) if bytes.len() as u64 != *expected => {
            Err(damaged(format!("{} of its {expected} bytes are there", bytes.len())))
        }
        Ok(bytes) => {
            let bytes = Bytes::from(bytes);
            chunks(&bytes, *crc32c).map(|chunks| (bytes, chunks))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(damaged("it is missing")),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            Err(damaged(format!("it is longer than the {expected} bytes that were written")))
        }
        Err(source) => {
            return Err(CheckpointError::Io { action: "read", file: name.clone(), location, source });
        }
    };
    read.map_err(|flaw| flaw.of(name, location))
}

/// The chunks of a file, as views of its bytes. `crc` is the checksum that its writer returned.
pub(super) fn chunks(file: &Bytes, crc: u32) -> Result<Vec<Bytes>, Flaw> {
    let Some((summed, end)) = file.split_last_chunk::<CRC>() else { return Err(cut()) };
    let found = u32::from_le_bytes(*end);
    if found != crc32c::crc32c(summed) {
        return Err(damaged("its checksum is wrong, so some of it was lost or changed"));
    }
    if found != crc {
        return Err(damaged("its checksum is not the one that was noted for it, so it is another file"));
    }
    if !file.starts_with(MAGIC) {
        return Err(damaged("it is no snapshot of squall"));
    }
    let mut left = file.slice(MAGIC.len()..summed.len());
    let version = u32_of(&mut left)?;
    if version > VERSION {
        return Err(Flaw::Newer { version, supported: VERSION });
    }
    frames(left)
}

/// The chunks between version and checksum.
fn frames(mut left: Bytes) -> Result<Vec<Bytes>, Flaw> {
    let mut chunks = Vec::new();
    loop {
        let len = u32_of(&mut left)?;
        if len == END {
            break;
        }
        let crc = u32_of(&mut left)?;
        if left.len() < len as usize {
            return Err(cut());
        }
        let chunk = left.split_to(len as usize);
        if crc != chunk_crc(len.to_le_bytes(), &chunk) {
            return Err(damaged(format!("the checksum of its chunk {} is wrong", chunks.len())));
        }
        chunks.push(chunk);
    }
    let count = left.try_get_u64_le().map_err(|_| cut())?;
    if count != chunks.len() as u64 {
        return Err(damaged(format!("it has {} chunks, and states that it has {count}", chunks.len())));
    }
    match left.len() {
        0 => Ok(chunks),
        more => Err(damaged(format!("{more} bytes follow its end"))),
    }
}

fn chunk_crc(len: [u8; 4], chunk: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&len), chunk)
}

fn u32_of(left: &mut Bytes) -> Result<u32, Flaw> {
    left.try_get_u32_le().map_err(|_| cut())
}

fn cut() -> Flaw {
    damaged("it ends too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(chunks: &[&[u8]]) -> (Bytes, u32) {
        let mut writer = SnapshotWriter::default();
        let mut file: Vec<u8> = chunks.iter().flat_map(|chunk| writer.chunk(chunk)).collect();
        let (end, crc) = writer.end();
        file.extend(end);
        assert_eq!(writer.bytes(), file.len() as u64);
        (file.into(), crc)
    }

    /// What is read from a file that was changed by somebody who made its checksum right.
    fn changed(file: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<Bytes>, Flaw> {
        let mut bytes = file[..file.len() - CRC].to_vec();
        change(&mut bytes);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend(crc.to_le_bytes());
        chunks(&bytes.into(), crc)
    }

    #[test]
    fn chunks_come_back() {
        let check = |written: &[&[u8]]| {
            let (file, crc) = file(written);
            assert_eq!(chunks(&file, crc).expect("it is whole"), written);
        };
        check(&[]);
        check(&[b""]);
        check(&[b"storm", b"", b"rain"]);
    }

    #[test]
    fn every_flipped_bit_every_cut_and_every_addition_is_noticed() {
        let (file, crc) = file(&[b"storm", b"", b"rain"]);
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.to_vec();
                flipped[at] ^= 1 << bit;
                assert!(chunks(&flipped.into(), crc).is_err(), "byte {at}, bit {bit}");
            }
            assert!(chunks(&file.slice(..at), crc).is_err(), "cut at {at}");
        }
        assert!(chunks(&[&file[..], b"x"].concat().into(), crc).is_err());
    }

    #[test]
    fn another_file_of_the_same_length_is_noticed() {
        let ((storm, crc), (other, other_crc)) = (file(&[b"storm"]), file(&[b"hails"]));
        assert_eq!(crc32c::crc32c(&storm), crc32c::crc32c(&other), "why the whole file is not summed");
        assert_ne!(crc, other_crc);
        let refused = damaged("its checksum is not the one that was noted for it, so it is another file");
        assert_eq!(chunks(&other, crc), Err(refused));
    }

    #[test]
    fn what_was_made_wrong_is_refused() {
        let (file, _) = file(&[b"storm"]);
        let check =
            |change: fn(&mut Vec<u8>), expected: Flaw| assert_eq!(changed(&file, change), Err(expected));
        check(|bytes| bytes[0] = b'x', damaged("it is no snapshot of squall"));
        check(|bytes| bytes[8] = 2, Flaw::Newer { version: 2, supported: 1 });
        check(|bytes| bytes[12] = 4, damaged("the checksum of its chunk 0 is wrong"));
        check(|bytes| bytes[12..16].copy_from_slice(&(END - 1).to_le_bytes()), cut());
        check(|bytes| bytes[20] = b'x', damaged("the checksum of its chunk 0 is wrong"));
        check(|bytes| bytes[29] = 2, damaged("it has 1 chunks, and states that it has 2"));
        check(|bytes| bytes.push(0), damaged("1 bytes follow its end"));
        for len in 0..file.len() - CRC {
            assert!(changed(&file, |bytes| bytes.truncate(len)).is_err(), "cut at {len}");
        }
    }
}
