//! Sessions: windows that last as long as no gap is longer than a span of time.
//!
//! For each key there is a state for each session that is not forgotten. A tuple belongs to the span from its time to
//! `gap` later. Sessions that this span overlaps become one. Those that it touches do not: a watermark may end one of them
//! before a tuple of the same moment comes.
//!
//! The timer is set to the end of the first session, or earlier: when tuples come, the end of a session grows, and the
//! timer is only moved when it is called.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{MapState, Outputs, TaskContext, TaskError};
use crate::tuple::Timestamp;
use crate::window::aggregate::Aggregate;
use crate::window::firing::{Added, Arrival, Extent, Firing};
use crate::window::grid::{Window, WindowError};
use crate::window::teller::Teller;
use crate::window::time_source::{TimeSource, is_over, later};

pub(super) struct SessionEngine<A: Aggregate> {
    lateness: Duration,
    source: TimeSource,
    /// By their starts.
    sessions: MapState<i64, Session<A::State>>,
    /// Starts and ends of the sessions of the key, in order.
    kept: Vec<(i64, i64)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Session<S> {
    end: i64,
    state: S,
}

impl<A: Aggregate> SessionEngine<A> {
    pub(super) fn register(
        lateness: Duration,
        source: TimeSource,
        context: &TaskContext,
    ) -> Result<SessionEngine<A>, TaskError> {
        Ok(SessionEngine { lateness, source, sessions: context.map_state("sessions")?, kept: Vec::new() })
    }

    pub(super) fn source(&self) -> &TimeSource {
        &self.source
    }

    pub(super) fn add(
        &mut self,
        Arrival { at, item }: Arrival<'_, A::Item>,
        gap: Duration,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<Added, TaskError> {
        while let Some(due) = self.source.overdue(at, out)? {
            self.due(due, out, teller)?;
        }
        if later(at, gap) == Timestamp(i64::MAX) {
            return Err(TaskError::new(WindowError::OutOfRange(at).to_string()));
        }
        let (mut start, mut end) = (at.0, later(at, gap).0);
        self.look(out)?;
        // In order of their starts, because a session that has grown may overlap the next one.
        let mut merged = smallvec::SmallVec::<[i64; 2]>::new();
        let overlaps = |(start, end): (i64, i64), other: (i64, i64)| other.0 < end && start < other.1;
        for session in self.kept.iter().copied() {
            if overlaps((start, end), session) {
                (start, end) = (start.min(session.0), end.max(session.1));
                merged.push(session.0);
            }
        }
        let now = self.source.now_for(at, out);
        if is_over(later(Timestamp(end), self.lateness), now) {
            return Ok(Added::Late);
        }
        match merged.as_slice() {
            [one] if *one == start => {
                let first = || Session { end, state: teller.aggregate.empty() };
                self.sessions.update(out, start, first, |session| {
                    session.end = end;
                    teller.aggregate.add(&mut session.state, item)
                })??;
            }
            merged => {
                let mut state = teller.aggregate.empty();
                teller.aggregate.add(&mut state, item)?;
                for start in merged {
                    if let Some(session) = self.sessions.get(out, start)? {
                        teller.aggregate.combine(&mut state, &session.state)?;
                    }
                    self.sessions.remove(out, *start)?;
                }
                self.sessions.insert(out, start, Session { end, state })?;
            }
        }
        let next = if is_over(Timestamp(end), now) {
            self.tell(start, Firing::Late, out, teller)?;
            later(Timestamp(end), self.lateness)
        } else {
            Timestamp(end)
        };
        self.source.set_earlier(out, next)?;
        Ok(Added::Counted)
    }

    /// The timer of the key is called for this moment.
    pub(super) fn due(
        &mut self,
        at: Timestamp,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<(), TaskError> {
        self.look(out)?;
        let mut next: Option<Timestamp> = None;
        for (start, end) in self.kept.clone() {
            let end = Timestamp(end);
            if end == at {
                self.tell(start, Firing::OnTime, out, teller)?;
            }
            let gone = later(end, self.lateness);
            if gone <= at {
                self.sessions.remove(out, start)?;
                continue;
            }
            let first = if end > at { end } else { gone };
            next = Some(next.map_or(first, |next| next.min(first)));
        }
        self.source.set(out, next)
    }

    /// Tells what open sessions have so far.
    pub(super) fn early(&mut self, out: &mut Outputs<'_>, teller: &mut Teller<A>) -> Result<(), TaskError> {
        self.look(out)?;
        let now = self.source.now(out);
        let open: Vec<i64> =
            self.kept.iter().filter(|(_, end)| !is_over(Timestamp(*end), now)).map(|it| it.0).collect();
        open.into_iter().try_for_each(|start| self.tell(start, Firing::Early, out, teller))
    }

    /// Notes which sessions the key has.
    fn look(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.kept.clear();
        self.kept.extend(self.sessions.entries(out)?.map(|(start, session)| (*start, session.end)));
        self.kept.sort_unstable();
        Ok(())
    }

    fn tell(
        &self,
        start: i64,
        why: Firing,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<(), TaskError> {
        let Some(session) = self.sessions.get(out, &start)? else { return Ok(()) };
        let span = Window { start: Timestamp(start), end: Timestamp(session.end) };
        let output = teller.aggregate.output(&session.state);
        teller.tell(out, Extent::Time(span), why, Ok(output));
        Ok(())
    }
}
