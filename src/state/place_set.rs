//! A set of places, at a bit each.

const BITS: usize = u64::BITS as usize;

#[derive(Default)]
pub(super) struct PlaceSet {
    /// As long as the largest place needs.
    words: Vec<u64>,
}

impl PlaceSet {
    pub(super) fn insert(&mut self, place: u32) {
        let (at, bit) = (place as usize / BITS, place as usize % BITS);
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        self.words[at] |= 1 << bit;
    }

    pub(super) fn contains(&self, place: u32) -> bool {
        let (at, bit) = (place as usize / BITS, place as usize % BITS);
        self.words.get(at).is_some_and(|word| word >> bit & 1 != 0)
    }

    pub(super) fn clear(&mut self) {
        self.words.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_inserted_since_it_was_cleared() {
        let mut set = PlaceSet::default();
        let shown = |set: &PlaceSet| (0..300).filter(|place| set.contains(*place)).collect::<Vec<u32>>();
        [0, 63, 64, 200, 64].into_iter().for_each(|place| set.insert(place));
        assert_eq!(shown(&set), [0, 63, 64, 200]);
        set.clear();
        assert!(shown(&set).is_empty());
        set.insert(130);
        assert_eq!(shown(&set), [130]);
    }
}
