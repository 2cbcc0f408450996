//! Event time of an executor: what has come of it over its links, what its tasks read, and what those behind it know.
//!
//! `bolt_times` and `spout_times` continue the executors with it. What decides is in `event_time`.
//!
//! 1. Executors whose component has `event_time` let others know what their tasks read, and not what has come to them. Only
//!    the end of time and idleness go on from their inputs.
//! 2. Links that lead back do not count: what goes round may be late. Neither do links from components without event time.

use crate::api::CounterId;
use crate::checkpoint::EventTimeEntry;
use crate::clock::Time;
use crate::event_time::{Advance, END_OF_TIME, InputTimes, NO_WATERMARK, SentTimes, TimeMark};
use crate::ids::LinkId;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::routing::emitter::Emitter;
use crate::tuple::Timestamp;

/// Event time in an executor.
pub struct EventTimes {
    /// The links that count, in the order of their ids. An executor that is chained behind another has none, and one input.
    links: Vec<LinkId>,
    inputs: InputTimes,
    /// What has come, and was not passed on yet.
    pending: Advance,
    sent: SentTimes,
    /// Of an executor whose tasks read the time of what they emit: how far they are together.
    read: Option<InputTimes>,
    /// Whether what was sent last is to be sent once more, because a worker was lost.
    sends_again: bool,
}

impl EventTimes {
    /// With these links, none of which has brought anything. `reading`: how many tasks read the time of what they emit.
    pub fn new(
        mut links: Vec<LinkId>,
        is_chained: bool,
        sent: SentTimes,
        reading: Option<usize>,
    ) -> EventTimes {
        links.sort_unstable();
        let inputs = if is_chained { 1 } else { links.len() };
        EventTimes {
            links,
            inputs: InputTimes::new(inputs),
            pending: Advance::default(),
            sent,
            read: reading.map(InputTimes::new),
            sends_again: false,
        }
    }

    /// Something has come over a link. Links that do not count are ignored.
    pub fn take(&mut self, link: LinkId, mark: TimeMark) {
        if let Ok(input) = self.links.binary_search(&link) {
            self.take_from(input, mark);
        }
    }

    /// Something has come from the input of this number.
    pub fn take_from(&mut self, input: usize, mark: TimeMark) {
        let Advance { watermark, becomes_idle } = self.inputs.take(input, mark);
        self.pending.watermark = watermark.or(self.pending.watermark);
        // A watermark ends idleness.
        self.pending.becomes_idle = becomes_idle || self.pending.becomes_idle && watermark.is_none();
    }

    /// Time ends, whatever the inputs say.
    pub fn end(&mut self) {
        self.inputs.restore(END_OF_TIME);
        self.pending = Advance { watermark: Some(END_OF_TIME), becomes_idle: false };
    }

    /// What was sent last is to be sent once more.
    pub fn send_again(&mut self) {
        self.sends_again = true;
    }

    /// Begins anew.
    pub fn restore(&mut self, watermark: Timestamp) {
        self.inputs.restore(watermark);
        self.sent.clear();
        self.pending =
            Advance { watermark: Some(watermark).filter(|it| *it != NO_WATERMARK), becomes_idle: false };
        self.sends_again = false;
        if let Some(read) = &mut self.read {
            read.restore(NO_WATERMARK);
        }
    }

    /// What has come and was not passed on yet.
    pub fn pending(&self) -> Advance {
        self.pending
    }

    /// It was passed on.
    pub fn passed_on(&mut self) {
        self.pending = Advance::default();
    }

    /// Whether something has come that was not passed on yet.
    pub fn is_pending(&self) -> bool {
        self.pending != Advance::default()
    }

    /// How far event time is: of what goes out where the tasks read it, and of what comes in elsewhere.
    pub fn watermark(&self) -> Timestamp {
        self.read.as_ref().unwrap_or(&self.inputs).watermark()
    }

    /// The same for people. 1970 itself would mean that there is no event time.
    pub fn publish(&self, gauges: &Gauges) {
        let watermark = self.watermark().0;
        gauges.set(CounterId::WATERMARK, if watermark == 0 { 1 } else { watermark });
    }

    /// Whether it is time to look how far the tasks are with what they have emitted.
    pub fn looks(&self, now: Time, at_once: bool) -> bool {
        self.read.is_some() && (at_once || self.is_pending() || self.sent.may_send(now))
    }

    /// How far the tasks are with what they have emitted.
    pub fn read<'e>(
        &mut self,
        emitters: impl Iterator<Item = &'e mut Emitter>,
        now: Time,
        could_emit: bool,
    ) -> Option<TimeMark> {
        let read = self.read.as_mut()?;
        let is_idle = !self.inputs.is_empty() && self.inputs.is_idle();
        for (task, emitter) in emitters.enumerate() {
            let Some(times) = &mut emitter.times else { continue };
            times.source.look(now, could_emit);
            let mark = if is_idle { TimeMark::Idle } else { times.source.mark() };
            read.take(task, mark);
        }
        Some(read.mark())
    }

    /// How far they were at the last look.
    pub fn read_before(&self) -> Option<TimeMark> {
        self.read.as_ref().map(InputTimes::mark)
    }

    /// The input has ended, and with it what the tasks read.
    pub fn end_read(&mut self) -> Option<TimeMark> {
        let read = self.read.as_mut()?;
        read.restore(END_OF_TIME);
        Some(read.mark())
    }

    /// The mark that is to be sent now; it then counts as sent. `at_once`: nothing else comes for now.
    pub fn next(&mut self, mark: TimeMark, now: Time, at_once: bool) -> Option<TimeMark> {
        self.sent.next(mark, now, at_once)
    }

    /// Whether this mark is to be sent now.
    pub fn is_due(&self, mark: TimeMark, now: Time, at_once: bool) -> bool {
        let due = self.sent.due(mark);
        due <= now || at_once && due != Time::NEVER
    }

    /// Whether what was sent last is to be sent once more.
    pub fn sends_again(&self) -> bool {
        self.sends_again
    }

    /// What is to be sent once more.
    pub fn take_again(&mut self) -> Option<TimeMark> {
        self.sent.last().filter(|_| std::mem::take(&mut self.sends_again))
    }

    /// When a mark is to be sent that waits for its time, or a split becomes idle. What could be done now waits for something
    /// else, which wakes the executor: without room, or before a barrier has gone on, nobody looks at the tasks.
    pub fn wake_at<'e>(&self, emitters: impl Iterator<Item = &'e Emitter>, now: Time) -> Time {
        let Some(read) = &self.read else { return Time::NEVER };
        let idle =
            emitters.filter_map(|emitter| emitter.times.as_ref()).map(|times| times.source.next_idle());
        let times = idle.chain([self.sent.due(read.mark())]);
        times.filter(|at| *at > now).min().unwrap_or(Time::NEVER)
    }
}

/// Begins anew with the splits that a checkpoint has.
pub fn restore_source(emitter: &mut Emitter, restored: Option<&EventTimeEntry>) {
    if let Some(times) = &mut emitter.times {
        times.source.restore(restored.map(|restored| restored.latest.clone()).unwrap_or_default());
    }
}
