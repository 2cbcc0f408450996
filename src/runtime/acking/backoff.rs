//! Failed messages of a spout task that wait until they may be replayed.
//!
//! Each message has its own pause, which grows with each failure of the message. So a message that can
//! never be processed, or a disk that is full, costs little processor time, and other messages are
//! processed meanwhile. `Spout::fail` is called only after the pause. So every spout replays with
//! back-off, whatever it does in `fail`.
//!
//! 1. The pause starts at `backoff_min` and doubles with each failure of the message, up to `backoff_max`.
//!    It is drawn at random between half of that and all of it, so that messages that failed together are
//!    not replayed together.
//! 2. Time and randomness are handed in.
//! 3. The number of messages that wait is bounded by the caller, which stops asking for new ones at
//!    [`REPLAYS_WAITING_MAX`](crate::config::limits::REPLAYS_WAITING_MAX).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::{Rng, RngExt as _};

use crate::clock::Time;
use crate::config::{ReplayOptions, doubled};
use crate::runtime::acking::pending::FailedMessage;

/// The messages of one task that wait. See the [module](self).
#[derive(Debug)]
pub struct Backoff {
    options: ReplayOptions,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// How many messages were ever added. It orders messages that are due at the same time.
    number: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Waiting {
    due: Time,
    number: u64,
    message: FailedMessage,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Backoff {
    /// Nothing waits.
    pub fn new(options: ReplayOptions) -> Backoff {
        Backoff { options, waiting: BinaryHeap::new(), number: 0 }
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Makes a message wait. The pause depends on how often the message failed.
    pub fn add(&mut self, message: FailedMessage, now: Time, rng: &mut impl Rng) {
        let pause = pause(&self.options, message.failures);
        let pause = pause / 2 + pause.mul_f64(rng.random_range(0.0..=0.5));
        let waiting = Waiting { due: now.after(pause), number: self.number, message };
        self.number += 1;
        self.waiting.push(Reverse(waiting));
    }

    /// When the next message has waited long enough; [`Time::NEVER`] if none waits.
    pub fn next_due(&self) -> Time {
        self.waiting.peek().map_or(Time::NEVER, |Reverse(first)| first.due)
    }

    /// The next message that has waited long enough.
    pub fn take_due(&mut self, now: Time) -> Option<FailedMessage> {
        if self.next_due() > now { None } else { self.take() }
    }

    /// The next message, however long it has waited.
    pub fn take(&mut self) -> Option<FailedMessage> {
        self.waiting.pop().map(|Reverse(first)| first.message)
    }

    /// Drops all waiting messages.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// The pause after this many failures, without the random part.
fn pause(options: &ReplayOptions, failures: u32) -> Duration {
    doubled(options.backoff_min, failures, options.backoff_max)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;
    use crate::api::FailureCause;
    use crate::ids::MessageId;

    fn failed(id: u64, failures: u32) -> FailedMessage {
        FailedMessage { id: MessageId(id), cause: FailureCause::Failed, failures, is_final: false }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let options = ReplayOptions::default();
        let check = |failures, ms| assert_eq!(pause(&options, failures), Duration::from_millis(ms));
        check(1, 10);
        check(2, 20);
        check(10, 5120);
        check(11, 10_000);
        check(u32::MAX, 10_000);
    }

    #[test]
    fn jitter_takes_up_to_a_half_off() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut dues = Vec::new();
        for id in 0..200 {
            let mut backoff = Backoff::new(ReplayOptions::default());
            backoff.add(failed(id, 3), Time::ZERO, &mut rng);
            dues.push(backoff.next_due());
        }
        let ms = |ms: u64| Time::ZERO.after(Duration::from_millis(ms));
        assert!(dues.iter().all(|due| *due >= ms(20) && *due <= ms(40)), "{dues:?}");
        dues.sort_unstable();
        dues.dedup();
        assert!(dues.len() > 150, "what failed together comes back apart: {} times", dues.len());
    }

    #[test]
    fn who_failed_less_often_overtakes() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(ReplayOptions::default());
        backoff.add(failed(1, 9), Time::ZERO, &mut rng);
        backoff.add(failed(2, 1), Time::ZERO, &mut rng);
        assert_eq!((backoff.take_due(Time::ZERO), backoff.len()), (None, 2));
        let soon = Time::ZERO.after(Duration::from_millis(10));
        assert_eq!(backoff.take_due(soon), Some(failed(2, 1)));
        assert_eq!(backoff.take_due(soon), None, "the other waits longer");
        assert_eq!(backoff.take(), Some(failed(1, 9)));
        assert_eq!((backoff.next_due(), backoff.len()), (Time::NEVER, 0));
    }
}
