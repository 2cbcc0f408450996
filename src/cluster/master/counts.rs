//! What the incarnations of one worker counted, and how many messages were lost when they died.
//!
//! When a worker dies, the state of the messages that its spouts had open is gone. Whether these
//! messages are lost depends on their source. Usually the next incarnation opens the source again and
//! emits them again, as new messages. So the open messages of a dead incarnation are *owed* until a
//! later incarnation has emitted as many messages as the dead one had, or has exhausted its source.
//! What is still owed when the run ends is lost. Messages from a source that cannot be read twice,
//! such as a pipe on standard input, are lost at once. Every loss makes the exit code 1.
//!
//! 1. The counters of a dead incarnation are those of its last report, at most `worker.stats_interval`
//!    old. Of its messages, those that were acked or had failed for good count. Open messages count
//!    again when they are emitted again. So emitted = acked + failed + waiting + pending + lost once all
//!    reports have arrived.
//! 2. An incarnation that could still emit when it last reported may have emitted since. It owes at
//!    least one message, so that no loss is missed. So the number of lost messages is a lower bound.
//! 3. An incarnation that was started while the topology drains emits nothing. It owes nothing itself,
//!    and does not settle what earlier incarnations owe.
//! 4. Values of the moment (tuples queued, gauges) are dropped when an incarnation dies. An incarnation
//!    that ends in order keeps everything as it was last reported.

use crate::api::CounterId;
use crate::cluster::stats::{WorkerStats, changed};

/// Where the spouts of a worker read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sources {
    /// It has no spouts.
    None,
    /// From sources that the next incarnation can read again.
    #[default]
    ReadAgain,
    /// From standard input that is no file: what was read cannot be read again.
    ReadOnce,
}

/// What is owed for the messages of former incarnations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Owed {
    /// How many messages were open, at least.
    messages: u64,
    /// How many messages had been emitted. A later incarnation that has emitted as many has read the
    /// source at least as far, so nothing is owed any more.
    emitted: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Counts {
    sources: Sources,
    /// What former incarnations counted, summed.
    former: WorkerStats,
    /// What the present incarnation last reported; `None` before its first report.
    counted: Option<WorkerStats>,
    /// Set by `end_incarnation`; cleared by a report of a later incarnation that has read as far.
    owed: Owed,
    /// Messages of sources that cannot be read again. Only grows.
    lost: u64,
}

impl Counts {
    /// Nothing was counted yet.
    pub fn new(sources: Sources) -> Counts {
        Counts { sources, ..Counts::default() }
    }

    /// Takes a report of the present incarnation, with the latencies that have changed. `reads`: whether
    /// its spouts were allowed to emit; `draining`: whether they no longer are.
    pub fn report(&mut self, stats: WorkerStats, reads: bool, draining: bool) {
        let has_read_it_all = stats.live_spouts == 0 && !draining;
        if reads && (has_read_it_all || stats.messages().emitted >= self.owed.emitted) {
            self.owed = Owed::default();
        }
        let before = self.counted.take().unwrap_or_default();
        let latencies = changed(&before.latencies, &stats.latencies);
        self.counted = Some(WorkerStats { latencies, ..stats });
    }

    /// Whether the present incarnation has opened all its tasks, as far as it has reported.
    pub fn has_opened_all(&self) -> bool {
        self.counted.as_ref().is_some_and(|counted| counted.unopened == Some(0))
    }

    /// The present incarnation has died without an orderly end. `reads` as for [`Counts::report`].
    pub fn end_incarnation(&mut self, reads: bool) {
        let report = self.counted.take();
        let may_have_emitted = report.as_ref().is_none_or(|last| last.live_spouts > 0);
        let mut last = report.unwrap_or_default();
        let emitted = last.messages().emitted;
        let open = last.drop_open();
        self.former.add(&last);
        let open = if may_have_emitted { open.max(1) } else { open };
        match self.sources {
            Sources::ReadAgain if reads => {
                let Owed { messages, emitted: before } = self.owed;
                // Two incarnations read the same source, so a message that both had open counts once.
                self.owed = Owed { messages: messages.max(open), emitted: before.max(emitted) };
            }
            Sources::ReadOnce if reads => self.lost += open,
            Sources::None | Sources::ReadAgain | Sources::ReadOnce => {}
        }
    }

    /// Adds what all incarnations counted to `sum`. While the run goes on, owed messages count as
    /// pending.
    pub fn add_to(&self, sum: &mut WorkerStats, run_is_over: bool) {
        sum.add(&self.former);
        if let Some(counted) = &self.counted {
            sum.add(counted);
        }
        sum.total.change(CounterId::EMITTED, (self.lost + self.owed.messages) as i64);
        if !run_is_over {
            sum.total.change(CounterId::PENDING, self.owed.messages as i64);
        }
    }

    /// How many messages are lost, at least.
    pub fn lost(&self, run_is_over: bool) -> u64 {
        self.lost + if run_is_over { self.owed.messages } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CounterValues;

    fn stats(emitted: i64, acked: i64, pending: i64, live_spouts: u64) -> WorkerStats {
        let total = CounterValues::from([
            (CounterId::EMITTED, emitted),
            (CounterId::ACKED, acked),
            (CounterId::PENDING, pending),
            (CounterId::UNREPLAYED, emitted - acked - pending),
        ]);
        WorkerStats { total, live_spouts, ..WorkerStats::default() }
    }

    /// Emitted, acked, failed, pending and lost; checks that nothing is missing.
    fn sums(counts: &Counts, run_is_over: bool) -> [u64; 5] {
        let mut sum = WorkerStats::default();
        counts.add_to(&mut sum, run_is_over);
        let (sum, lost) = (sum.messages(), counts.lost(run_is_over));
        assert_eq!(sum.emitted, sum.acked + sum.failed + sum.waiting + sum.pending + lost);
        [sum.emitted, sum.acked, sum.failed, sum.pending, lost]
    }

    #[test]
    fn open_messages_of_a_dead_incarnation_are_owed_until_they_were_read_again() {
        let mut counts = Counts::new(Sources::ReadAgain);
        counts.report(stats(100, 70, 20, 1), true, false);
        assert_eq!(sums(&counts, false), [100, 70, 10, 20, 0]);
        counts.end_incarnation(true);
        assert_eq!(sums(&counts, false), [100, 70, 0, 30, 0], "what had failed is emitted again, too");
        assert_eq!(sums(&counts, true), [100, 70, 0, 0, 30], "nobody did");
        counts.report(stats(99, 90, 9, 1), true, false);
        assert_eq!(sums(&counts, true), [199, 160, 0, 9, 30], "not as far yet");
        counts.report(stats(100, 91, 9, 1), true, false);
        assert_eq!(sums(&counts, true), [170, 161, 0, 9, 0]);
    }

    #[test]
    fn a_source_that_is_exhausted_was_read_again_unless_it_drains() {
        let check = |draining: bool, expected: u64| {
            let mut counts = Counts::new(Sources::ReadAgain);
            counts.report(stats(100, 70, 30, 1), true, false);
            counts.end_incarnation(true);
            counts.report(stats(80, 80, 0, 0), true, draining);
            assert_eq!(counts.lost(true), expected);
        };
        check(false, 0);
        check(true, 30);
    }

    #[test]
    fn an_incarnation_that_drains_from_its_start_owes_nothing_and_settles_nothing() {
        let mut counts = Counts::new(Sources::ReadAgain);
        counts.report(stats(0, 0, 0, 1), true, false);
        counts.end_incarnation(true);
        assert_eq!(counts.lost(true), 1, "it may have emitted since");
        counts.report(stats(0, 0, 0, 0), false, true);
        counts.end_incarnation(false);
        assert_eq!(sums(&counts, true), [1, 0, 0, 0, 1]);
    }

    #[test]
    fn what_came_from_standard_input_is_lost_at_once() {
        let mut counts = Counts::new(Sources::ReadOnce);
        counts.report(stats(100, 70, 30, 1), true, false);
        counts.end_incarnation(true);
        assert_eq!(sums(&counts, false), [100, 70, 0, 0, 30]);
        counts.report(stats(500, 500, 0, 0), true, false);
        counts.end_incarnation(true);
        assert_eq!(counts.lost(true), 30, "the second incarnation had processed all there was");
        counts.end_incarnation(true);
        assert_eq!(counts.lost(true), 31, "the third did not live to report");
    }

    #[test]
    fn a_worker_without_spouts_has_no_messages_to_lose() {
        let mut counts = Counts::new(Sources::None);
        counts.end_incarnation(true);
        assert_eq!(counts.lost(true), 0);
    }

    #[test]
    fn what_ends_in_order_is_kept_as_it_was() {
        let mut counts = Counts::new(Sources::ReadAgain);
        counts.report(stats(100, 70, 20, 0), true, false);
        assert_eq!(sums(&counts, true), [100, 70, 10, 20, 0]);
    }
}
