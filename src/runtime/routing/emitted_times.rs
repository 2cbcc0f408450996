//! The times of what a task emits, where its component has `event_time`.

use smol_str::SmolStr;

use crate::api::StreamDeclaration;
use crate::config::EventTimeOptions;
use crate::event_time::{SourceTimes, TimeFormat};
use crate::tuple::TupleBatch;

/// Reads the times of what a task emits.
pub struct EmittedTimes {
    /// The field that has the time.
    field: SmolStr,
    /// For each stream, where that field stands. `None`: the stream has no such field.
    columns: Vec<Option<usize>>,
    format: TimeFormat,
    /// How far event time is.
    pub source: SourceTimes,
}

impl EmittedTimes {
    /// Of a task that emits to these streams. `None`: there is no such format, which validation has refused.
    pub fn new(options: &EventTimeOptions, streams: &[StreamDeclaration]) -> Option<EmittedTimes> {
        Some(EmittedTimes {
            field: SmolStr::new(&options.field),
            columns: streams.iter().map(|stream| stream.fields.position(&options.field)).collect(),
            format: TimeFormat::new(options.format.as_deref(), options.time_zone.as_deref()).ok()?,
            source: SourceTimes::new(options.max_out_of_order, options.idle_after),
        })
    }

    /// Notes the times of tuples that were emitted to a stream. Those that have none do not count: `unreadable` is called
    /// with the reason.
    pub fn observe(&mut self, stream: usize, batch: &TupleBatch, mut unreadable: impl FnMut(String)) {
        let Some(column) = self.columns.get(stream).copied().flatten() else { return };
        for tuple in 0..batch.len() {
            match self.format.time_of(&batch.row(tuple)[column]) {
                Ok(at) => self.source.observe(at),
                Err(why) => unreadable(format!(
                    "no time in the field `{}`, which `event_time` names: `{}` {why}; the tuple goes on, and its time does \
                     not count",
                    self.field,
                    batch.row(tuple)[column]
                )),
            }
        }
    }
}
