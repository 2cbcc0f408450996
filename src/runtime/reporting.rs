//! The thread that calls a `MetricsReporter` while a topology runs, and once after its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use slog::Logger;

use crate::api::{MetricsReporting, TopologyStats};

/// A topology that runs, as the reporting thread sees it.
pub trait Reported: Send + 'static {
    /// The topology's name.
    fn topology_name(&self) -> &str;
    /// A snapshot of its counters.
    fn counters(&self) -> TopologyStats;
    /// Waits until it has ended, at most for `at_most`; returns whether it has ended.
    fn wait_for_end(&self, at_most: Duration) -> bool;
}

/// The thread, to be joined after the end of the topology.
#[must_use]
pub struct Reporter(Option<JoinHandle<()>>);

impl Reporter {
    /// Without a thread: no reporter is called.
    pub fn idle() -> Reporter {
        Reporter(None)
    }

    /// Starts the thread, if a reporter is registered.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        reporting: Option<MetricsReporting>,
        topology: impl Reported,
        logger: Logger,
    ) -> io::Result<Reporter> {
        let Some(reporting) = reporting else { return Ok(Reporter(None)) };
        let thread = thread::Builder::new().name("squall-metrics".to_owned());
        let thread = thread.spawn(move || report(&reporting, &topology, &logger))?;
        Ok(Reporter(Some(thread)))
    }

    /// Waits for the last call. The topology must have ended.
    pub fn join(&mut self) {
        if let Some(thread) = self.0.take() {
            // The thread catches panics of user code and returns nothing.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reporter").field(&self.0.is_some()).finish()
    }
}

fn report(reporting: &MetricsReporting, topology: &impl Reported, logger: &Logger) {
    loop {
        let has_ended = topology.wait_for_end(reporting.interval);
        let stats = topology.counters();
        if stats.ended && !has_ended {
            // It ended after the wait; the end is reported once, with the last counters.
            continue;
        }
        let call = || reporting.reporter.report(topology.topology_name(), &stats);
        if catch_unwind(AssertUnwindSafe(call)).is_err() {
            slog::error!(logger, "the metrics reporter panicked and is not called again");
            return;
        }
        if has_ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::api::MetricsReporter;

    /// What each wait returns, and whether the counters read after it are those of an ended topology.
    struct Scripted(Mutex<VecDeque<(bool, bool)>>);

    impl Reported for Scripted {
        fn topology_name(&self) -> &'static str {
            "scripted"
        }

        fn counters(&self) -> TopologyStats {
            let (_, ended) = self.0.lock().unwrap().pop_front().expect("a step");
            TopologyStats { ended, ..TopologyStats::default() }
        }

        fn wait_for_end(&self, _: Duration) -> bool {
            self.0.lock().unwrap().front().expect("a step").0
        }
    }

    struct Ends(Arc<Mutex<Vec<bool>>>);

    impl MetricsReporter for Ends {
        fn report(&self, _: &str, stats: &TopologyStats) {
            self.0.lock().unwrap().push(stats.ended);
        }
    }

    #[test]
    fn a_topology_that_ends_after_the_wait_is_reported_as_ended_once() {
        for steps in [
            vec![(false, false), (true, true)],
            vec![(false, false), (false, true), (true, true)],
            vec![(false, false), (false, true), (false, true), (true, true)],
        ] {
            let ends = Arc::default();
            let reporting = MetricsReporting::new(Duration::from_millis(1), Ends(Arc::clone(&ends)));
            let topology = Scripted(Mutex::new(steps.into()));
            report(&reporting, &topology, &Logger::root(slog::Discard, slog::o!()));
            assert_eq!(*ends.lock().unwrap(), [false, true]);
        }
    }
}
