//! A sum of floating-point numbers that does not depend on their order.
//!
//! The sum of `1e16 + 1.0 - 1e16` is 0 or 1, depending on the order in which it is made, because each addition is
//! rounded. So a sum that several tasks make of the same numbers would have another last digit each time. Here nothing is
//! rounded before the sum is asked for: it is kept as several numbers, each smaller than the last digit of the next, whose
//! exact sum is the exact sum of all that was added. (J. R. Shewchuk, *Adaptive Precision Floating-Point Arithmetic and
//! Fast Robust Geometric Predicates*, 1997; Python's `math.fsum` does the same.) For numbers of one kind, these are two
//! or three. Because the sum is exact, something can also be taken away from it.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// An exact sum. [`add`](ExactSum::add) and [`value`](ExactSum::value).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct ExactSum {
    /// They do not overlap, the smallest first. None is 0.
    parts: SmallVec<[f64; 2]>,
    /// How often infinity, its negative, and what is no number were added.
    #[serde(default)]
    special: Option<Box<Special>>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Special {
    infinite: i64,
    negative_infinite: i64,
    not_numbers: i64,
}

/// The sum is beyond the range of 64-bit floating-point numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl ExactSum {
    /// Adds a number.
    ///
    /// # Errors
    /// When the sum is beyond the range of floating-point numbers.
    #[inline]
    pub(super) fn add(&mut self, number: f64) -> Result<(), TooLarge> {
        if number.is_finite() {
            return self.add_finite(number);
        }
        self.add_special(number, 1);
        Ok(())
    }

    fn add_finite(&mut self, number: f64) -> Result<(), TooLarge> {
        let (mut sum, mut kept) = (number, 0);
        for at in 0..self.parts.len() {
            let (high, low) = two_sum(sum, self.parts[at]);
            if !high.is_finite() {
                return Err(TooLarge);
            }
            if low != 0.0 {
                self.parts[kept] = low;
                kept += 1;
            }
            sum = high;
        }
        self.parts.truncate(kept);
        if sum != 0.0 {
            self.parts.push(sum);
        }
        Ok(())
    }

    #[cold]
    fn add_special(&mut self, number: f64, times: i64) {
        let special = self.special.get_or_insert_default();
        let counted = match number {
            number if number.is_nan() => &mut special.not_numbers,
            f64::INFINITY => &mut special.infinite,
            _ => &mut special.negative_infinite,
        };
        *counted += times;
    }

    /// Adds another sum.
    ///
    /// # Errors
    /// As [`add`](ExactSum::add).
    pub(super) fn combine(&mut self, other: &ExactSum) -> Result<(), TooLarge> {
        self.combine_special(other, 1);
        other.parts.iter().try_for_each(|part| self.add_finite(*part))
    }

    /// Takes another sum away.
    ///
    /// # Errors
    /// As [`add`](ExactSum::add).
    pub(super) fn invert(&mut self, other: &ExactSum) -> Result<(), TooLarge> {
        self.combine_special(other, -1);
        other.parts.iter().try_for_each(|part| self.add_finite(-part))
    }

    fn combine_special(&mut self, other: &ExactSum, sign: i64) {
        let Some(special) = &other.special else { return };
        let kinds = [
            (f64::INFINITY, special.infinite),
            (f64::NEG_INFINITY, special.negative_infinite),
            (f64::NAN, special.not_numbers),
        ];
        kinds.iter().for_each(|(kind, times)| self.add_special(*kind, sign * times));
    }

    /// The sum, rounded once to the nearest number.
    pub(super) fn value(&self) -> f64 {
        let (high, _) = self.two_parts();
        high
    }

    /// The sum to twice the digits: rounded, and what is missing from that.
    pub(super) fn two_parts(&self) -> (f64, f64) {
        if let Some(special) = self.special.as_deref().and_then(Special::value) {
            return (special, 0.0);
        }
        let mut parts = self.parts.iter().rev().copied();
        let Some(mut high) = parts.next() else { return (0.0, 0.0) };
        let mut low = 0.0;
        for part in parts.by_ref() {
            (high, low) = two_sum(high, part);
            if low != 0.0 {
                break;
            }
        }
        // `low` is half of the last digit of `high`, and what follows decides which way to round.
        if let Some(next) = parts.next().filter(|next| (low < 0.0) == (*next < 0.0)) {
            let (doubled, rounded) = (low * 2.0, high + low * 2.0);
            if next != 0.0 && rounded - high == doubled && low != 0.0 {
                return (rounded, low - doubled);
            }
        }
        (high, low)
    }
}

impl Special {
    fn value(&self) -> Option<f64> {
        match (self.infinite != 0, self.negative_infinite != 0, self.not_numbers != 0) {
            (false, false, false) => None,
            (true, false, false) => Some(f64::INFINITY),
            (false, true, false) => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }
}

/// The rounded sum of two numbers, and what was rounded away.
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    let a_part = sum - b_part;
    (sum, (a - a_part) + (b - b_part))
}

/// The rounded product of two numbers, and what was rounded away.
#[inline]
pub(super) fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    (product, a.mul_add(b, -product))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(numbers: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        numbers.iter().for_each(|number| sum.add(*number).expect("it is in range"));
        sum
    }

    #[test]
    fn the_order_does_not_matter() {
        assert_eq!(sum(&[1e16, 1.0, -1e16]).value(), 1.0);
        assert_eq!(sum(&[0.1; 10]).value(), 1.0);
        assert_eq!(sum(&[1e100, 1.0, -1e100, 1e-100]).value(), 1.0);
        assert_eq!(sum(&[]).value(), 0.0);
        // Halfway between two numbers: what is smaller decides.
        assert_eq!(sum(&[1.0, f64::EPSILON / 2.0, 1e-30]).value(), 1.0 + f64::EPSILON);
        assert_eq!(sum(&[1.0, f64::EPSILON / 2.0, -1e-30]).value(), 1.0);
        assert_eq!(sum(&[1.0, f64::EPSILON / 2.0]).value(), 1.0);
    }

    #[test]
    fn what_is_no_number_can_be_taken_away() {
        let (nan, infinite) = (sum(&[f64::NAN]), sum(&[f64::INFINITY]));
        let mut all = sum(&[1.5]);
        all.combine(&nan).and_then(|()| all.combine(&infinite)).expect("it is in range");
        assert!(all.value().is_nan());
        all.invert(&nan).expect("it is in range");
        assert_eq!(all.value(), f64::INFINITY);
        all.invert(&infinite).expect("it is in range");
        assert_eq!(all.value(), 1.5);
        assert_eq!(sum(&[1e308]).add(1e308), Err(TooLarge));
    }

    proptest! {
        /// Integers that are scaled by powers of two have an exact sum that i128 can check.
        #[test]
        fn it_is_exact(numbers in prop::collection::vec((-(1_i64 << 52)..1 << 52, 0_u32..60), 0..40)) {
            let exact: i128 = numbers.iter().map(|(n, shift)| i128::from(*n) << shift).sum();
            let scaled = |(n, shift): &(i64, u32)| *n as f64 * f64::powi(2.0, *shift as i32);
            let mut forwards: Vec<f64> = numbers.iter().map(scaled).collect();
            prop_assert_eq!(sum(&forwards).value(), exact as f64);
            forwards.reverse();
            prop_assert_eq!(sum(&forwards).value(), exact as f64);
            let (left, right) = forwards.split_at(forwards.len() / 3);
            let mut both = sum(left);
            both.combine(&sum(right)).expect("it is in range");
            prop_assert_eq!(both.value(), exact as f64);
            both.invert(&sum(left)).expect("it is in range");
            prop_assert_eq!(both.value(), sum(right).value());
        }
    }
}
