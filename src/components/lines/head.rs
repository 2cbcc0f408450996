//! What the first bytes of an input show about the rest: text, gzip, or what `lines` cannot read.
//!
//! The content decides, not the name: a `.log` may be compressed, and a `.gz` may be text. No
//! signature contains a line feed, so a head that is still undecided never holds back a line.

/// The longest signature.
pub(super) const HEAD_MAX: usize = 10;

/// What a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Too short to decide: it is the beginning of a signature.
    Undecided,
    /// Text, after so many bytes of a byte-order mark.
    Text { mark_len: usize },
    /// Compressed by gzip.
    Gzip,
    /// Not UTF-8 text, nor gzip.
    Foreign(Foreign),
}

/// An input that is refused: what it is, and what makes text of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    what: &'static str,
    remedy: &'static str,
}

impl Foreign {
    /// As an error of the input.
    pub(super) fn to_error(self) -> std::io::Error {
        let Foreign { what, remedy } = self;
        let why = format!("it is {what}, and `lines` reads UTF-8 text and gzip only; {remedy}");
        std::io::Error::new(std::io::ErrorKind::InvalidData, why)
    }
}

/// A byte of a signature that may be any.
const ANY: i16 = -1;

const fn foreign(what: &'static str, remedy: &'static str) -> Head {
    Head::Foreign(Foreign { what, remedy })
}

const UTF_16: Head = foreign("UTF-16 text", "convert it first, as `iconv -f UTF-16 -t UTF-8` does");
const UTF_32: Head = foreign("UTF-32 text", "convert it first, as `iconv -f UTF-32 -t UTF-8` does");

/// Byte-order marks (Unicode, chapter 23.8) and magic numbers. A longer one comes before its prefix.
const SIGNATURES: &[(&[i16], Head)] = &[
    (&[0xEF, 0xBB, 0xBF], Head::Text { mark_len: 3 }),
    (&[0xFF, 0xFE, 0x00, 0x00], UTF_32),
    (&[0x00, 0x00, 0xFE, 0xFF], UTF_32),
    (&[0xFF, 0xFE], UTF_16),
    (&[0xFE, 0xFF], UTF_16),
    (&[0x1F, 0x8B, 0x08], Head::Gzip),
    (&[0x28, 0xB5, 0x2F, 0xFD], foreign("compressed by zstd", "unpack it first, as `zstd -dc` does")),
    (&[0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00], foreign("compressed by xz", "unpack it first, as `xz -dc` does")),
    (
        // `BZh`, the level, and the digits of pi that begin a block.
        &[0x42, 0x5A, 0x68, ANY, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59],
        foreign("compressed by bzip2", "unpack it first, as `bzip2 -dc` does"),
    ),
    (&[0x04, 0x22, 0x4D, 0x18], foreign("compressed by lz4", "unpack it first, as `lz4 -dc` does")),
    (&[0x1F, 0x9D], foreign("compressed by compress", "unpack it first, as `uncompress -c` does")),
    (&[0x50, 0x4B, 0x03, 0x04], foreign("a ZIP archive", "unpack it first, as `unzip -p` does")),
];

/// Looks at the first bytes of an input; `at_end` when there are no more.
pub(super) fn look(head: &[u8], at_end: bool) -> Head {
    let agrees = |signature: &[i16]| {
        signature.iter().zip(head).all(|(expected, byte)| *expected == ANY || *expected == i16::from(*byte))
    };
    let mut agreeing = SIGNATURES.iter().filter(|(signature, _)| agrees(signature));
    if !at_end && agreeing.clone().any(|(signature, _)| signature.len() > head.len()) {
        return Head::Undecided;
    }
    let complete = agreeing.find(|(signature, _)| signature.len() <= head.len());
    complete.map_or(Head::Text { mark_len: 0 }, |(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_say_what_an_input_is() {
        let check = |head: &[u8], expected: Head| {
            assert_eq!(look(head, true), expected, "{head:?}");
            for len in 0..head.len() {
                let early = look(&head[..len], false);
                assert!(early == Head::Undecided || early == expected, "{early:?} of {:?}", &head[..len]);
            }
        };
        let text = Head::Text { mark_len: 0 };
        check(b"", text);
        check(b"plain", text);
        check(b"BZh is a name", text);
        check(b"\xEF\xBB", text);
        check(b"\xEF\xBB\xBFtext", Head::Text { mark_len: 3 });
        check(b"\xEF\xBB\xBF", Head::Text { mark_len: 3 });
        check(b"\xFF\xFEt\0", UTF_16);
        check(b"\xFE\xFF\0t", UTF_16);
        check(b"\xFF\xFE\0\0t\0\0\0", UTF_32);
        check(b"\x1F\x8B\x08\0", Head::Gzip);
        assert!(matches!(look(b"BZh91AY&SYxx", false), Head::Foreign(_)));
        assert!(matches!(look(b"\x28\xB5\x2F\xFD", false), Head::Foreign(_)));
    }

    #[test]
    fn an_undecided_head_holds_no_line() {
        assert!(SIGNATURES.iter().all(|(signature, _)| !signature.contains(&i16::from(b'\n'))));
        assert!(SIGNATURES.iter().all(|(signature, _)| signature.len() <= HEAD_MAX));
    }

    #[test]
    fn a_refusal_says_what_it_is_and_what_to_do() {
        let Head::Foreign(foreign) = UTF_16 else { panic!("UTF-16 is refused") };
        let why = foreign.to_error().to_string();
        assert!(why.contains("UTF-16") && why.contains("iconv"), "{why}");
    }
}
