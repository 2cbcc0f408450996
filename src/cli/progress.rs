//! The line that a run shows on a terminal while it runs.
//!
//! ```text
//! ⠹ word-count  00:12 of 00:30  184,201/s  acked 2,210,414  failed 0  pending 1,024  p50 0.18 ms  p99 1.31 ms
//! ```
//!
//! While failed messages wait for their replay, `waiting for replay 12` follows `pending`.
//!
//! With checkpoints, `checkpoint 1-17, 4 s old` follows, and while the last ones were given up, how many.
//!
//! With worker processes, `workers 3/3  restarts 0  links 6/6` precedes the rate.
//!
//! The line is not shown if stderr is no terminal, or with `--quiet`. All other output to the same
//! terminal is written through [`Progress::beside`], which removes the line and draws it again
//! afterwards.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::api::CheckpointStats;
use crate::cli::running::RunStats;
use crate::cli::summary::{grouped, milliseconds};
use crate::cluster::ProcessStats;

/// The time over which the shown rate is computed.
const RATE_WINDOW: Duration = Duration::from_secs(2);
/// Snapshots kept for it; the run takes ten in a second.
const SNAPSHOTS_MAX: usize = 64;

/// The progress line, or its absence.
pub(super) struct Progress {
    line: ProgressBar,
    topology: String,
    run_for: Option<Duration>,
    rate: Rate,
}

impl Progress {
    /// The line for a topology; `shown` or not.
    pub(super) fn new(topology: &str, run_for: Option<Duration>, shown: bool) -> Progress {
        let line = if shown {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        line.set_style(
            ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is correct"),
        );
        Progress { line, topology: topology.to_owned(), run_for, rate: Rate::default() }
    }

    /// A writer to the same terminal that does not disturb the line.
    pub(super) fn beside<W: Write>(&self, writer: W) -> Beside<W> {
        Beside { line: self.line.clone(), writer }
    }

    /// Shows the current counters.
    pub(super) fn show(&mut self, stats: &RunStats, ending: bool) {
        if self.line.is_hidden() {
            return;
        }
        let rate = self.rate.after(stats.topology.elapsed, stats.topology.emitted);
        self.line.set_message(describe(&self.topology, self.run_for, stats, rate, ending));
        self.line.tick();
    }

    /// Removes the line for good.
    pub(super) fn finish(&self) {
        self.line.finish_and_clear();
    }
}

fn describe(topology: &str, run_for: Option<Duration>, stats: &RunStats, rate: f64, ending: bool) -> String {
    let RunStats { topology: stats, processes, .. } = stats;
    let of = run_for.map_or_else(String::new, |whole| format!(" of {}", minutes(whole)));
    // At the beginning of the line, because a narrow terminal cuts off its end.
    let processes = processes.map_or_else(String::new, |processes| {
        let restarts = grouped(processes.restarts);
        let ProcessStats { workers, up, links, links_up, .. } = processes;
        format!("  workers {up}/{workers}  restarts {restarts}  links {links_up}/{links}")
    });
    let failed = grouped(stats.failed + stats.failed_unanchored);
    let counts = match stats.checkpoints {
        // With checkpoints no message is acked.
        Some(_) => format!("emitted {}  failed {failed}", grouped(stats.emitted)),
        None => {
            format!("acked {}  failed {failed}  pending {}", grouped(stats.acked), grouped(stats.pending))
        }
    };
    let (elapsed, rate) = (minutes(stats.elapsed), grouped(rate as u64));
    let mut text = format!("{topology}  {elapsed}{of}{processes}  {rate}/s  {counts}");
    if stats.waiting > 0 {
        text += &format!("  waiting for replay {}", grouped(stats.waiting));
    }
    if let Some(checkpoints) = &stats.checkpoints {
        text += &format!("  {}", describe_checkpoints(checkpoints));
    }
    let latency = &stats.complete_latency;
    if latency.count > 0 {
        text += &format!("  p50 {}  p99 {}", milliseconds(latency.p50), milliseconds(latency.p99));
    }
    if ending {
        text += "  (ending)";
    }
    text
}

fn describe_checkpoints(checkpoints: &CheckpointStats) -> String {
    let mut text = match (checkpoints.latest, checkpoints.age) {
        (Some(latest), Some(age)) => format!("checkpoint {latest}, {} s old", age.as_secs()),
        (Some(latest), None) => format!("checkpoint {latest}, of the run before"),
        (None, _) => "no checkpoint yet".to_owned(),
    };
    if checkpoints.failed > 0 {
        text += &format!("  given up {}", grouped(checkpoints.failed));
    }
    if checkpoints.recoveries > 0 {
        text += &format!("  went back {}", grouped(checkpoints.recoveries));
    }
    text
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{:02}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// A rate over the last [`RATE_WINDOW`].
#[derive(Debug, Default)]
struct Rate(VecDeque<(Duration, u64)>);

impl Rate {
    /// Records a count at a point in time. Returns the recent rate per second.
    fn after(&mut self, now: Duration, count: u64) -> f64 {
        while self.0.len() >= SNAPSHOTS_MAX
            || self.0.front().is_some_and(|(then, _)| *then + RATE_WINDOW < now)
        {
            self.0.pop_front();
        }
        self.0.push_back((now, count));
        let (then, before) = self.0[0];
        let seconds = (now - then.min(now)).as_secs_f64();
        if seconds > 0.0 { count.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }
}

/// Writes to a terminal that may show a progress line.
pub(super) struct Beside<W> {
    line: ProgressBar,
    writer: W,
}

impl<W: Write> Write for Beside<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.suspend(|| self.writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CheckpointId;
    use crate::runtime::{LatencyStats, TopologyStats};

    #[test]
    fn the_rate_forgets_what_is_long_ago() {
        let mut rate = Rate::default();
        let seconds = Duration::from_secs;
        assert_eq!(rate.after(seconds(0), 0), 0.0);
        assert_eq!(rate.after(seconds(1), 100), 100.0);
        assert_eq!(rate.after(seconds(2), 300), 150.0);
        assert_eq!(rate.after(seconds(3), 300), 100.0);
        assert_eq!(rate.after(seconds(60), 300), 0.0);
    }

    #[test]
    fn the_line_has_the_latest_checkpoint() {
        let check = |checkpoints: CheckpointStats, expected: &str| {
            assert_eq!(describe_checkpoints(&checkpoints), expected);
        };
        check(CheckpointStats::default(), "no checkpoint yet");
        let latest = Some(CheckpointId { epoch: 2, number: 17 });
        let checkpoints = CheckpointStats { latest, ..CheckpointStats::default() };
        check(checkpoints, "checkpoint 2-17, of the run before");
        let age = Some(Duration::from_millis(4700));
        check(CheckpointStats { age, ..checkpoints }, "checkpoint 2-17, 4 s old");
        let failed = CheckpointStats { age, failed: 1200, recoveries: 3, ..checkpoints };
        check(failed, "checkpoint 2-17, 4 s old  given up 1,200  went back 3");
    }

    #[test]
    fn the_line_says_how_things_stand() {
        let topology = TopologyStats {
            elapsed: Duration::from_secs(12),
            acked: 2_210_414,
            pending: 1024,
            ..TopologyStats::default()
        };
        let mut stats = RunStats { topology, ..RunStats::default() };
        let check = |stats: &RunStats, run_for: Option<Duration>, expected: &str| {
            assert_eq!(describe("wc", run_for, stats, 184_201.7, false), expected);
        };
        check(&stats, None, "wc  00:12  184,201/s  acked 2,210,414  failed 0  pending 1,024");
        let processes = ProcessStats { workers: 3, up: 2, restarts: 1200, links: 6, links_up: 4 };
        check(
            &RunStats { processes: Some(processes), ..stats.clone() },
            None,
            "wc  00:12  workers 2/3  restarts 1,200  links 4/6  184,201/s  acked 2,210,414  failed 0  pending 1,024",
        );
        stats.topology.waiting = 1500;
        stats.topology.failed_unanchored = 2;
        check(
            &stats,
            None,
            "wc  00:12  184,201/s  acked 2,210,414  failed 2  pending 1,024  waiting for replay 1,500",
        );
        stats.topology = TopologyStats { waiting: 0, failed_unanchored: 0, ..stats.topology };
        stats.topology.elapsed = Duration::from_secs(3723);
        stats.topology.complete_latency = LatencyStats {
            count: 1,
            p50: Duration::from_micros(180),
            p99: Duration::from_micros(1310),
            max: Duration::from_millis(4),
        };
        check(
            &stats,
            Some(Duration::from_secs(7200)),
            "wc  1:02:03 of 2:00:00  184,201/s  acked 2,210,414  failed 0  pending 1,024  p50 0.18 ms  p99 1.31 ms",
        );
    }
}
