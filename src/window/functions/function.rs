//! Which functions there are.

/// What is made of the values of a field, or of an expression.
///
/// # Examples
/// ```
/// use squall::window::{Call, Function};
///
/// assert_eq!(Call::parse("top(page, 3)")?.function, Function::Top(3));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// How many tuples there are; with a field, how many have a value in it.
    Count,
    /// The sum of numbers.
    Sum,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The mean of numbers.
    Avg,
    /// The value of the tuple that happened first.
    First,
    /// The value of the tuple that happened last.
    Last,
    /// One of the values.
    Any,
    /// All values, in the order in which they happened; with a number, so many at most.
    Collect(Option<usize>),
    /// The values that occur most often, so many.
    Top(usize),
    /// How many different values there are.
    Distinct,
    /// About how many different values there are, in a few KiB however many they are.
    DistinctApprox,
    /// The value that so many percent of all are not greater than, to 1 %.
    Percentile(f64),
    /// The variance of numbers that are all there are.
    Variance,
    /// The standard deviation of numbers that are all there are.
    Stddev,
}

impl Function {
    /// All functions with what they are called by, for errors and documentation.
    pub const NAMES: [&'static str; 15] = [
        "count",
        "sum",
        "min",
        "max",
        "avg",
        "first",
        "last",
        "any",
        "collect",
        "top",
        "distinct",
        "distinct_approx",
        "percentile",
        "variance",
        "stddev",
    ];

    /// Whether values can be taken away again.
    pub(super) fn is_invertible(self) -> bool {
        match self {
            Function::Count | Function::Sum | Function::Avg | Function::Variance | Function::Stddev => true,
            Function::Collect(None) | Function::Top(_) | Function::Distinct => true,
            Function::Min | Function::Max | Function::First | Function::Last | Function::Any => false,
            Function::Collect(Some(_)) | Function::DistinctApprox | Function::Percentile(_) => false,
        }
    }
}
