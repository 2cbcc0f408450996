//! Several functions of the same tuples as one aggregate.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::api::TaskError;
use crate::tuple::{Timestamp, Value};
use crate::window::aggregate::Aggregate;
use crate::window::functions::accumulator::Accumulator;
use crate::window::functions::function::Function;

/// Functions that are called with values of the same tuples, each with the name of its result.
pub(crate) struct Calls(Vec<(String, Function)>);

impl Calls {
    /// These functions.
    pub(crate) fn new(functions: Vec<(String, Function)>) -> Calls {
        Calls(functions)
    }
}

/// What the functions are called with for one tuple.
pub(crate) struct Arguments {
    /// When it happened; if tuples have no time, when it came.
    pub(crate) at: Timestamp,
    /// A value for each function. `None`: the tuple does not count for it.
    pub(crate) values: SmallVec<[Option<Value>; 2]>,
}

/// What is kept for each function.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Accumulators(SmallVec<[Accumulator; 1]>);

impl Aggregate for Calls {
    type Item = Arguments;
    type State = Accumulators;
    type Output = Result<Vec<Value>, TaskError>;

    fn empty(&self) -> Accumulators {
        Accumulators(self.0.iter().map(|(_, function)| Accumulator::new(*function)).collect())
    }

    #[inline]
    fn add(&self, state: &mut Accumulators, tuple: &Arguments) -> Result<(), TaskError> {
        for (((name, function), value), accumulator) in self.0.iter().zip(&tuple.values).zip(&mut state.0) {
            if let Some(value) = value {
                accumulator.add(*function, tuple.at, value).map_err(|why| failed(name, &why))?;
            }
        }
        Ok(())
    }

    fn combine(&self, state: &mut Accumulators, other: &Accumulators) -> Result<(), TaskError> {
        for (((name, function), accumulator), other) in self.0.iter().zip(&mut state.0).zip(&other.0) {
            accumulator.combine(*function, other).map_err(|why| failed(name, &why))?;
        }
        Ok(())
    }

    fn is_invertible(&self) -> bool {
        self.0.iter().all(|(_, function)| function.is_invertible())
    }

    fn invert(&self, state: &mut Accumulators, other: &Accumulators) -> Result<(), TaskError> {
        for (((name, _), accumulator), other) in self.0.iter().zip(&mut state.0).zip(&other.0) {
            accumulator.invert(other).map_err(|why| failed(name, &why))?;
        }
        Ok(())
    }

    fn output(&self, state: &Accumulators) -> Result<Vec<Value>, TaskError> {
        let told = self.0.iter().zip(&state.0).map(|((name, function), accumulator)| {
            accumulator.output(*function).map_err(|why| TaskError::new(format!("`{name}`: {why}")))
        });
        told.collect()
    }
}

fn failed(name: &str, why: &str) -> TaskError {
    TaskError::new(format!("`{name}`: a value {why}"))
}
