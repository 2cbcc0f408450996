//! Tuples that come when all their windows are over.

use smol_str::SmolStr;

use crate::api::{Input, Outputs, TaskContext, TaskError};
use crate::metrics::Counter;
use crate::tuple::{Timestamp, Value};

/// The stream of tuples that came when all their windows were over.
pub const LATE_STREAM: &str = "late";

/// The fields of that stream: where the tuple came from, when it happened, how far event time was, and what it has.
pub(super) const LATE_FIELDS: [&str; 5] = ["source", "stream", "time", "watermark", "values"];

/// Counts tuples that are late, and puts them aside.
pub(super) struct Late {
    late: Counter,
    dropped: Counter,
}

impl Late {
    pub(super) fn register(context: &TaskContext) -> Late {
        Late { late: context.counter("late"), dropped: context.loss_counter("late_dropped") }
    }

    /// Emits a tuple that is late. If nobody takes the stream, it is lost.
    pub(super) fn put_aside(
        &self,
        input: &Input<'_>,
        at: Timestamp,
        out: &mut Outputs<'_>,
    ) -> Result<(), TaskError> {
        self.late.add(1);
        let named = input.fields().iter().map(SmolStr::as_str).zip(input.values().iter().cloned());
        let watermark = out.watermark().map_or(Value::Null, Value::from);
        let row = vec![
            Value::str(input.source_component()),
            Value::str(input.source_stream()),
            at.into(),
            watermark,
            Value::map(named),
        ];
        let targets = out.emit_for_targets(LATE_STREAM, row)?;
        if targets.is_empty() {
            self.dropped.add(1);
        }
        Ok(())
    }
}
