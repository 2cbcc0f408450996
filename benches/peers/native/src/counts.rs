//! The counter's map: word -> how often it was seen.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_64;

/// Which of several counters owns a word.
pub fn hash(word: &str) -> u64 {
    xxh3_64(word.as_bytes())
}

#[derive(Default)]
pub struct Counts(HashMap<SmolStr, u64, BuildHasherDefault<Xxh3>>);

impl Counts {
    /// Looks up before it inserts, so that a known word allocates nothing.
    pub fn count(&mut self, word: SmolStr) {
        match self.0.get_mut(word.as_str()) {
            Some(seen) => *seen += 1,
            None => {
                self.0.insert(word, 1);
            }
        }
    }
}

/// The one-shot xxh3: the crate's own `Hasher` streams, which costs short words dearly.
#[derive(Default)]
struct Xxh3(u64);

impl Hasher for Xxh3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    /// The end mark of a `str`; a lone key needs none.
    fn write_u8(&mut self, _end: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
