//! The functions that documents name: `count()`, `sum(bytes)`, `percentile(ms, 95)` and so on.
//!
//! * `function`: which there are.
//! * `call`: how a text is read as a call of a function.
//! * `accumulator`: what each function keeps, and what it tells. `numbers`: sums and their squares, exactly.
//! * `state`: several functions of the same tuples as one aggregate.
//!
//! All of them are exact and do not depend on the order of tuples, but for `distinct_approx` and `percentile`, which are
//! estimates: they do not depend on the order either. Null counts nowhere but in `count()`. A value of a type that a
//! function does not take is an error, as elsewhere.

mod accumulator;
mod call;
mod function;
mod numbers;
mod state;
#[cfg(test)]
mod tests;

pub use call::Call;
pub use function::Function;
pub(crate) use state::{Arguments, Calls};
