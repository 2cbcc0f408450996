//! What is made of many items, so that parts of them can be made apart and put together.

use crate::api::TaskError;
use crate::state::StateValue;

/// A function of many items, such as a sum, that is made bit by bit: windows keep the [`State`](Aggregate::State) of each
/// slice, and put slices together.
///
/// For this, what is put together must not depend on the order or on the groups in which it was added. With F(X) for the
/// state of the items X, and H(dX) for that of a few more, F(X + dX) = F(X) `combine` H(dX), whichever items are in X and
/// which in dX.
///
/// # Examples
/// The longest word, and how many words there were:
/// ```
/// use serde::{Deserialize, Serialize};
/// use squall::prelude::*;
/// use squall::window::Aggregate;
///
/// struct Words;
///
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Found {
///     longest: String,
///     words: u64,
/// }
///
/// impl Aggregate for Words {
///     type Item = String;
///     type State = Found;
///     type Output = (String, u64);
///
///     fn empty(&self) -> Found {
///         Found::default()
///     }
///
///     fn add(&self, found: &mut Found, word: &String) -> Result<(), TaskError> {
///         self.combine(found, &Found { longest: word.clone(), words: 1 })
///     }
///
///     fn combine(&self, found: &mut Found, other: &Found) -> Result<(), TaskError> {
///         found.words += other.words;
///         // Of two that are equally long the first in the alphabet, so that the order does not matter.
///         let rank = |word: &String| (std::cmp::Reverse(word.len()), word.clone());
///         if rank(&other.longest) < rank(&found.longest) {
///             found.longest = other.longest.clone();
///         }
///         Ok(())
///     }
///
///     fn output(&self, found: &Found) -> (String, u64) {
///         (found.longest.clone(), found.words)
///     }
/// }
///
/// let (mut monday, mut tuesday) = (Words.empty(), Words.empty());
/// Words.add(&mut monday, &"rain".to_owned())?;
/// Words.add(&mut tuesday, &"storm".to_owned())?;
/// Words.combine(&mut monday, &tuesday)?;
/// assert_eq!(Words.output(&monday), ("storm".to_owned(), 2));
/// # Ok::<(), TaskError>(())
/// ```
pub trait Aggregate: Send + 'static {
    /// One item.
    type Item;
    /// What is kept of the items that were added.
    type State: StateValue;
    /// What is told of them.
    type Output;

    /// The state of no items. Put together with any other state, it changes nothing.
    fn empty(&self) -> Self::State;

    /// Adds an item.
    ///
    /// # Errors
    /// When the item cannot be added: a sum overflows, for example. The tuple fails, and the state stays as it was.
    fn add(&self, state: &mut Self::State, item: &Self::Item) -> Result<(), TaskError>;

    /// Adds all items of another state.
    ///
    /// # Errors
    /// As [`add`](Aggregate::add).
    fn combine(&self, state: &mut Self::State, other: &Self::State) -> Result<(), TaskError>;

    /// Whether items can be taken away again by [`invert`](Aggregate::invert): of a sum they can, of a greatest value they
    /// cannot. Then windows that overlap keep a running total, and subtract what leaves it. By default they cannot.
    fn is_invertible(&self) -> bool {
        false
    }

    /// Takes the items of another state away, all of which are in this one. Called only if that is
    /// [possible](Aggregate::is_invertible). With one `invert` behind each `combine` of the same state, a state is told as it
    /// was before.
    ///
    /// # Errors
    /// As [`add`](Aggregate::add). Then the total is made anew.
    fn invert(&self, _state: &mut Self::State, _other: &Self::State) -> Result<(), TaskError> {
        Err(TaskError::new("nothing can be taken away from this aggregate"))
    }

    /// What is told of the items.
    fn output(&self, state: &Self::State) -> Self::Output;
}
