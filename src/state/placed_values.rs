//! Values by place, where not every place has one.
//!
//! An `Option` of a number takes twice the room of the number: its tag is padded to the size of the number. With
//! millions of keys that is most of what a count needs. So values that are plain and small stand in blocks, without
//! tags, and a block has one bit for each place that says whether there is a value:
//!
//! ```text
//!   block 0: used 0b…1011   values [17, 4, filler, 9, …]     64 places
//!   block 1: used 0b…0001   values [5, filler, …]
//! ```
//!
//! 1. A place without a value has a filler, a copy of some value that was written into the block. Fillers are never
//!    shown.
//! 2. So only types for which a copy holds nothing are packed: those that need no drop. Large ones are not, because a
//!    block has room for all of its places from its first value on. Neither are types whose `Option` is no larger, such
//!    as a string or a box. All of these stand in a vector of `Option`s.

/// How many places a block has: one for each bit of `used`.
const BLOCK: usize = u64::BITS as usize;

/// The size of the largest values that are packed.
const PACKED_MAX: usize = 32;

/// The cells of a column, one for each place.
pub(super) trait Cells<C>: Default {
    /// What the cell of a place holds.
    fn value(&self, place: u32) -> Option<&C>;
    /// No place from this one on has anything in its cell.
    fn end(&self) -> u32;
}

impl<C> Cells<C> for Vec<Option<C>> {
    #[inline]
    fn value(&self, place: u32) -> Option<&C> {
        self.get(place as usize)?.as_ref()
    }

    fn end(&self) -> u32 {
        self.len() as u32
    }
}

struct Block<T> {
    /// A bit for each place: whether it has a value.
    used: u64,
    values: [T; BLOCK],
}

/// Values by place.
pub(super) struct PlacedValues<T> {
    /// The values of a type that is packed.
    blocks: Vec<Block<T>>,
    /// The values of any other type.
    cells: Vec<Option<T>>,
}

impl<T> Default for PlacedValues<T> {
    fn default() -> PlacedValues<T> {
        PlacedValues { blocks: Vec::new(), cells: Vec::new() }
    }
}

/// The block of a place, and which of its places that is.
#[inline]
fn position(place: u32) -> (usize, usize) {
    (place as usize / BLOCK, place as usize % BLOCK)
}

impl<T> Block<T> {
    #[inline]
    fn has(&self, nth: usize) -> bool {
        self.used >> nth & 1 != 0
    }
}

impl<T> PlacedValues<T> {
    const IS_PACKED: bool = !std::mem::needs_drop::<T>()
        && size_of::<T>() < size_of::<Option<T>>()
        && size_of::<T>() <= PACKED_MAX;
}

impl<T> Cells<T> for PlacedValues<T> {
    #[inline]
    fn value(&self, place: u32) -> Option<&T> {
        if !Self::IS_PACKED {
            return self.cells.value(place);
        }
        let (at, nth) = position(place);
        let block = self.blocks.get(at)?;
        block.has(nth).then(|| &block.values[nth])
    }

    fn end(&self) -> u32 {
        if Self::IS_PACKED { (self.blocks.len() * BLOCK) as u32 } else { self.cells.end() }
    }
}

impl<T: Clone> PlacedValues<T> {
    /// Writes or removes the value of a place, and returns what was there.
    #[inline]
    pub(super) fn replace(&mut self, place: u32, value: Option<T>) -> Option<T> {
        match value {
            Some(value) => self.insert(place, value),
            None => self.remove(place),
        }
    }

    /// The value of a place that has one.
    #[inline]
    pub(super) fn present(&mut self, place: u32) -> &mut T {
        if !Self::IS_PACKED {
            return self.cells[place as usize].as_mut().expect("the place has a value");
        }
        let (at, nth) = position(place);
        &mut self.blocks[at].values[nth]
    }

    fn insert(&mut self, place: u32, value: T) -> Option<T> {
        if !Self::IS_PACKED {
            return self.cell(place).replace(value);
        }
        let (at, nth) = position(place);
        if at >= self.blocks.len() {
            self.add_blocks(at, &value);
        }
        let block = &mut self.blocks[at];
        let was_used = block.has(nth);
        block.used |= 1 << nth;
        let old = std::mem::replace(&mut block.values[nth], value);
        was_used.then_some(old)
    }

    /// Adds blocks up to this one, with this value as the filler.
    #[cold]
    fn add_blocks(&mut self, at: usize, filler: &T) {
        let block = || Block { used: 0, values: std::array::from_fn(|_| filler.clone()) };
        self.blocks.resize_with(at + 1, block);
    }

    fn remove(&mut self, place: u32) -> Option<T> {
        if !Self::IS_PACKED {
            return self.cells.get_mut(place as usize)?.take();
        }
        let (at, nth) = position(place);
        let block = self.blocks.get_mut(at).filter(|block| block.has(nth))?;
        block.used &= !(1 << nth);
        Some(block.values[nth].clone())
    }

    /// The cell of a place of a type that is not packed.
    #[inline]
    fn cell(&mut self, place: u32) -> &mut Option<T> {
        let at = place as usize;
        if at >= self.cells.len() {
            self.cells.resize_with(at + 1, || None);
        }
        &mut self.cells[at]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_small_values_whose_option_is_larger_are_packed() {
        let packed = [
            PlacedValues::<i64>::IS_PACKED,
            PlacedValues::<f64>::IS_PACKED,
            PlacedValues::<[i64; 4]>::IS_PACKED,
            PlacedValues::<[i64; 5]>::IS_PACKED,
            PlacedValues::<String>::IS_PACKED,
            PlacedValues::<bool>::IS_PACKED,
        ];
        assert_eq!(packed, [true, true, true, false, false, false]);
    }

    #[test]
    fn a_packed_number_takes_little_more_than_the_number() {
        assert_eq!(size_of::<Block<i64>>(), 8 * BLOCK + 8);
    }

    /// Carries out the same on values and on a plain map.
    fn check<T: Clone + PartialEq + Debug>(steps: &[(u32, u8)], value: impl Fn(u32) -> T) {
        let (mut values, mut model) = (PlacedValues::default(), BTreeMap::new());
        for (step, (place, what)) in steps.iter().enumerate() {
            let fresh = value(step as u32);
            match what {
                0 => assert_eq!(values.replace(*place, None), model.remove(place)),
                1 => {
                    if let Some(value) = model.get_mut(place) {
                        *values.present(*place) = fresh.clone();
                        *value = fresh;
                    }
                }
                _ => assert_eq!(values.replace(*place, Some(fresh.clone())), model.insert(*place, fresh)),
            }
            assert!(model.keys().all(|place| *place < values.end()));
            for place in 0..400 {
                assert_eq!(values.value(place), model.get(&place), "{place}");
            }
        }
    }

    proptest! {
        #[test]
        fn values_are_those_of_a_map(steps in prop::collection::vec((0..300u32, 0..3u8), 0..40)) {
            check(&steps, |step| i64::from(step) - 7);
            check(&steps, |step| (step as u8, f64::from(step)));
            check(&steps, |step| step.to_string());
            check(&steps, |step| step % 2 == 0);
        }
    }
}
