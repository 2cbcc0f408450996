//! What the sinks write and the main thread reads.
//!
//! A sink publishes its count once per batch, so measuring costs the measured
//! nothing. Each sink has one writer; the main thread only reads.

use std::{
    fs, mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::workload::Stamp;

/// What an output line says besides the figures.
pub struct Label {
    pub peer: &'static str,
    pub workload: &'static str,
    pub tasks: String,
    pub config: Value,
}

#[derive(Clone)]
pub struct Meter {
    pub epoch: Instant,
    sinks: Vec<Arc<Sink>>,
}

/// One sink task's figures, on cache lines of their own.
#[repr(align(128))]
pub struct Sink {
    epoch: Instant,
    /// A statistic: no other memory is published by it, so `Relaxed`.
    tuples: AtomicU64,
    /// Nanoseconds; swapped for an empty one at the end of an interval.
    latency: Mutex<Histogram<u64>>,
}

impl Meter {
    pub fn new(sinks: usize) -> Meter {
        let epoch = Instant::now();
        let sink = |_| {
            let latency = Mutex::new(histogram());
            Arc::new(Sink { epoch, tuples: AtomicU64::new(0), latency })
        };
        Meter { epoch, sinks: (0..sinks).map(sink).collect() }
    }

    pub fn sink(&self, index: usize) -> Arc<Sink> {
        Arc::clone(&self.sinks[index])
    }

    /// Sleeps through the warm-up and each interval, and prints a line per interval.
    pub fn measure(&self, label: &Label, warmup: Duration, seconds: Duration, repeat: u32) {
        thread::sleep(warmup);
        let (mut before, mut since, mut processor) = (self.tuples(), Instant::now(), processor_time());
        self.take_latency();
        for _ in 0..repeat {
            thread::sleep(seconds.saturating_sub(since.elapsed()));
            let (after, now, processor_now) = (self.tuples(), Instant::now(), processor_time());
            let processor_ns = (processor_now - processor).as_nanos() as f64 / (after - before).max(1) as f64;
            let elapsed = (now - since).as_secs_f64();
            let line = json!({
                "peer": label.peer,
                "workload": label.workload,
                "tasks": label.tasks,
                "delivery": "at-most-once",
                "config": label.config,
                "rate": ((after - before) as f64 / elapsed).round(),
                "seconds": elapsed,
                "cpu_ns_per_tuple": (processor_ns * 10.0).round() / 10.0,
                "latency_us": quantiles(&self.take_latency()),
            });
            println!("{line}");
            (before, since, processor) = (after, now, processor_now);
        }
    }

    fn tuples(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.tuples.load(Relaxed)).sum()
    }

    fn take_latency(&self) -> Histogram<u64> {
        let mut all = histogram();
        for sink in self.sinks.iter() {
            let taken = mem::replace(&mut *sink.latency.lock().expect("no sink panics"), histogram());
            all.add(taken).expect("all histograms have the same bounds");
        }
        all
    }
}

impl Sink {
    /// Publishes a batch that has been dealt with.
    pub fn passed(&self, tuples: usize) {
        self.tuples.fetch_add(tuples as u64, Relaxed);
    }

    /// Runs `each` on every tuple of a batch and notes its latency, if it has one.
    pub fn take<S: Stamp, T>(
        &self,
        batch: impl Iterator<Item = T>,
        stamp: impl Fn(&T) -> S,
        mut each: impl FnMut(T),
    ) {
        let mut latency = None;
        let mut tuples = 0;
        for tuple in batch {
            let due = stamp(&tuple).due();
            each(tuple);
            tuples += 1;
            if let Some(due) = due {
                let latency = latency.get_or_insert_with(|| self.latency.lock().expect("no reader panics"));
                let late = self.epoch.elapsed().saturating_sub(due);
                latency.saturating_record(late.as_nanos() as u64);
            }
        }
        self.passed(tuples);
    }
}

/// Processor time of this process, user and system.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 14 and 15, counted from behind the command's closing parenthesis; 100 ticks a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// From a nanosecond to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are valid")
}

fn quantiles(latency: &Histogram<u64>) -> Value {
    if latency.is_empty() {
        return Value::Null;
    }
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let at = |quantile| micros(latency.value_at_quantile(quantile));
    json!({
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999),
        "max": micros(latency.max()),
    })
}
