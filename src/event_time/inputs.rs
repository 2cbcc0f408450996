//! Event time where links come together: an executor is as far as the least of its inputs.
//!
//! 1. Until each input that is not idle has brought a watermark, there is none.
//! 2. An idle input holds nothing back. When it has something again, it counts from the time on at which it has come as
//!    far as the others. So it cannot pull time back, nor stop it because of what it missed.
//! 3. When all inputs are idle, time goes on to the greatest watermark of all of them, and the executor is idle, too.
//! 4. An input that has ended holds nothing back. Time has ended when all inputs have.
//!
//! It is Flink's `StatusWatermarkValve`, but for rule 4: there, an input that has ended carries an input that is idle with
//! it to the end of time.

use crate::event_time::mark::{END_OF_TIME, NO_WATERMARK, TimeMark};
use crate::tuple::Timestamp;

/// The inputs of an executor.
#[derive(Debug)]
pub(crate) struct InputTimes {
    inputs: Vec<InputTime>,
    watermark: Timestamp,
    is_idle: bool,
}

#[derive(Clone, Copy, Debug)]
struct InputTime {
    watermark: Timestamp,
    is_idle: bool,
    /// Whether it holds the others back.
    counts: bool,
}

/// What a mark has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advance {
    /// The watermark, if it has risen, or if the executor is no longer idle.
    pub(crate) watermark: Option<Timestamp>,
    /// Whether the executor is idle from now on.
    pub(crate) becomes_idle: bool,
}

impl InputTimes {
    /// Of so many inputs, none of which has brought a watermark.
    pub(crate) fn new(inputs: usize) -> InputTimes {
        let input = InputTime { watermark: NO_WATERMARK, is_idle: false, counts: true };
        InputTimes { inputs: vec![input; inputs], watermark: NO_WATERMARK, is_idle: false }
    }

    /// Begins anew where a checkpoint has left off.
    pub(crate) fn restore(&mut self, watermark: Timestamp) {
        *self = InputTimes { watermark, ..InputTimes::new(self.inputs.len()) };
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Whether nothing comes of any of them, for now.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// How far the executor is, for those behind it.
    pub(crate) fn mark(&self) -> TimeMark {
        if self.is_idle { TimeMark::Idle } else { TimeMark::Watermark(self.watermark) }
    }

    /// How far the executor is.
    pub(crate) fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// A mark has come over an input.
    pub(crate) fn take(&mut self, input: usize, mark: TimeMark) -> Advance {
        let came = &mut self.inputs[input];
        match mark {
            TimeMark::Watermark(watermark) => {
                came.is_idle = false;
                came.watermark = came.watermark.max(watermark);
                came.counts |= came.watermark >= self.watermark;
            }
            TimeMark::Idle => (came.is_idle, came.counts) = (true, false),
        }
        let was_idle = std::mem::replace(&mut self.is_idle, self.inputs.iter().all(InputTime::rests));
        let has_ended = self.inputs.iter().all(InputTime::has_ended);
        self.is_idle &= !has_ended;
        let found = match () {
            () if has_ended => END_OF_TIME,
            () if self.is_idle => {
                let known = self.inputs.iter().filter(|input| !input.has_ended());
                known.map(|input| input.watermark).max().unwrap_or(NO_WATERMARK)
            }
            () => {
                let counting = self.inputs.iter().filter(|input| input.holds_back());
                counting.map(|input| input.watermark).min().unwrap_or(NO_WATERMARK)
            }
        };
        let has_risen = found > self.watermark;
        self.watermark = self.watermark.max(found);
        let shows = has_risen || was_idle && !self.is_idle;
        Advance { watermark: shows.then_some(self.watermark), becomes_idle: self.is_idle && !was_idle }
    }
}

impl InputTime {
    fn has_ended(&self) -> bool {
        self.watermark == END_OF_TIME
    }

    /// Whether nothing comes of it, for now or for ever.
    fn rests(&self) -> bool {
        self.is_idle || self.has_ended()
    }

    fn holds_back(&self) -> bool {
        self.counts && !self.rests()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimeMark::{Idle, Watermark};

    fn at(time: i64) -> TimeMark {
        Watermark(Timestamp(time))
    }

    fn rises(to: i64) -> Advance {
        Advance { watermark: Some(Timestamp(to)), becomes_idle: false }
    }

    const NOTHING: Advance = Advance { watermark: None, becomes_idle: false };

    #[test]
    fn the_least_input_decides_and_nothing_goes_back() {
        let mut inputs = InputTimes::new(2);
        assert_eq!(inputs.take(0, at(110)), NOTHING, "the other has brought none yet");
        assert_eq!(inputs.take(1, at(98)), rises(98));
        assert_eq!(inputs.take(1, at(90)), NOTHING);
        assert_eq!(inputs.take(1, at(120)), rises(110));
    }

    #[test]
    fn an_idle_input_counts_again_when_it_has_come_as_far_as_the_others() {
        let mut inputs = InputTimes::new(2);
        inputs.take(0, at(10));
        assert_eq!(inputs.take(1, Idle), rises(10));
        assert_eq!(inputs.take(0, at(20)), rises(20));
        assert_eq!(inputs.take(1, at(12)), NOTHING, "it is late, and stops nobody");
        assert_eq!(inputs.take(0, at(30)), rises(30));
        assert_eq!(inputs.take(1, at(30)), NOTHING);
        assert_eq!(inputs.take(0, at(40)), NOTHING, "now it counts");
        assert_eq!(inputs.take(1, at(35)), rises(35));
    }

    #[test]
    fn when_all_are_idle_time_goes_to_the_greatest_of_them() {
        let mut inputs = InputTimes::new(2);
        inputs.take(0, at(10));
        inputs.take(1, at(5));
        assert_eq!(inputs.take(0, Idle), NOTHING);
        let last = Advance { watermark: Some(Timestamp(10)), becomes_idle: true };
        assert_eq!(inputs.take(1, Idle), last);
        assert_eq!(inputs.take(1, Idle), NOTHING);
        assert_eq!(
            inputs.take(1, at(7)),
            rises(10),
            "it is not idle any more, so nobody is to go on without it"
        );
    }

    #[test]
    fn time_has_ended_when_all_inputs_have() {
        let mut inputs = InputTimes::new(3);
        inputs.take(0, at(10));
        assert_eq!(inputs.take(1, Watermark(END_OF_TIME)), NOTHING);
        assert_eq!(inputs.take(2, Idle), rises(10), "what has ended does not carry the idle one with it");
        assert_eq!(inputs.take(2, Watermark(END_OF_TIME)), NOTHING);
        assert_eq!(inputs.take(0, Watermark(END_OF_TIME)), rises(i64::MAX));
    }

    #[test]
    fn after_a_restore_time_goes_on_where_it_was() {
        let mut inputs = InputTimes::new(1);
        inputs.restore(Timestamp(50));
        assert_eq!(inputs.take(0, at(40)), NOTHING);
        assert_eq!(inputs.watermark(), Timestamp(50));
        assert_eq!(inputs.take(0, at(60)), rises(60));
    }

    /// Against the definition, written down once more: of three inputs, every sequence of five marks.
    #[test]
    fn every_short_sequence_of_marks_keeps_the_rules() {
        let marks = [at(1), at(2), at(3), Idle, Watermark(END_OF_TIME)];
        let steps = marks.len() * 3;
        for sequence in 0..steps.pow(5) {
            let mut inputs = InputTimes::new(3);
            let (mut left, mut last) = (sequence, NO_WATERMARK);
            let mut given = [(NO_WATERMARK, false); 3];
            let mut greatest = NO_WATERMARK;
            for _ in 0..5 {
                let (input, mark) = (left % 3, marks[left / 3 % marks.len()]);
                left /= steps;
                let advance = inputs.take(input, mark);
                match mark {
                    Watermark(at) => given[input] = (given[input].0.max(at), false),
                    Idle => given[input].1 = true,
                }
                assert!(inputs.watermark() >= last, "{sequence}");
                assert!(advance.watermark.is_none_or(|at| at == inputs.watermark()), "{sequence}");
                last = inputs.watermark();
                let is_over = |(at, _): &(Timestamp, bool)| *at == END_OF_TIME;
                assert_eq!(last == END_OF_TIME, given.iter().all(is_over), "{sequence}");
                let known = given.iter().filter(|it| !is_over(it)).map(|it| it.0).max();
                greatest = greatest.max(known.unwrap_or(NO_WATERMARK));
                assert!(last == END_OF_TIME || last <= greatest, "{sequence}: from nowhere");
            }
        }
    }
}
