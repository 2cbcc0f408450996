//! What it may cost to read one topology, counted in steps.
//!
//! Reading a document calls the code of its components: regular expressions are compiled, expressions
//! parsed, names compared. A few thousand bytes can ask for minutes of that. So whatever costs more
//! than it is long announces beforehand how many steps it takes, and is refused when the whole document
//! has taken [`STEPS_MAX`]. Steps are counted, not timed: the same document is refused everywhere, on
//! a busy machine as on an idle one.

use std::cell::Cell;

/// Steps that one document may take. A step is about what compiling one byte of a regular expression's
/// program costs, 30 ns; all of them take about half a second.
pub const STEPS_MAX: u64 = 16 << 20;

/// A document needs more steps than it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the settings of this topology take more than {max} steps to read: write smaller patterns, shorter \
     expressions, fewer fields"
)]
pub struct EffortSpent {
    max: u64,
}

/// The steps that are left.
///
/// # Examples
/// ```
/// use squall::topology::effort::Effort;
///
/// let effort = Effort::of_document();
/// assert!(effort.spend(1000).is_ok());
/// assert_eq!(effort.spent(), 1000);
/// assert!(effort.spend(u64::MAX).is_err());
/// ```
#[derive(Debug)]
pub struct Effort {
    left: Cell<u64>,
    max: u64,
}

impl Effort {
    /// For one document.
    pub fn of_document() -> Effort {
        Effort { left: Cell::new(STEPS_MAX), max: STEPS_MAX }
    }

    /// For a component that was accepted before, or that a program builds by itself.
    pub fn unlimited() -> Effort {
        Effort { left: Cell::new(u64::MAX), max: u64::MAX }
    }

    /// Takes so many steps, before they are made.
    ///
    /// # Errors
    /// When they are not left; then nothing is left for what follows either.
    pub fn spend(&self, steps: u64) -> Result<(), EffortSpent> {
        match self.left.get().checked_sub(steps) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.left.set(0);
                Err(EffortSpent { max: self.max })
            }
        }
    }

    /// Begins anew, for the next reading of the same document.
    pub fn restart(&self) {
        self.left.set(self.max);
    }

    /// The steps that were taken.
    pub fn spent(&self) -> u64 {
        self.max - self.left.get()
    }
}
