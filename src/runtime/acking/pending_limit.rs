//! How many messages a spout task may have open: a fixed limit, or one that adjusts itself.
//!
//! If the limit is too low, executors downstream run out of input. If it is too high, the queues only get
//! longer: throughput is that of the bottleneck, and latency is limit / throughput (Little's law). The
//! automatic limit uses completion latency as TCP Vegas uses round trips. It grows while latency stays
//! near the least latency seen and the spout has to wait for the limit. It shrinks when the latency shows
//! a standing queue.

use std::time::Duration;

use crate::clock::Time;
use crate::config::AutoOr;
use crate::config::limits::{SPOUT_PENDING_AUTO_MAX, SPOUT_PENDING_AUTO_MIN};

/// How often the limit is adjusted.
const PERIOD: Duration = Duration::from_millis(50);
/// The least latency is measured again after this many periods, because it may have changed. For that one
/// period the limit is at its minimum, so that no standing queue adds to the latency (BBR probes the
/// round trip in the same way).
const LEAST_LATENCY_PERIODS: u32 = 200;
/// Latency this many times the least seen means a standing queue.
const QUEUE_FACTOR: u32 = 8;
/// Latency below this never counts as a standing queue.
const LATENCY_FLOOR: Duration = Duration::from_millis(20);

/// The pending limit of one spout task.
#[derive(Clone, Debug)]
pub struct PendingLimit {
    size: usize,
    auto: bool,
    least: Duration,
    least_age: u32,
    /// While the least latency is being measured: the size to restore afterwards.
    probing: Option<usize>,
    sum: Duration,
    count: u32,
    limited: bool,
    next_look: Time,
}

impl PendingLimit {
    /// The limit that the topology sets.
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

    /// Notes that the spout had to wait for the limit.
    pub fn note_limited(&mut self) {
        self.limited = true;
    }

    /// Notes the latency of a completed block, and adjusts the limit if a period has passed.
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

    /// Runs a limit against a bottleneck of `per_second` messages with a bare latency, and
    /// returns where it settles.
    fn settle(per_second: f64, bare: Duration) -> usize {
        let mut limit = PendingLimit::new(AutoOr::Auto);
        let mut now = Time::ZERO;
        for _ in 0..2000 {
            let queueing = limit.size() as f64 / per_second;
            let latency = bare.max(Duration::from_secs_f64(queueing));
            limit.note_limited();
            now = now.after(PERIOD);
            limit.note_latency(latency, now);
        }
        limit.size()
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
    fn a_fixed_limit_stays() {
        let mut limit = PendingLimit::new(AutoOr::Fixed(7));
        limit.note_limited();
        limit.note_latency(Duration::from_secs(9), Time(1));
        assert_eq!(limit.size(), 7);
    }
}
