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
//! CRC is the same for all files.) `snapshot_reader` reads it.

pub(super) const MAGIC: &[u8; 8] = b"SQUALLCK";
pub(super) const VERSION: u32 = 1;
/// Stands where a length would, after the last chunk.
pub(super) const END: u32 = u32::MAX;
/// Bytes of a checksum.
pub(super) const CRC: usize = 4;
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

fn chunk_crc(len: [u8; 4], chunk: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&len), chunk)
}
