//! What an executor has let those behind it know of event time.

use std::time::Duration;

use crate::clock::Time;
use crate::event_time::mark::{NO_WATERMARK, TimeMark};
use crate::tuple::Timestamp;

/// The last mark that was sent, and when the next one may follow.
#[derive(Debug)]
pub(crate) struct SentTimes {
    watermark: Timestamp,
    is_idle: bool,
    /// The least time between two marks.
    interval: Duration,
    next: Time,
}

impl SentTimes {
    /// Nothing was sent. Marks are so far apart.
    pub(crate) fn new(interval: Duration) -> SentTimes {
        SentTimes { watermark: NO_WATERMARK, is_idle: false, interval, next: Time::ZERO }
    }

    /// Begins anew: whoever is behind begins anew, too.
    pub(crate) fn clear(&mut self) {
        *self = SentTimes::new(self.interval);
    }

    /// The mark that is to be sent now, if this is how far event time is. It is then taken as sent. `at_once`: nothing
    /// else is to come for now.
    pub(crate) fn next(&mut self, mark: TimeMark, now: Time, at_once: bool) -> Option<TimeMark> {
        let news = self.news(mark)?;
        if now < self.next && !at_once {
            return None;
        }
        self.next = now.after(self.interval);
        match news {
            TimeMark::Watermark(watermark) => (self.watermark, self.is_idle) = (watermark, false),
            TimeMark::Idle => self.is_idle = true,
        }
        Some(news)
    }

    /// What is new about it to those behind.
    fn news(&self, mark: TimeMark) -> Option<TimeMark> {
        match mark {
            TimeMark::Watermark(watermark) if watermark > self.watermark || self.is_idle => {
                Some(TimeMark::Watermark(watermark.max(self.watermark)))
            }
            TimeMark::Idle if !self.is_idle => Some(TimeMark::Idle),
            TimeMark::Watermark(_) | TimeMark::Idle => None,
        }
    }

    /// Whether a mark may be sent now, if there is anything new.
    pub(crate) fn may_send(&self, now: Time) -> bool {
        now >= self.next
    }

    /// When the mark may be sent, if it has something new; [`Time::NEVER`] if it has not.
    pub(crate) fn due(&self, mark: TimeMark) -> Time {
        self.news(mark).map_or(Time::NEVER, |_| self.next)
    }

    /// The last that was sent, for one that has begun anew. `None`: nothing was.
    pub(crate) fn last(&self) -> Option<TimeMark> {
        match self.is_idle {
            true => Some(TimeMark::Idle),
            false => Some(TimeMark::Watermark(self.watermark)).filter(|_| self.watermark != NO_WATERMARK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_apart_and_never_go_back() {
        let at = |time| TimeMark::Watermark(Timestamp(time));
        let mut sent = SentTimes::new(Duration::from_nanos(10));
        assert_eq!((sent.next(at(i64::MIN), Time(0), true), sent.last()), (None, None));
        assert_eq!(sent.next(at(5), Time(0), false), Some(at(5)));
        assert_eq!(sent.due(at(6)), Time(10));
        assert_eq!(sent.next(at(6), Time(9), false), None);
        assert_eq!(sent.next(at(6), Time(9), true), Some(at(6)));
        assert_eq!(sent.next(at(4), Time(30), true), None);
        assert_eq!(sent.next(TimeMark::Idle, Time(30), false), Some(TimeMark::Idle));
        assert_eq!((sent.next(TimeMark::Idle, Time(60), true), sent.last()), (None, Some(TimeMark::Idle)));
        assert_eq!(sent.next(at(4), Time(60), false), Some(at(6)), "it is back, and not further than before");
        assert_eq!(sent.last(), Some(at(6)));
    }
}
