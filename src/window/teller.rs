//! Makes the results of windows, and emits them.

use crate::api::{Outputs, TaskContext, TaskError};
use crate::metrics::Counter;
use crate::tuple::Value;
use crate::window::aggregate::Aggregate;
use crate::window::firing::{Extent, Firing};

/// Makes values of a result.
pub(super) type RowOf<A> = Box<dyn FnMut(<A as Aggregate>::Output) -> Result<Vec<Value>, TaskError> + Send>;

pub(super) struct Teller<A: Aggregate> {
    /// What results are made with.
    pub(super) aggregate: A,
    pub(super) row: RowOf<A>,
    /// Whether rows begin with the key, have the bounds of their window, and say why they are told.
    shows: (bool, bool, bool),
    refused: Counter,
}

impl<A: Aggregate> Teller<A> {
    /// Without a row: results have no values.
    pub(super) fn new(aggregate: A) -> Teller<A> {
        let row: RowOf<A> = Box::new(|_| Ok(Vec::new()));
        Teller { aggregate, row, shows: (false, false, false), refused: Counter::default() }
    }

    pub(super) fn prepare(&mut self, context: &TaskContext, shows: (bool, bool, bool)) {
        self.shows = shows;
        self.refused = context.loss_counter("rows_refused");
    }

    /// Emits a result. If that is not possible, the result is lost and counted, and the other windows are not concerned.
    pub(super) fn tell(
        &mut self,
        out: &mut Outputs<'_>,
        extent: Extent,
        why: Firing,
        output: Result<A::Output, TaskError>,
    ) {
        if let Err(error) = output.and_then(|output| self.emit(out, extent, why, output)) {
            let key = Value::list(out.key().iter().cloned());
            out.report_error(TaskError::new(format!("the result of a window of {key} is lost: {error}")));
            self.refused.add(1);
        }
    }

    fn emit(
        &mut self,
        out: &mut Outputs<'_>,
        extent: Extent,
        why: Firing,
        output: A::Output,
    ) -> Result<(), TaskError> {
        let (shows_key, shows_bounds, shows_firing) = self.shows;
        let result = (self.row)(output)?;
        let mut row = Vec::with_capacity(result.len() + 4);
        if shows_key {
            row.extend_from_slice(out.key());
        }
        if shows_bounds {
            row.extend(match extent {
                Extent::Time(window) => [window.start.into(), window.end.into()],
                Extent::Rows { start, end } => [start.into(), end.into()],
                Extent::All => [Value::Null, Value::Null],
            });
        }
        if shows_firing {
            row.push(Value::str(why.as_str()));
        }
        row.extend(result);
        // It stands for many tuples, which are acked when they are in their windows.
        Ok(out.unanchored(|out| out.emit(row))?)
    }
}
