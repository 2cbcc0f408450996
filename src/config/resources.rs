//! Processor time and memory: what a task needs, and what a host has.
//!
//! Processor time is counted in cores, written as a decimal number: `0.5` is half a core, which Storm writes as
//! `50.0`. It is kept in thousandths, so that sums are exact and do not depend on their order.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::show_size;

/// Processor time in thousandths of a core.
///
/// # Examples
/// ```
/// use squall::config::Cpu;
/// assert_eq!(Cpu::cores(0.1), Cpu(100));
/// assert_eq!(Cpu(2500).to_string(), "2.5");
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(description = "Processor time in thousandths of a core.")]
pub struct Cpu(pub u64);

impl Cpu {
    /// So many cores, rounded to thousandths. Less than none is none.
    pub fn cores(cores: f64) -> Cpu {
        // A cast from a float stops at the bounds of the integer.
        Cpu((cores * 1000.0).round() as u64)
    }
}

impl fmt::Display for Cpu {
    /// In cores, with as few digits as show it exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / 1000.0)
    }
}

/// Processor time and memory. [`Default`] has what a task needs if nothing is said about it, as in Storm: a tenth of
/// a core and 128 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// `cpu`: cores.
    pub cpu: Cpu,
    /// `memory`: bytes.
    pub memory: u64,
}

impl Resources {
    /// Nothing.
    pub const NONE: Resources = Resources { cpu: Cpu(0), memory: 0 };

    /// So many cores and bytes.
    ///
    /// # Examples
    /// ```
    /// use squall::config::Resources;
    /// assert_eq!(Resources::new(1.5, 1 << 30).to_string(), "1.5 cores and 1GiB");
    /// ```
    pub fn new(cores: f64, memory: u64) -> Resources {
        Resources { cpu: Cpu::cores(cores), memory }
    }

    /// Whether this much is in `room`.
    pub fn fits(self, room: Resources) -> bool {
        self.cpu <= room.cpu && self.memory <= room.memory
    }

    /// This, so many times.
    pub fn times(self, count: u64) -> Resources {
        Resources { cpu: Cpu(self.cpu.0.saturating_mul(count)), memory: self.memory.saturating_mul(count) }
    }
}

impl Default for Resources {
    fn default() -> Resources {
        Resources { cpu: Cpu(100), memory: 128 << 20 }
    }
}

impl Add for Resources {
    type Output = Resources;

    fn add(self, other: Resources) -> Resources {
        Resources {
            cpu: Cpu(self.cpu.0.saturating_add(other.cpu.0)),
            memory: self.memory.saturating_add(other.memory),
        }
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Resources) {
        *self = *self + other;
    }
}

impl Sub for Resources {
    type Output = Resources;

    /// What is left; nothing where more is taken than there is.
    fn sub(self, other: Resources) -> Resources {
        Resources {
            cpu: Cpu(self.cpu.0.saturating_sub(other.cpu.0)),
            memory: self.memory.saturating_sub(other.memory),
        }
    }
}

impl SubAssign for Resources {
    fn sub_assign(&mut self, other: Resources) {
        *self = *self - other;
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.cpu == Cpu(1000) { "core" } else { "cores" };
        write!(f, "{} {noun} and {}", self.cpu, show_size(self.memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tenth of a core has no exact binary form: ten of them must be one core all the same.
    #[test]
    fn ten_tenths_are_one_core() {
        let tenth = Resources::new(0.1, 1);
        let sum = (0..10).fold(Resources::NONE, |sum, _| sum + tenth);
        assert_eq!(sum, Resources::new(1.0, 10));
        assert_eq!(tenth.times(10), sum);
        assert_eq!(sum - tenth.times(11), Resources::NONE);
    }

    #[test]
    fn it_fits_only_if_both_do() {
        let room = Resources::new(1.0, 100);
        assert!(Resources::new(1.0, 100).fits(room));
        assert!(!Resources::new(1.001, 1).fits(room));
        assert!(!Resources::new(0.0, 101).fits(room));
    }
}
