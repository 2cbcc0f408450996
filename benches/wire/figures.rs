//! What is counted second by second, and how it is printed.

use std::time::{Duration, Instant};

use super::{Options, Way};

/// What was received in each second.
pub struct Intervals {
    wanted: usize,
    /// When the running interval, or the warm-up, began and ends.
    start: Instant,
    end: Instant,
    tuples: u64,
    bytes: u64,
    /// Tuples and bytes per second; the warm-up is not among them.
    done: Vec<(f64, f64)>,
    is_warm: bool,
    /// Processor time of both processes when the warm-up was over, and tuples since.
    cpu_start: Duration,
    tuples_all: u64,
    sender: u32,
}

impl Intervals {
    /// Begins with the warm-up. `sender` is the other process.
    pub fn new(options: &Options, sender: u32) -> Intervals {
        let start = Instant::now();
        Intervals {
            wanted: options.seconds.round().max(1.0) as usize,
            start,
            end: start + Duration::from_secs_f64(options.warmup),
            tuples: 0,
            bytes: 0,
            done: Vec::new(),
            is_warm: false,
            cpu_start: Duration::ZERO,
            tuples_all: 0,
            sender,
        }
    }

    /// So much was received.
    pub fn count(&mut self, tuples: u64, bytes: u64) {
        self.tuples += tuples;
        self.bytes += bytes;
        let now = Instant::now();
        if now < self.end {
            return;
        }
        let seconds = (now - self.start).as_secs_f64();
        if self.is_warm {
            self.done.push((self.tuples as f64 / seconds, self.bytes as f64 / seconds));
            self.tuples_all += self.tuples;
        } else {
            self.is_warm = true;
            self.cpu_start = self.cpu();
        }
        (self.tuples, self.bytes) = (0, 0);
        (self.start, self.end) = (now, now + Duration::from_secs(1));
    }

    /// Whether all intervals are over.
    pub fn is_done(&self) -> bool {
        self.done.len() == self.wanted
    }

    /// The line for the script.
    pub fn report(mut self, options: &Options) -> serde_json::Value {
        let cpu = (self.cpu() - self.cpu_start).as_nanos() as f64 / self.tuples_all as f64;
        self.done.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (rate, bytes) = self.done[self.done.len() / 2];
        let peer = match options.way {
            Way::Bare => "bare",
            Way::Link => "link",
            Way::Topology => "topology",
        };
        serde_json::json!({
            "peer": peer,
            "workload": "wire",
            "mode": format!("{:?}", options.mode).to_lowercase(),
            "config": {"batch": options.batch, "bytes": options.bytes, "ready": options.is_ready()},
            "rate": rate.round(),
            "bytes_per_s": bytes.round(),
            "rate_min": self.done[0].0.round(),
            "rate_max": self.done[self.done.len() - 1].0.round(),
            "intervals": self.done.len(),
            "cpu_ns_per_tuple": (cpu * 10.0).round() / 10.0,
        })
    }

    /// Processor time of receiver and sender.
    fn cpu(&self) -> Duration {
        cpu_time("self") + cpu_time(&self.sender.to_string())
    }
}

/// Processor time of a process, user and system.
pub fn cpu_time(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Fields 14 and 15, counted from behind the command's closing parenthesis; 100 ticks a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
