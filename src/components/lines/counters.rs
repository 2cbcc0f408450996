//! What `lines` counts besides its lines. The table in `docs/components.md` states what each means.

use crate::api::{SpoutOutputs, TaskContext, TaskError};
use crate::metrics::Counter;

#[derive(Clone, Debug, Default)]
pub(super) struct LinesCounters {
    /// Files of which nothing was read.
    pub(super) files_not_read: Counter,
    /// Files that were read in part.
    pub(super) files_cut_short: Counter,
    /// Lines longer than `max_line`.
    pub(super) lines_cut: Counter,
    /// Lines that could not be emitted.
    pub(super) lines_dropped: Counter,
    /// Lines with bytes that are not UTF-8.
    pub(super) invalid_utf8: Counter,
    /// Lines with a NUL byte.
    pub(super) binary_lines: Counter,
    /// Attempts to open or to read a file that failed and are made again.
    pub(super) read_retries: Counter,
}

impl LinesCounters {
    pub(super) fn new(context: &TaskContext) -> LinesCounters {
        LinesCounters {
            files_not_read: context.loss_counter("files_not_read"),
            files_cut_short: context.loss_counter("files_cut_short"),
            lines_cut: context.loss_counter("lines_cut"),
            lines_dropped: context.loss_counter("lines_dropped"),
            invalid_utf8: context.counter("invalid_utf8"),
            binary_lines: context.counter("binary_lines"),
            read_retries: context.counter("read_retries"),
        }
    }

    /// Counts and reports a file that is not read any further, after so many bytes of it.
    pub(super) fn lost(
        &self,
        name: &str,
        position: u64,
        why: &dyn std::fmt::Display,
        out: &mut SpoutOutputs<'_>,
    ) {
        if position == 0 {
            self.files_not_read.add(1);
            out.report_error(TaskError::new(format!("cannot read `{name}`: {why}")));
        } else {
            self.files_cut_short.add(1);
            let at = format!("cannot read `{name}` to its end, stopped at byte {position}: {why}");
            out.report_error(TaskError::new(at));
        }
    }
}
