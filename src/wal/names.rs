//! The names of the files of a log.

use crate::wal::position::LogId;

/// The file that states with which record the log begins.
pub(super) const BEGIN: &str = "begin";

/// A file of records, as its name describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    /// Segments are in the order of their numbers. No number is used again.
    pub(super) number: u64,
    /// Its first record.
    pub(super) begin: u64,
    pub(super) log: LogId,
}

impl SegmentName {
    pub(super) fn file(&self) -> String {
        format!("segment-{:08}-{:020}-{}", self.number, self.begin, self.log)
    }

    /// The segment that a file is; `None` for any other file.
    pub(super) fn of(file: &str) -> Option<SegmentName> {
        let mut parts = file.strip_prefix("segment-")?.split('-');
        let (number, begin, log) = (parts.next()?, parts.next()?, parts.next()?);
        let name =
            SegmentName { number: number.parse().ok()?, begin: begin.parse().ok()?, log: LogId::read(log)? };
        // No other name of the same numbers, and nothing behind them.
        (name.file() == file).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_and_others_are_none() {
        let name = SegmentName { number: 7, begin: 400, log: LogId(0xa1) };
        let file = name.file();
        assert_eq!(file, "segment-00000007-00000000000000000400-00000000000000a1");
        assert_eq!(SegmentName::of(&file), Some(name));
        for other in ["begin", "LOCK", "segment-7-400-a1", "segment-", &format!("{file}-"), &file[..20]] {
            assert_eq!(SegmentName::of(other), None, "{other}");
        }
    }
}
