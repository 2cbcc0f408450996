//! How many messages a spout task may have open: a fixed number, or one that finds itself.
//!
//! Too small a window starves the pipeline; too large a one only lengthens its queues, since
//! throughput is the bottleneck's and latency is window / throughput (Little's law). The automatic
//! window looks at completion latency as TCP Vegas looks at round trips: it grows while latency
//! stays near the least seen and the window is what holds the spout back, and shrinks when latency
//! shows a standing queue.

use std::time::Duration;

use crate::clock::Time;
use crate::config::AutoOr;
use crate::config::limits::{SPOUT_PENDING_AUTO_MAX, SPOUT_PENDING_AUTO_MIN};

/// How often the window is looked at.
const PERIOD: Duration = Duration::from_millis(50);
/// The least latency is measured anew after so many periods, so that a changed topology is noticed.
/// For that one period the window is at its least, or a standing queue would pass for the pipeline
/// itself (as BBR probes the round trip).
const LEAST_LATENCY_PERIODS: u32 = 200;
/// Latency this far above the least seen is a standing queue.
const QUEUE_FACTOR: u32 = 8;
/// Latency below this is never called a queue.
const LATENCY_FLOOR: Duration = Duration::from_millis(20);

/// The window of one spout task.
#[derive(Clone, Debug)]
pub struct PendingLimit {
    size: usize,
    auto: bool,
    least: Duration,
    least_age: u32,
    /// While the least latency is being measured: the size to go back to.
    probing: Option<usize>,
    sum: Duration,
    count: u32,
    limited: bool,
    next_look: Time,
}

impl PendingLimit {
    /// A window as the topology sets it.
    pub fn new(setting: AutoOr<u32>) -> PendingLimit {
        let (size, auto) = match setting {
            AutoOr::Auto => (SPOUT_PENDING_AUTO_MIN * 4, true),
            AutoOr::Fixed(size) => (size, false),
        };
        PendingLimit {
            size: size as usize,
            auto,
            least: Duration::MAX,
            least_age: 0,
            probing: None,
            sum: Duration::ZERO,
            count: 0,
            limited: false,
            next_look: Time::ZERO,
        }
    }

    /// Messages that may be open.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Notes that the spout had to wait for the window.
    pub fn note_limited(&mut self) {
        self.limited = true;
    }

    /// Notes a completed block, and looks at the window if it is time.
    pub fn note_latency(&mut self, latency: Duration, now: Time) {
        if !self.auto {
            return;
        }
        self.sum += latency;
        self.count += 1;
        if now >= self.next_look {
            self.next_look = now.after(PERIOD);
            self.adjust();
        }
    }

    fn adjust(&mut self) {
        let mean = self.sum / self.count;
        self.least_age += 1;
        if let Some(size) = self.probing.take() {
            (self.least, self.least_age, self.size) = (mean, 0, size);
        }
        self.least = self.least.min(mean);
        if self.least_age > LEAST_LATENCY_PERIODS {
            self.probing = Some(self.size);
            self.size = SPOUT_PENDING_AUTO_MIN as usize;
            return self.start_period();
        }
        let queueing = mean > (self.least * QUEUE_FACTOR).max(LATENCY_FLOOR);
        if queueing {
            self.size -= self.size / 8;
        } else if self.limited {
            self.size += self.size / 4;
        }
        self.start_period();
    }

    fn start_period(&mut self) {
        let (min, max) = (SPOUT_PENDING_AUTO_MIN as usize, SPOUT_PENDING_AUTO_MAX as usize);
        self.size = self.size.clamp(min, max);
        (self.sum, self.count, self.limited) = (Duration::ZERO, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a window against a bottleneck of `per_second` messages with a bare latency, and
    /// returns where it settles.
    fn settle(per_second: f64, bare: Duration) -> usize {
        let mut window = PendingLimit::new(AutoOr::Auto);
        let mut now = Time::ZERO;
        for _ in 0..2000 {
            let queueing = window.size() as f64 / per_second;
            let latency = bare.max(Duration::from_secs_f64(queueing));
            window.note_limited();
            now = now.after(PERIOD);
            window.note_latency(latency, now);
        }
        window.size()
    }

    #[test]
    fn it_covers_the_pipeline_and_little_more() {
        let product = |per_second: f64, bare_ms: u64| per_second * bare_ms as f64 / 1000.0;
        for (per_second, bare_ms) in [(1e6_f64, 5_u64), (1e5, 20), (3e6, 10)] {
            let size = settle(per_second, Duration::from_millis(bare_ms)) as f64;
            let needed = product(per_second, bare_ms);
            assert!(size >= needed, "{size} is too small for {needed}");
            assert!(size <= (needed * 12.0).max(64_000.0), "{size} is too large for {needed}");
        }
    }

    #[test]
    fn a_fixed_window_stays() {
        let mut window = PendingLimit::new(AutoOr::Fixed(7));
        window.note_limited();
        window.note_latency(Duration::from_secs(9), Time(1));
        assert_eq!(window.size(), 7);
    }
}
