//! An input as text: without its byte-order mark, and unpacked if gzip compressed it.
//!
//! A gzip input may have several members, one after the other, as `cat a.gz b.gz` makes it. What
//! is broken in the middle is an error after the text before it. Memory is bounded by gzip's
//! window (32 KiB) and one buffer, however much an input unpacks to.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use flate2::read::MultiGzDecoder;

use crate::components::lines::head::{self, HEAD_MAX, Head};

/// A reader of text over a reader of bytes. See the [module](self).
pub(super) struct Unpack {
    reader: Box<dyn Read + Send>,
    state: State,
    /// Whether `reader` unpacks already.
    is_unpacking: bool,
}

enum State {
    /// The first bytes, while they can still be a signature.
    Head(Vec<u8>),
    /// What was read to look at the head and is text, not handed out yet; then the rest.
    Text(Cursor<Vec<u8>>),
}

impl Unpack {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Unpack {
        Unpack { reader, state: State::Head(Vec::new()), is_unpacking: false }
    }

    /// A regular file, to be read from so many bytes of its text on. Also returns how many of them are still to be
    /// read and dropped: what is packed cannot be read from its middle.
    pub(super) fn from_offset(mut file: File, offset: u64) -> io::Result<(Unpack, u64)> {
        let mut head = [0; HEAD_MAX];
        let len = file.read_at(&mut head, 0)?;
        let Head::Text { mark_len } = head::look(&head[..len], true) else {
            return Ok((Unpack::new(Box::new(file)), offset));
        };
        if offset == 0 {
            return Ok((Unpack::new(Box::new(file)), 0));
        }
        let (at, len) = (mark_len as u64 + offset, file.metadata()?.len());
        if len < at {
            return Err(too_short(offset));
        }
        file.seek(SeekFrom::Start(at))?;
        let state = State::Text(Cursor::default());
        Ok((Unpack { reader: Box::new(file), state, is_unpacking: false }, 0))
    }

    /// Reads on until the head is decided.
    fn decide(&mut self, mut head: Vec<u8>) -> io::Result<State> {
        let mut space = [0; HEAD_MAX];
        loop {
            let room = &mut space[head.len()..];
            let len = match self.reader.read(room) {
                Ok(len) => len,
                Err(error) => {
                    // Not lost: the next read goes on from here.
                    self.state = State::Head(head);
                    return Err(error);
                }
            };
            head.extend_from_slice(&room[..len]);
            match head::look(&head, len == 0) {
                Head::Undecided => {}
                Head::Text { mark_len } => {
                    let mut text = Cursor::new(head);
                    text.set_position(mark_len as u64);
                    return Ok(State::Text(text));
                }
                Head::Gzip if self.is_unpacking => {
                    let why = "it is compressed by gzip twice; unpack it once before";
                    return Err(io::Error::new(ErrorKind::InvalidData, why));
                }
                Head::Gzip => {
                    let packed = std::mem::replace(&mut self.reader, Box::new(io::empty()));
                    let packed = Cursor::new(std::mem::take(&mut head)).chain(packed);
                    self.reader = Box::new(MultiGzDecoder::new(packed));
                    self.is_unpacking = true;
                }
                Head::Foreign(foreign) => return Err(foreign.to_error()),
            }
        }
    }
}

/// The error of a file that does not have any more what was read of it.
pub(super) fn too_short(offset: u64) -> io::Error {
    let why = format!("it is shorter than the {offset} bytes that were read of it before the checkpoint");
    io::Error::new(ErrorKind::UnexpectedEof, why)
}

impl Read for Unpack {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if let State::Head(head) = &mut self.state {
            let head = std::mem::take(head);
            self.state = self.decide(head)?;
        }
        if let State::Text(first) = &mut self.state {
            let len = first.read(space)?;
            if len > 0 {
                return Ok(len);
            }
        }
        self.reader.read(space)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// The text as `gzip` writes it.
    pub(in crate::components::lines) fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("a vector takes it");
        encoder.finish().expect("a vector takes it")
    }

    /// Hands out one byte at a time.
    struct Slow(Cursor<Vec<u8>>);

    impl Read for Slow {
        fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
            let one = space.len().min(1);
            self.0.read(&mut space[..one])
        }
    }

    fn unpack(bytes: &[u8]) -> (Vec<u8>, Option<String>) {
        let read = |reader: Box<dyn Read + Send>| {
            let mut text = Vec::new();
            let error = Unpack::new(reader).read_to_end(&mut text).err();
            (text, error.map(|error| error.to_string()))
        };
        let at_once = read(Box::new(Cursor::new(bytes.to_vec())));
        assert_eq!(read(Box::new(Slow(Cursor::new(bytes.to_vec())))).0, at_once.0, "byte by byte");
        at_once
    }

    #[test]
    fn marks_go_and_gzip_is_unpacked_member_by_member() {
        let check = |bytes: &[u8], expected: &[u8]| assert_eq!(unpack(bytes), (expected.to_vec(), None));
        check(b"", b"");
        check(b"text", b"text");
        check(b"\xEF\xBB\xBFtext", b"text");
        check(&gzip(b"text"), b"text");
        check(&gzip(b"\xEF\xBB\xBFtext"), b"text");
        check(&[gzip(b"one"), gzip(b"two")].concat(), b"onetwo");
        let large = b"a line that repeats\n".repeat(100_000);
        check(&gzip(&large), &large);
    }

    #[test]
    fn what_is_broken_is_an_error_after_the_text_before_it() {
        let whole = gzip(&b"a line that repeats\n".repeat(100_000));
        let (text, error) = unpack(&whole[..whole.len() / 2]);
        assert!(!text.is_empty() && error.is_some(), "{error:?}");
        let (text, error) = unpack(&gzip(&gzip(b"x")));
        assert!(text.is_empty() && error.as_deref().is_some_and(|why| why.contains("twice")), "{error:?}");
        let (text, error) = unpack(b"\xFF\xFEt\0");
        assert!(text.is_empty() && error.as_deref().is_some_and(|why| why.contains("UTF-16")), "{error:?}");
    }
}
