//! The file that states with which record a log begins.

use crate::wal::position::LogId;

const MAGIC: &[u8; 8] = b"squallWB";
const LEN: usize = 28;

/// The bytes of the file.
pub(super) fn encode(log: LogId, record: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(log.0.to_le_bytes());
    bytes.extend(record.to_le_bytes());
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// The log and the record. `None` if the bytes are damaged.
pub(super) fn decode(bytes: &[u8]) -> Option<(LogId, u64)> {
    let bytes: &[u8; LEN] = bytes.try_into().ok()?;
    let (content, crc) = bytes.split_at(LEN - 4);
    if content[..8] != *MAGIC || crc32c::crc32c(content).to_le_bytes() != *crc {
        return None;
    }
    let number = |at: usize| Some(u64::from_le_bytes(content[at..at + 8].try_into().ok()?));
    Some((LogId(number(8)?), number(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = encode(LogId(9), 400);
        assert_eq!(decode(&bytes), Some((LogId(9), 400)));
        for at in 0..bytes.len() {
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(decode(&flipped), None, "byte {at}");
        }
    }
}
