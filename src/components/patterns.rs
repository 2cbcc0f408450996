//! Regular expressions of settings, compiled within bounds.
//!
//! What a pattern costs has little to do with its length: `(?:(?:\w{30}){30}){30}` is a program of many
//! megabytes, and `(?i)\pL` folds a hundred thousand characters. A pattern pays, before each is done,
//! for being parsed (by its length and its classes) and for being compiled (by the size of its
//! program). The size is not known beforehand; so it is compiled with growing limits until it fits,
//! which costs at most a third more than to have known.

use regex::{Regex, RegexBuilder};

use crate::topology::effort::Effort;

/// Sizes of programs that are tried, in bytes. Most patterns fit the first.
const SIZES: [usize; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];
/// Steps for a byte of a pattern.
const BYTE: u64 = 16;
/// Steps for something in a pattern that may be a class of characters.
const CLASS: u64 = 512;
/// The same, when upper and lower case are one.
const FOLDED_CLASS: u64 = 16_384;

/// Compiles a pattern.
///
/// # Errors
/// When it is malformed or too large, or too much was spent; the error names which.
pub(super) fn compile(pattern: &str, effort: &Effort) -> Result<Regex, String> {
    effort.spend(parsing(pattern)).map_err(|error| error.to_string())?;
    for (at, size) in SIZES.into_iter().enumerate() {
        effort.spend(size as u64).map_err(|error| error.to_string())?;
        match RegexBuilder::new(pattern).size_limit(size).build() {
            Err(regex::Error::CompiledTooBig(_)) if at + 1 < SIZES.len() => {}
            Err(regex::Error::CompiledTooBig(limit)) => {
                return Err(format!("the pattern is too large: compiled it has more than {limit} bytes"));
            }
            result => return result.map_err(|error| error.to_string()),
        }
    }
    unreachable!("the last size ends the loop")
}

/// Steps to parse a pattern.
fn parsing(pattern: &str) -> u64 {
    let classes = pattern.bytes().filter(|byte| b"\\[".contains(byte)).count() as u64;
    let class = if may_fold(pattern) { FOLDED_CLASS } else { CLASS };
    pattern.len() as u64 * BYTE + classes * class
}

/// Whether a group sets the flag `i`.
fn may_fold(pattern: &str) -> bool {
    let flags = |rest: &str| rest.bytes().take_while(u8::is_ascii_alphabetic).any(|flag| flag == b'i');
    pattern.match_indices("(?").any(|(at, _)| flags(&pattern[at + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_patterns_cost_little() {
        for pattern in [r"[^\w']+", r"^(?<level>[A-Z]+) (?<ms>\d+) (?<what>.*)$", r"(?i)error|warning", ","] {
            let effort = Effort::of_document();
            assert!(compile(pattern, &effort).is_ok(), "{pattern}");
            assert!(effort.spent() < 150_000, "{pattern}: {}", effort.spent());
        }
    }

    #[test]
    fn a_pattern_that_grows_is_refused_and_a_document_of_them_too() {
        let effort = Effort::of_document();
        let mut refusals = Vec::new();
        for _ in 0..100 {
            refusals.extend(compile(r"(?:(?:\w{30}){30}){30}", &effort).err());
        }
        assert_eq!(refusals.len(), 100);
        assert!(refusals[0].contains("has more than 4194304 bytes"), "{}", refusals[0]);
        assert!(refusals[99].contains("take more than 16777216 steps"), "{}", refusals[99]);
        let folded = Effort::of_document();
        let error = compile(&format!("(?i){}", r"\pL".repeat(3000)), &folded).expect_err("it is too much");
        assert!(error.contains("steps"), "{error}");
    }
}
