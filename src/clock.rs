//! Time as an argument. The one place where the machine's clock is read.
//!
//! Everything that waits, expires or measures takes a [`Clock`], so that production and the
//! seeded simulation run the same code. Liveness and latency use [`Time`], which is monotonic and
//! starts at 0 with the clock; the wall clock is for display and for event time only, so a host
//! whose date jumps fails nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic nanoseconds since the clock was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The start of the clock.
    pub const ZERO: Time = Time(0);
    /// Later than anything.
    pub const NEVER: Time = Time(u64::MAX);

    /// This time and `by` more; stops at [`Time::NEVER`].
    pub fn after(self, by: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The machine's clock, or one that moves only when the test moves it. Clones share it.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Real { start: Instant },
    Simulated(Arc<Simulated>),
}

#[derive(Debug)]
struct Simulated {
    /// Nanoseconds since the start. Written by whoever drives the simulation.
    now: AtomicU64,
    /// What the wall showed at the start, nanoseconds since 1970.
    wall_start: i64,
}

impl Clock {
    /// The machine's monotonic clock, starting now.
    pub fn real() -> Clock {
        Clock(Source::Real { start: Instant::now() })
    }

    /// A clock at [`Time::ZERO`] that moves by [`Clock::advance`] only. Its wall starts at
    /// 2026-01-01T00:00:00Z, the same in every run.
    pub fn simulated() -> Clock {
        Clock::simulated_later(Duration::ZERO)
    }

    /// The same, for a process that starts so much later: its wall starts there.
    pub fn simulated_later(by: Duration) -> Clock {
        let start_of_2026 = 1_767_225_600 * 1_000_000_000;
        let by = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        let wall_start = by.saturating_add(start_of_2026);
        Clock(Source::Simulated(Arc::new(Simulated { now: AtomicU64::new(0), wall_start })))
    }

    /// The time now.
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::Real { start } => Time(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)),
            // Relaxed: a lone counter; readers order themselves by the messages they exchange.
            Source::Simulated(sim) => Time(sim.now.load(Ordering::Relaxed)),
        }
    }

    /// Nanoseconds since 1970 by the wall clock. For display and event time, never for liveness.
    pub fn wall_nanos(&self) -> i64 {
        match &self.0 {
            Source::Real { .. } => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)),
            Source::Simulated(sim) => sim.wall_start + sim.now.load(Ordering::Relaxed) as i64,
        }
    }

    /// Whether this clock moves only when a test moves it.
    pub fn is_simulated(&self) -> bool {
        matches!(self.0, Source::Simulated(_))
    }

    /// Moves a simulated clock forward.
    ///
    /// # Panics
    /// On a real clock: nothing can move that, and asking for it is a bug.
    pub fn advance(&self, by: Duration) {
        let Source::Simulated(sim) = &self.0 else {
            panic!("only a simulated clock can be advanced");
        };
        sim.now.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_clock_moves_only_when_it_is_moved() {
        let clock = Clock::simulated();
        let seen_elsewhere = clock.clone();
        assert_eq!(clock.now(), Time::ZERO);
        clock.advance(Duration::from_secs(3));
        assert_eq!(seen_elsewhere.now().since(Time::ZERO), Duration::from_secs(3));
        assert_eq!(seen_elsewhere.wall_nanos(), 1_767_225_603_000_000_000);
        let later = Clock::simulated_later(Duration::from_secs(3));
        assert_eq!((later.now(), later.wall_nanos()), (Time::ZERO, 1_767_225_603_000_000_000));
    }

    #[test]
    fn time_saturates_at_both_ends() {
        assert_eq!(Time(5).since(Time(9)), Duration::ZERO);
        assert_eq!(Time(5).after(Duration::MAX), Time::NEVER);
    }
}
