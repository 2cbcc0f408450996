//! Event time where it begins: at a task that reads it from what it emits.
//!
//! 1. The watermark of a *split* is the greatest time seen in it, less `max_out_of_order`.
//! 2. The watermark of the task is the least of its splits. A split that was named and has brought nothing yet holds it
//!    back: what is in it may be older than all that was seen.
//! 3. A split that has brought nothing for `idle_after` is idle, and holds nothing back. The time in which the task could
//!    not emit, because those behind it had no room, does not count.
//! 4. A split that has ended holds nothing back. When the whole input has ended, time has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use smol_str::SmolStr;

use crate::clock::Time;
use crate::event_time::mark::{END_OF_TIME, NO_WATERMARK, TimeMark};
use crate::tuple::Timestamp;

/// The splits of a task, and how far each of them is.
#[derive(Debug)]
pub(crate) struct SourceTimes {
    max_out_of_order: Duration,
    idle_after: Option<Duration>,
    splits: Vec<Split>,
    /// The places of the splits by their names.
    places: BTreeMap<SmolStr, usize>,
    /// The split of what is emitted now. `None`: none was named.
    current: Option<usize>,
    /// The greatest times of splits that are not named yet, from a checkpoint.
    restored: BTreeMap<SmolStr, Timestamp>,
    has_ended: bool,
    /// How long the task could emit so far, and when that was noted.
    active: Duration,
    looked_at: Option<Time>,
    /// Whether it could emit at the last look.
    could_emit: bool,
}

#[derive(Debug)]
struct Split {
    latest: Timestamp,
    /// Whether something came since the last look.
    is_new: bool,
    /// When something came last, in the time in which the task could emit.
    seen_at: Duration,
    is_idle: bool,
    has_ended: bool,
}

impl SourceTimes {
    /// Of a task that has emitted nothing.
    pub(crate) fn new(max_out_of_order: Duration, idle_after: Option<Duration>) -> SourceTimes {
        SourceTimes {
            max_out_of_order,
            idle_after,
            splits: Vec::new(),
            places: BTreeMap::new(),
            current: None,
            restored: BTreeMap::new(),
            has_ended: false,
            active: Duration::ZERO,
            looked_at: None,
            could_emit: true,
        }
    }

    /// Begins anew, with the greatest times that splits had at a checkpoint.
    pub(crate) fn restore(&mut self, latest: BTreeMap<SmolStr, Timestamp>) {
        *self = SourceTimes { restored: latest, ..SourceTimes::new(self.max_out_of_order, self.idle_after) };
    }

    /// What is emitted from now on is of this split.
    pub(crate) fn begin_split(&mut self, name: &str) {
        let place = self.place_of(name);
        self.splits[place].has_ended = false;
        self.current = Some(place);
    }

    /// Whether what is emitted now is of this split, which has not ended.
    pub(crate) fn is_in_split(&self, name: &str) -> bool {
        let place = self.places.get(name).copied();
        place.is_some_and(|place| self.current == Some(place) && !self.splits[place].has_ended)
    }

    fn place_of(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let latest = self.restored.remove(name).unwrap_or(NO_WATERMARK);
        let seen_at = self.active;
        self.splits.push(Split { latest, is_new: false, seen_at, is_idle: false, has_ended: false });
        self.places.insert(SmolStr::new(name), self.splits.len() - 1);
        self.splits.len() - 1
    }

    /// Nothing more comes of this split.
    pub(crate) fn end_split(&mut self, name: &str) {
        let place = self.place_of(name);
        self.splits[place].has_ended = true;
    }

    /// Something was emitted that happened then.
    pub(crate) fn observe(&mut self, at: Timestamp) {
        let place = self.current.unwrap_or_else(|| self.place_of(""));
        self.current = Some(place);
        let split = &mut self.splits[place];
        split.latest = split.latest.max(at);
        split.is_new = true;
    }

    /// The whole input has ended, or has not after all.
    pub(crate) fn set_ended(&mut self, has_ended: bool) {
        self.has_ended = has_ended;
    }

    /// Looks which splits are idle. `could_emit`: whether the task can emit. The time since the last look counts if it could
    /// then, too: nobody looks while it waits for room.
    pub(crate) fn look(&mut self, now: Time, could_emit: bool) {
        if let Some(before) = self.looked_at.replace(now)
            && could_emit
            && self.could_emit
        {
            self.active += now.since(before);
        }
        self.could_emit = could_emit;
        let (active, idle_after) = (self.active, self.idle_after);
        for split in &mut self.splits {
            if std::mem::take(&mut split.is_new) {
                split.seen_at = active;
            }
            split.is_idle = idle_after.is_some_and(|idle_after| active - split.seen_at >= idle_after);
        }
    }

    /// When the next split becomes idle if nothing comes of it. As long as the task cannot emit, none does.
    pub(crate) fn next_idle(&self) -> Time {
        let looked_at = self.looked_at.filter(|_| self.could_emit);
        let (Some(now), Some(idle_after)) = (looked_at, self.idle_after) else { return Time::NEVER };
        let waits = self.splits.iter().filter(|split| !split.is_idle && !split.has_ended);
        let first = match self.splits.is_empty() {
            true => Some(Duration::ZERO).filter(|_| self.active < idle_after),
            false => waits.map(|split| split.seen_at).min(),
        };
        first.map_or(Time::NEVER, |seen_at| now.after((seen_at + idle_after).saturating_sub(self.active)))
    }

    /// How far event time is.
    pub(crate) fn mark(&self) -> TimeMark {
        if self.has_ended {
            return TimeMark::Watermark(END_OF_TIME);
        }
        if self.splits.is_empty() {
            let is_idle = self.idle_after.is_some_and(|idle_after| self.active >= idle_after);
            return if is_idle { TimeMark::Idle } else { TimeMark::Watermark(NO_WATERMARK) };
        }
        let active = self.splits.iter().filter(|split| !split.is_idle && !split.has_ended);
        let least = active.map(|split| self.watermark_of(split)).min();
        least.map_or(TimeMark::Idle, TimeMark::Watermark)
    }

    fn watermark_of(&self, split: &Split) -> Timestamp {
        let bound = i64::try_from(self.max_out_of_order.as_nanos()).unwrap_or(i64::MAX);
        Timestamp(split.latest.0.saturating_sub(bound))
    }

    /// The greatest time of each split, for a checkpoint.
    pub(crate) fn latest(&self) -> BTreeMap<SmolStr, Timestamp> {
        let named = self.places.iter().map(|(name, place)| (name.clone(), self.splits[*place].latest));
        let known = named.filter(|(_, latest)| *latest != NO_WATERMARK);
        self.restored.clone().into_iter().chain(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    fn after(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    fn watermark(seconds: i64) -> TimeMark {
        TimeMark::Watermark(at(seconds))
    }

    /// Storm's `WaterMarkEventGeneratorTest`: a lag of 5.
    #[test]
    fn the_watermark_stays_behind_the_greatest_time() {
        let mut times = SourceTimes::new(5 * SECOND, None);
        assert_eq!(times.mark(), TimeMark::Watermark(NO_WATERMARK), "no event, no watermark");
        times.observe(at(100));
        times.observe(at(110));
        assert_eq!(times.mark(), watermark(105));
        times.observe(at(100));
        assert_eq!(times.mark(), watermark(105), "an earlier time does not pull it back");
    }

    #[test]
    fn the_least_split_decides_and_one_without_data_holds_all_back() {
        let mut times = SourceTimes::new(Duration::ZERO, None);
        times.begin_split("a");
        times.begin_split("b");
        assert_eq!(["a", "b", "c"].map(|split| times.is_in_split(split)), [false, true, false]);
        times.observe(at(7));
        assert_eq!(times.mark(), TimeMark::Watermark(NO_WATERMARK), "`a` may begin earlier");
        times.begin_split("a");
        times.observe(at(3));
        assert_eq!(times.mark(), watermark(3));
        times.end_split("a");
        assert_eq!(times.mark(), watermark(7));
        times.end_split("b");
        assert_eq!(times.mark(), TimeMark::Idle, "others may come");
        assert!(!times.is_in_split("a"), "it has ended, so it would begin again");
        times.begin_split("a");
        assert_eq!(times.mark(), watermark(3), "it goes on after all");
        times.set_ended(true);
        assert_eq!(times.mark(), TimeMark::Watermark(END_OF_TIME));
    }

    #[test]
    fn what_brings_nothing_for_long_is_idle_unless_it_could_not_emit() {
        let mut times = SourceTimes::new(Duration::ZERO, Some(10 * SECOND));
        times.look(after(0), true);
        assert_eq!(times.next_idle(), after(10));
        times.begin_split("slow");
        times.observe(at(1));
        times.begin_split("fast");
        times.observe(at(5));
        times.look(after(4), true);
        assert_eq!((times.mark(), times.next_idle()), (watermark(1), after(14)));
        times.observe(at(6));
        times.look(after(9), true);
        times.look(after(100), false);
        assert_eq!(times.mark(), watermark(1), "while those behind had no room, its time stood still");
        assert_eq!(times.next_idle(), Time::NEVER, "so nobody is to be woken for it");
        times.look(after(101), true);
        assert_eq!(times.mark(), watermark(1), "and nobody looked when it had room again");
        assert_eq!(times.next_idle(), after(106));
        times.look(after(106), true);
        assert_eq!(times.mark(), watermark(6), "`slow` is idle");
        times.look(after(111), true);
        assert_eq!((times.mark(), times.next_idle()), (TimeMark::Idle, Time::NEVER));
        times.begin_split("slow");
        times.observe(at(2));
        times.look(after(112), true);
        assert_eq!(times.mark(), watermark(2));
    }

    #[test]
    fn a_task_that_never_has_a_split_becomes_idle() {
        let mut times = SourceTimes::new(Duration::ZERO, Some(SECOND));
        times.look(after(0), true);
        times.look(after(1), true);
        assert_eq!((times.mark(), times.next_idle()), (TimeMark::Idle, Time::NEVER));
    }

    #[test]
    fn a_checkpoint_has_the_splits_that_come_later_too() {
        let mut times = SourceTimes::new(Duration::ZERO, None);
        times.begin_split("a");
        times.observe(at(4));
        times.begin_split("b");
        let latest = times.latest();
        assert_eq!(latest, BTreeMap::from([("a".into(), at(4))]));
        times.restore(latest);
        assert_eq!(times.mark(), TimeMark::Watermark(NO_WATERMARK), "no split is known yet");
        assert_eq!(times.latest(), BTreeMap::from([("a".into(), at(4))]));
        times.begin_split("a");
        assert_eq!(times.mark(), watermark(4));
    }
}
