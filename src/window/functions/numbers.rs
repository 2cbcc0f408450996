//! Sums of numbers, and of their squares, that do not depend on the order.

use serde::{Deserialize, Serialize};

use crate::tuple::Value;
use crate::window::exact_sum::{ExactSum, TooLarge, two_product};

/// A whole number of 128 bits that needs no more alignment than others.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Wide(i64, u64);

impl Wide {
    fn get(self) -> i128 {
        (i128::from(self.0) << 64) | i128::from(self.1)
    }

    #[inline]
    fn add(&mut self, more: i128) {
        // 2^63 numbers of 64 bits fit.
        let sum = self.get().wrapping_add(more);
        *self = Wide((sum >> 64) as i64, sum as u64);
    }
}

/// The sum of numbers, and how many there are. Whole numbers are added up for themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sum {
    numbers: i64,
    whole: Wide,
    /// Of numbers that are not whole, and how many there are.
    real: Option<Box<Real>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Real {
    numbers: i64,
    sum: ExactSum,
}

impl Sum {
    /// Adds a number.
    #[inline]
    pub(super) fn add(&mut self, number: &Value) -> Result<(), String> {
        match number {
            Value::I64(number) => self.whole.add((*number).into()),
            Value::F64(number) => {
                let real = self.real.get_or_insert_default();
                real.sum.add(*number).map_err(too_large)?;
                real.numbers += 1;
            }
            other => return Err(no_number(other)),
        }
        self.numbers += 1;
        Ok(())
    }

    pub(super) fn combine(&mut self, other: &Sum) -> Result<(), String> {
        self.numbers += other.numbers;
        self.whole.add(other.whole.get());
        if let Some(more) = &other.real {
            let real = self.real.get_or_insert_default();
            real.numbers += more.numbers;
            real.sum.combine(&more.sum).map_err(too_large)?;
        }
        Ok(())
    }

    pub(super) fn invert(&mut self, other: &Sum) -> Result<(), String> {
        self.numbers -= other.numbers;
        self.whole.add(-other.whole.get());
        if let (Some(real), Some(less)) = (&mut self.real, &other.real) {
            real.numbers -= less.numbers;
            real.sum.invert(&less.sum).map_err(too_large)?;
            if real.numbers == 0 {
                self.real = None;
            }
        }
        Ok(())
    }

    /// The sum; null, if there are no numbers.
    pub(super) fn value(&self) -> Result<Value, String> {
        if self.numbers == 0 {
            return Ok(Value::Null);
        }
        match self.real()? {
            Some(sum) => Ok(Value::F64(sum.value())),
            None => i64::try_from(self.whole.get())
                .map(Value::I64)
                .map_err(|_| format!("the sum {} does not fit an i64", self.whole.get())),
        }
    }

    /// The mean; null, if there are no numbers.
    pub(super) fn mean(&self) -> Result<Value, String> {
        if self.numbers == 0 {
            return Ok(Value::Null);
        }
        let sum = match self.real()? {
            Some(sum) => sum.value(),
            None => self.whole.get() as f64,
        };
        Ok(Value::F64(sum / self.numbers as f64))
    }

    /// The sum of all, if some are not whole.
    fn real(&self) -> Result<Option<ExactSum>, String> {
        let Some(real) = &self.real else { return Ok(None) };
        let mut sum = real.sum.clone();
        // Four parts of 32 bits, each of which is exact. The highest one has the sign.
        let whole = self.whole.get();
        for at in 0..4 {
            let shifted = whole >> (32 * at);
            let part = if at < 3 { shifted & 0xffff_ffff } else { shifted };
            sum.add(part as f64 * 2_f64.powi(32 * at)).map_err(too_large)?;
        }
        Ok(Some(sum))
    }
}

/// What variance is made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Moments {
    numbers: i64,
    sum: ExactSum,
    squares: ExactSum,
}

impl Moments {
    pub(super) fn add(&mut self, number: &Value) -> Result<(), String> {
        let parts = match number {
            // The upper part has at most 53 bits, and so has what is left.
            Value::I64(number) => {
                let high = *number & !0x7ff;
                [high as f64, (number - high) as f64]
            }
            Value::F64(number) => [*number, 0.0],
            other => return Err(no_number(other)),
        };
        self.add_parts(parts).map_err(too_large)?;
        self.numbers += 1;
        Ok(())
    }

    fn add_parts(&mut self, [high, low]: [f64; 2]) -> Result<(), TooLarge> {
        self.sum.add(high)?;
        self.sum.add(low)?;
        for (one, other) in [(high, high), (2.0 * high, low), (low, low)] {
            let (product, rest) = two_product(one, other);
            if !product.is_finite() && high.is_finite() {
                return Err(TooLarge);
            }
            self.squares.add(product)?;
            // Of infinity, the rest is no number.
            if product.is_finite() {
                self.squares.add(rest)?;
            }
        }
        Ok(())
    }

    pub(super) fn combine(&mut self, other: &Moments) -> Result<(), String> {
        self.numbers += other.numbers;
        self.sum.combine(&other.sum).and_then(|()| self.squares.combine(&other.squares)).map_err(too_large)
    }

    pub(super) fn invert(&mut self, other: &Moments) -> Result<(), String> {
        self.numbers -= other.numbers;
        self.sum.invert(&other.sum).and_then(|()| self.squares.invert(&other.squares)).map_err(too_large)
    }

    /// The mean of the squares of the distances from the mean.
    pub(super) fn variance(&self) -> Option<f64> {
        if self.numbers == 0 {
            return None;
        }
        // (n Σx² - (Σx)²) / n², to twice the digits, because most of them cancel out.
        let numbers = self.numbers as f64;
        let ((sum, sum_rest), (squares, squares_rest)) = (self.sum.two_parts(), self.squares.two_parts());
        let (left, left_rest) = two_product(numbers, squares);
        let (right, right_rest) = two_product(sum, sum);
        let left_rest = left_rest + numbers * squares_rest;
        let right_rest = right_rest + 2.0 * sum * sum_rest;
        let difference = (left - right) + (left_rest - right_rest);
        let variance = difference / (numbers * numbers);
        // What is left of rounding may be below 0; what is no number stays none.
        Some(if variance < 0.0 { 0.0 } else { variance })
    }
}

fn no_number(value: &Value) -> String {
    format!("is of type {}, and has to be a number", value.value_type())
}

fn too_large(_: TooLarge) -> String {
    "makes a sum beyond the range of f64".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[Value]) -> Sum {
        let mut sum = Sum::default();
        values.iter().for_each(|value| sum.add(value).unwrap_or_else(|error| panic!("{value}: {error}")));
        sum
    }

    #[test]
    fn whole_numbers_and_others_are_added_exactly() {
        let check = |values: &[Value], expected: Value| {
            assert_eq!(sum(values).value(), Ok(expected), "{values:?}");
        };
        check(&[], Value::Null);
        check(&[1.into(), 2.into()], 3.into());
        check(&[1.into(), 0.5.into()], 1.5.into());
        check(&[i64::MAX.into(), 1.into(), (-1).into()], i64::MAX.into());
        check(&[i64::MAX.into(), 0.0.into(), (-i64::MAX).into(), 0.25.into()], 0.25.into());
        check(&[(-7).into(), 0.5.into()], (-6.5).into());
        check(&[((1_i64 << 60) + 1).into(), (-(2_f64.powi(60))).into()], 1.0.into());
        assert!(sum(&[i64::MAX.into(), 1.into()]).value().is_err_and(|error| error.contains("does not fit")));
        assert!(Sum::default().add(&"x".into()).is_err_and(|error| error.contains("type string")));
        assert_eq!(sum(&[1.into(), 2.into()]).mean(), Ok(1.5.into()));
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let mut all = sum(&[5.into(), 0.1.into(), 0.2.into(), 7.into()]);
        all.invert(&sum(&[0.1.into(), 0.2.into()])).expect("they are in it");
        assert_eq!(all.value(), Ok(12.into()), "no number that is not whole is left");
        all.invert(&sum(&[5.into(), 7.into()])).expect("they are in it");
        assert_eq!(all.value(), Ok(Value::Null));
    }

    #[test]
    fn variance_survives_a_large_mean() {
        let check = |values: &[Value], expected: f64| {
            let mut moments = Moments::default();
            values.iter().for_each(|value| moments.add(value).expect("it is a number"));
            assert_eq!(moments.variance(), Some(expected), "{values:?}");
        };
        check(&[4.into(), 7.into(), 13.into(), 16.into()], 22.5);
        check(&[1e9.into(), (1e9 + 2.0).into()], 1.0);
        check(&[1e15.into(), (1e15 + 2.0).into()], 1.0);
        check(&[((1_i64 << 50) + 1).into(), ((1_i64 << 50) + 3).into()], 1.0);
        check(&[3.into()], 0.0);
        assert_eq!(Moments::default().variance(), None);
        let mut odd = Moments::default();
        odd.add(&f64::INFINITY.into()).and_then(|()| odd.add(&1.into())).expect("they are numbers");
        assert!(odd.variance().is_some_and(f64::is_nan));
        assert!(Moments::default().add(&1e200.into()).is_err());
    }
}
