//! The three kinds of windows, behind one face.

use std::time::Duration;

use crate::api::{Outputs, TaskContext, TaskError};
use crate::tuple::Timestamp;
use crate::window::aggregate::Aggregate;
use crate::window::firing::{Added, Arrival};
use crate::window::row_engine::RowEngine;
use crate::window::session_engine::SessionEngine;
use crate::window::spec::{WindowOptions, Windows};
use crate::window::teller::Teller;
use crate::window::time_engine::TimeEngine;
use crate::window::time_source::TimeSource;

/// The windows of a task.
pub(super) enum Engine<A: Aggregate> {
    Time(TimeEngine<A>),
    Session(SessionEngine<A>),
    Rows(RowEngine<A>),
}

impl<A: Aggregate> Engine<A> {
    pub(super) fn register(
        aggregate: &A,
        windows: &Windows,
        options: &WindowOptions,
        context: &TaskContext,
    ) -> Result<Engine<A>, TaskError> {
        let source = || TimeSource::register("due", options.time, context);
        let WindowOptions { allowed_lateness, discard, .. } = *options;
        Ok(match windows {
            Windows::Time(windows) => {
                let told = (allowed_lateness, discard);
                Engine::Time(TimeEngine::register(aggregate, windows.clone(), told, source()?, context)?)
            }
            Windows::Session(_) => {
                Engine::Session(SessionEngine::register(allowed_lateness, source()?, context)?)
            }
            Windows::Rows(rows) => {
                let source = rows.timeout.map(|_| source()).transpose()?;
                Engine::Rows(RowEngine::register(*rows, discard, source, context)?)
            }
        })
    }

    /// Adds a tuple to the windows of the key of the call. `gap` is for sessions.
    #[inline]
    pub(super) fn add(
        &mut self,
        arrival: Arrival<'_, A::Item>,
        gap: Duration,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<Added, TaskError> {
        match self {
            Engine::Time(engine) => engine.add(arrival, out, teller),
            Engine::Session(engine) => engine.add(arrival, gap, out, teller),
            Engine::Rows(engine) => engine.add(arrival, out, teller),
        }
    }

    /// The timer of the key is called for this moment.
    pub(super) fn due(
        &mut self,
        at: Timestamp,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<(), TaskError> {
        match self {
            Engine::Time(engine) => engine.due(at, out, teller),
            Engine::Session(engine) => engine.due(at, out, teller),
            Engine::Rows(engine) => engine.due(out, teller),
        }
    }

    /// A timer by the clock is called, for the moment that it was set to.
    pub(super) fn due_by_clock(
        &mut self,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<(), TaskError> {
        let due = self.source().map_or(Ok(None), |source| source.called(out))?;
        due.map_or(Ok(()), |due| self.due(due, out, teller))
    }

    /// Tells what open windows of the key have so far.
    pub(super) fn early(&mut self, out: &mut Outputs<'_>, teller: &mut Teller<A>) -> Result<(), TaskError> {
        match self {
            Engine::Time(engine) => engine.early(out, teller),
            Engine::Session(engine) => engine.early(out, teller),
            Engine::Rows(engine) => engine.early(out, teller),
        }
    }

    /// The input has ended: tells what all keys have in windows that no watermark ends.
    pub(super) fn finish(&mut self, out: &mut Outputs<'_>, teller: &mut Teller<A>) -> Result<(), TaskError> {
        if let Engine::Rows(engine) = self {
            return engine.finish(out, teller);
        }
        let Some(source) = self.source().cloned() else { return Ok(()) };
        source.for_each_due(out, |out| {
            while let Some(due) = source.due(out)? {
                self.due(due, out, teller)?;
            }
            Ok(())
        })
    }

    /// Whether the key has no windows any more.
    pub(super) fn is_empty(&self, out: &mut Outputs<'_>) -> Result<bool, TaskError> {
        match self {
            Engine::Time(_) | Engine::Session(_) => {
                self.source().map_or(Ok(false), |source| Ok(source.due(out)?.is_none()))
            }
            // Their tuples are numbered on.
            Engine::Rows(_) => Ok(false),
        }
    }

    fn source(&self) -> Option<&TimeSource> {
        match self {
            Engine::Time(engine) => Some(engine.source()),
            Engine::Session(engine) => Some(engine.source()),
            Engine::Rows(engine) => engine.source(),
        }
    }
}
