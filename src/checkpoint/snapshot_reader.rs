//! Reads a snapshot file from its begin to its end, a piece at a time.
//!
//! 1. At most one chunk is in memory, and [`PIECE`] bytes of the file besides. A length that stands in the file makes
//!    nobody allocate more than was read so far, and a piece.
//! 2. A chunk is passed on when its own checksum was compared. That of the whole file stands at its end. So what a reader
//!    made of chunks does not count until the end was read without an error.
//! 3. What is wrong is named as if the file had been read whole first: its length, its checksum, whether it is another
//!    file, and then what stands in it. So a reader that finds something wrong reads the rest for the checksum.

use std::io::{self, BufReader, Read};

use crate::checkpoint::error::{Flaw, damaged};
use crate::checkpoint::manifest::SnapshotFile;
use crate::checkpoint::snapshot::{CRC, END, MAGIC, VERSION};

/// How much of a file is read at once.
const PIECE: usize = 64 << 10;

/// Why a file could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The storage failed.
    Io(io::Error),
    /// The bytes are not what was written.
    Flaw(Flaw),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

/// What stands where a chunk may begin.
enum Frame {
    Chunk,
    End,
}

/// A file that is being read.
pub(super) struct SnapshotReader<R> {
    input: BufReader<R>,
    /// Bytes before the checksum at the end that were not read.
    left: u64,
    /// Of all bytes so far.
    crc: u32,
    /// That the manifest has noted.
    noted: u32,
    chunks: u64,
    has_begun: bool,
}

impl<R: Read> SnapshotReader<R> {
    /// Of a file that a manifest names. `len`: how long it is.
    pub(super) fn new(file: &SnapshotFile, input: R, len: u64) -> Result<SnapshotReader<R>, Flaw> {
        let expected = file.bytes;
        if len < expected {
            return Err(damaged(format!("{len} of its {expected} bytes are there")));
        }
        if len > expected {
            return Err(damaged(format!("it is longer than the {expected} bytes that were written")));
        }
        let Some(left) = expected.checked_sub(CRC as u64) else { return Err(cut()) };
        let input = BufReader::with_capacity(PIECE, input);
        Ok(SnapshotReader { input, left, crc: 0, noted: file.crc32c, chunks: 0, has_begun: false })
    }

    /// Reads the next chunk, which replaces what stands in `chunk`. `false`: there is none, and the whole file was
    /// checked. After that, or an error, nothing more is to be read.
    pub(super) fn next(&mut self, chunk: &mut Vec<u8>) -> Result<bool, ReadError> {
        chunk.clear();
        self.next_piecewise(&mut |piece| chunk.extend_from_slice(piece))
    }

    /// Reads to the end, and checks everything.
    pub(super) fn check(&mut self) -> Result<(), ReadError> {
        while self.next_piecewise(&mut |_| {})? {}
        Ok(())
    }

    /// The same as [`next`](Self::next) for a chunk whose pieces are passed on before its checksum was compared.
    fn next_piecewise(&mut self, take: &mut dyn FnMut(&[u8])) -> Result<bool, ReadError> {
        match self.frame(take) {
            Ok(Frame::Chunk) => Ok(true),
            Ok(Frame::End) => {
                self.end()?;
                Ok(false)
            }
            Err(ReadError::Flaw(flaw)) => {
                while self.left > 0 {
                    self.piece(self.left, &mut |_| {})?;
                }
                self.end()?;
                Err(ReadError::Flaw(flaw))
            }
            Err(error) => Err(error),
        }
    }

    fn frame(&mut self, take: &mut dyn FnMut(&[u8])) -> Result<Frame, ReadError> {
        if !self.has_begun {
            self.has_begun = true;
            self.begin()?;
        }
        let len = self.array::<4>()?;
        if u32::from_le_bytes(len) == END {
            return self.count().map(|()| Frame::End);
        }
        let expected = u32::from_le_bytes(self.array::<4>()?);
        let mut left = u64::from(u32::from_le_bytes(len));
        if left > self.left {
            return Err(ReadError::Flaw(cut()));
        }
        let mut found = crc32c::crc32c(&len);
        while left > 0 {
            left -= self.piece(left, &mut |piece| {
                found = crc32c::crc32c_append(found, piece);
                take(piece);
            })?;
        }
        if expected != found {
            let flaw = format!("the checksum of its chunk {} is wrong", self.chunks);
            return Err(ReadError::Flaw(damaged(flaw)));
        }
        self.chunks += 1;
        Ok(Frame::Chunk)
    }

    fn begin(&mut self) -> Result<(), ReadError> {
        if self.array()? != *MAGIC {
            return Err(ReadError::Flaw(damaged("it is no snapshot of squall")));
        }
        match u32::from_le_bytes(self.array()?) {
            version if version > VERSION => Err(ReadError::Flaw(Flaw::Newer { version, supported: VERSION })),
            _ => Ok(()),
        }
    }

    /// The count of chunks, after which nothing may stand but the checksum.
    fn count(&mut self) -> Result<(), ReadError> {
        let (count, chunks) = (u64::from_le_bytes(self.array()?), self.chunks);
        let flaw = match self.left {
            _ if count != chunks => format!("it has {chunks} chunks, and states that it has {count}"),
            0 => return Ok(()),
            more => format!("{more} bytes follow its end"),
        };
        Err(ReadError::Flaw(damaged(flaw)))
    }

    /// Compares the checksum of the whole.
    fn end(&mut self) -> Result<(), ReadError> {
        let mut end = [0; CRC];
        self.input.read_exact(&mut end).map_err(ended_early)?;
        let found = u32::from_le_bytes(end);
        let flaw = match (found == self.crc, found == self.noted) {
            (true, true) => return Ok(()),
            (false, _) => "its checksum is wrong, so some of it was lost or changed",
            (true, false) => "its checksum is not the one that was noted for it, so it is another file",
        };
        Err(ReadError::Flaw(damaged(flaw)))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut array = [0; N];
        match self.left.checked_sub(N as u64) {
            None => return Err(ReadError::Flaw(cut())),
            Some(left) => self.left = left,
        }
        self.input.read_exact(&mut array).map_err(ended_early)?;
        self.crc = crc32c::crc32c_append(self.crc, &array);
        Ok(array)
    }

    /// Reads some of the next bytes, at most so many, and returns how many.
    fn piece(&mut self, most: u64, take: &mut dyn FnMut(&[u8])) -> Result<u64, ReadError> {
        let mut buffer = [0; 4096];
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..most];
        self.input.read_exact(buffer).map_err(ended_early)?;
        self.crc = crc32c::crc32c_append(self.crc, buffer);
        self.left -= most as u64;
        take(buffer);
        Ok(most as u64)
    }
}

/// A file that was as long as it should be is shorter now.
fn ended_early(error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Flaw(cut()),
        _ => ReadError::Io(error),
    }
}

fn cut() -> Flaw {
    damaged("it ends too early")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::checkpoint::error::{Flaw, damaged};
    use crate::checkpoint::manifest::SnapshotFile;
    use crate::checkpoint::snapshot::{CRC, END, SnapshotWriter};

    /// The chunks of a file, of which `crc` was noted.
    fn read(file: &[u8], crc: u32, bytes: usize) -> Result<Vec<Vec<u8>>, Flaw> {
        let noted = SnapshotFile { name: "snapshot-1-1-count-0".into(), bytes: bytes as u64, crc32c: crc };
        let reader = || SnapshotReader::new(&noted, file, file.len() as u64);
        let flaw = |error| match error {
            ReadError::Flaw(flaw) => flaw,
            ReadError::Io(error) => panic!("{error}"),
        };
        let (mut chunks, mut chunk) = (Vec::new(), Vec::new());
        let mut reading = reader()?;
        let read = loop {
            match reading.next(&mut chunk) {
                Ok(true) => chunks.push(chunk.clone()),
                Ok(false) => break Ok(chunks),
                Err(error) => break Err(flaw(error)),
            }
        };
        assert_eq!(reader()?.check().map_err(flaw).err(), read.as_ref().err().cloned());
        read
    }

    fn chunks(file: &[u8], crc: u32) -> Result<Vec<Vec<u8>>, Flaw> {
        read(file, crc, file.len())
    }

    fn file(chunks: &[&[u8]]) -> (Vec<u8>, u32) {
        let mut writer = SnapshotWriter::default();
        let mut file: Vec<u8> = chunks.iter().flat_map(|chunk| writer.chunk(chunk)).collect();
        let (end, crc) = writer.end();
        file.extend(end);
        assert_eq!(writer.bytes(), file.len() as u64);
        (file, crc)
    }

    /// What is read from a file that was changed by somebody who made its checksum right.
    fn changed(file: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<Vec<u8>>, Flaw> {
        let mut bytes = file[..file.len() - CRC].to_vec();
        change(&mut bytes);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend(crc.to_le_bytes());
        chunks(&bytes, crc)
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
        check(&[&[7; 4096], &[8; 4097], &[9; 200_000], b""]);
    }

    #[test]
    fn a_file_of_another_length_is_noticed_before_it_is_read() {
        let (file, crc) = file(&[b"storm"]);
        let check = |len: usize, expected: &str| {
            let noted = SnapshotFile { name: "snapshot-1-1-count-0".into(), bytes: 46, crc32c: crc };
            let refused = SnapshotReader::new(&noted, io::empty(), len as u64).err();
            assert_eq!(refused, Some(damaged(expected)));
        };
        assert_eq!(file.len(), 41);
        check(45, "45 of its 46 bytes are there");
        check(0, "0 of its 46 bytes are there");
        check(47, "it is longer than the 46 bytes that were written");
        // It becomes shorter while it is read.
        assert_eq!(
            read(&file[..30], crc, 30).err(),
            Some(damaged("its checksum is wrong, so some of it was lost or changed"))
        );
        let noted = SnapshotFile { name: "snapshot-1-1-count-0".into(), bytes: 41, crc32c: crc };
        let shrunk = SnapshotReader::new(&noted, &file[..30], 41).expect("it was long enough").check();
        assert!(matches!(shrunk, Err(ReadError::Flaw(flaw)) if flaw == cut()));
    }

    /// A reader passes on chunks before it has seen the end. Whoever uses them finds the error at the end.
    #[test]
    fn what_is_wrong_at_the_end_is_found_there() {
        let (mut file, crc) = file(&[b"storm", b"rain"]);
        let at = file.len() - 9;
        file[at] ^= 1;
        let noted =
            SnapshotFile { name: "snapshot-1-1-count-0".into(), bytes: file.len() as u64, crc32c: crc };
        let mut reader = SnapshotReader::new(&noted, &file[..], file.len() as u64).expect("it is as long");
        let mut chunk = Vec::new();
        for expected in ["storm", "rain"] {
            assert!(reader.next(&mut chunk).is_ok_and(|more| more));
            assert_eq!(chunk, expected.as_bytes());
        }
        let expected = damaged("its checksum is wrong, so some of it was lost or changed");
        assert!(matches!(reader.next(&mut chunk), Err(ReadError::Flaw(flaw)) if flaw == expected));
    }

    /// A length that was made up costs no memory: the chunk grows as it is read.
    #[test]
    fn what_a_file_promises_is_not_allocated() {
        let (file, _) = file(&[b"storm"]);
        let mut bytes = file[..file.len() - CRC].to_vec();
        bytes[12..16].copy_from_slice(&(1_u32 << 30).to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend(crc.to_le_bytes());
        let noted = SnapshotFile { name: "snapshot-1-1-count-0".into(), bytes: 2 << 30, crc32c: crc };
        let mut reader = SnapshotReader::new(&noted, &bytes[..], 2 << 30).expect("it states this length");
        let mut chunk = Vec::new();
        assert!(reader.next(&mut chunk).is_err());
        assert!(chunk.capacity() < 1 << 16, "{}", chunk.capacity());
    }

    #[test]
    fn every_flipped_bit_every_cut_and_every_addition_is_noticed() {
        let (file, crc) = file(&[b"storm", b"", b"rain"]);
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.to_vec();
                flipped[at] ^= 1 << bit;
                assert!(chunks(&flipped, crc).is_err(), "byte {at}, bit {bit}");
            }
            assert!(read(&file[..at], crc, at).is_err(), "cut at {at}");
        }
        assert!(chunks(&[&file[..], b"x"].concat(), crc).is_err());
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
