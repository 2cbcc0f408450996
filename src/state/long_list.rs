//! A list that may become very long, and takes no call by surprise.
//!
//! A `Vec` that grows beyond its room is copied to a larger one, and its memory is freed in one piece. With millions of
//! items, each takes tens of milliseconds, in which a task does nothing else. This list has parts of a fixed size, so
//! adding an item costs the same however many there are, and taking items frees part after part.

use std::iter::Flatten;
use std::vec::IntoIter;

/// Items in a part.
const PART: usize = 4096;

pub(super) struct LongList<T> {
    /// Parts that are full.
    full: Vec<Vec<T>>,
    /// The part with the last items.
    last: Vec<T>,
}

/// The items from the first to the last.
pub(super) type Items<T> = Flatten<IntoIter<Vec<T>>>;

impl<T> Default for LongList<T> {
    fn default() -> LongList<T> {
        LongList { full: Vec::new(), last: Vec::new() }
    }
}

impl<T> LongList<T> {
    #[inline]
    pub(super) fn push(&mut self, item: T) {
        if self.last.len() == PART {
            self.full.push(std::mem::replace(&mut self.last, Vec::with_capacity(PART)));
        }
        self.last.push(item);
    }

    /// Takes the last item.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.last.is_empty() {
            self.last = self.full.pop()?;
        }
        self.last.pop()
    }

    pub(super) fn into_items(mut self) -> Items<T> {
        self.full.push(self.last);
        self.full.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_in_their_order_and_in_the_reverse_of_it() {
        for count in [0, 1, PART - 1, PART, PART + 1, 3 * PART, 3 * PART + 7] {
            let list = || {
                let mut list = LongList::default();
                (0..count).for_each(|item| list.push(item));
                list
            };
            assert!(list().into_items().eq(0..count), "{count}");
            let mut popped = list();
            assert!(std::iter::from_fn(|| popped.pop()).eq((0..count).rev()), "{count}");
            popped.push(7);
            assert_eq!([popped.pop(), popped.pop()], [Some(7), None], "{count}");
        }
    }
}
