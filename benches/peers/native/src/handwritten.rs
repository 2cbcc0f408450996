//! The workloads by hand: a thread per task, batches over bounded channels.
//!
//! A batch leaves when it is full, or when its sender has nothing more to do;
//! so batches are full under load and nobody waits for one to fill. Threads end
//! with the process.

use std::{hint::black_box, mem, thread};

use flume::{Receiver, Sender, TryRecvError, TrySendError};

use crate::{
    counts::{Counts, hash},
    meter::{Meter, Sink},
    workload::{FlatOut, Job, Lines, Pace, SOME_DATA, Schedule, Stamp, Tasks, Text, Tuple},
};

/// Tuples per full batch.
pub const BATCH: usize = 100;

/// Times a thread gives way to the others before it sleeps. Whoever sleeps must be
/// woken by a system call, which, once per batch, costs more than the batch: four
/// yields took word count from 35 to 55 million words per second on two cores.
pub const YIELDS: u32 = 4;

type Batch<S> = Vec<Tuple<S>>;

pub fn start(job: Job, tasks: Tasks, queue: usize, meter: &Meter) {
    match job {
        Job::Null => {
            let (out, input) = flume::bounded(queue);
            let meter = meter.clone();
            thread::spawn(move || constant(Outlet::new(out)));
            thread::spawn(move || drain(&input, &meter.sink(0)));
        }
        Job::Identity => {
            let (out, middle) = flume::bounded(queue);
            let (middle_out, input) = flume::bounded(queue);
            let meter = meter.clone();
            thread::spawn(move || constant(Outlet::new(out)));
            thread::spawn(move || identity(&middle, Outlet::new(middle_out)));
            thread::spawn(move || drain(&input, &meter.sink(0)));
        }
        Job::Wordcount(text) => word_count(text, FlatOut, tasks, queue, meter),
        Job::Latency(text, rate) => {
            word_count(text, Schedule::new(meter.epoch, rate), tasks, queue, meter);
        }
    }
}

fn word_count<P: Pace>(text: Text, pace: P, tasks: Tasks, queue: usize, meter: &Meter) {
    let mut words = Vec::new();
    for index in 0..tasks.last {
        let (out, input) = flume::bounded(queue);
        let meter = meter.clone();
        thread::spawn(move || counter::<P::Stamp>(&input, &meter.sink(index)));
        words.push(out);
    }
    let mut lines = Vec::new();
    for _ in 0..tasks.middle {
        let (out, input) = flume::bounded(queue);
        let outlets: Vec<_> = words.iter().cloned().map(Outlet::new).collect();
        thread::spawn(move || splitter::<P::Stamp>(&input, outlets));
        lines.push(Outlet::new(out));
    }
    thread::spawn(move || source(Lines::new(text, pace), lines));
}

fn source<P: Pace>(mut lines: Lines<P>, mut outlets: Vec<Outlet<P::Stamp>>) {
    let mut turn = 0;
    loop {
        match lines.next() {
            Ok(line) => {
                if outlets[turn].push(line) {
                    turn = (turn + 1) % outlets.len();
                }
            }
            Err(early) => {
                outlets[turn].flush();
                turn = (turn + 1) % outlets.len();
                // What passed since `early` was taken only makes the line later, and its
                // stamp says so.
                thread::sleep(early);
            }
        }
    }
}

fn splitter<S: Stamp>(input: &Receiver<Batch<S>>, mut outlets: Vec<Outlet<S>>) {
    let several = outlets.len() > 1;
    while let Some(batch) = receive(input) {
        for line in batch {
            for word in line.text.split_ascii_whitespace() {
                let owner = if several { hash(word) as usize % outlets.len() } else { 0 };
                outlets[owner].push(Tuple { text: word.into(), stamp: line.stamp });
            }
        }
        if input.is_empty() {
            outlets.iter_mut().for_each(Outlet::flush);
        }
    }
}

fn counter<S: Stamp>(input: &Receiver<Batch<S>>, sink: &Sink) {
    let mut counts = Counts::default();
    while let Some(batch) = receive(input) {
        sink.take(batch.into_iter(), |word| word.stamp, |word| counts.count(word.text));
    }
}

fn constant(mut outlet: Outlet<()>) {
    loop {
        outlet.push(Tuple { text: SOME_DATA, stamp: () });
    }
}

/// Moves one tuple after the other, as a function that looked at them would.
fn identity(input: &Receiver<Batch<()>>, mut outlet: Outlet<()>) {
    while let Some(batch) = receive(input) {
        for tuple in batch {
            outlet.push(black_box(tuple));
        }
        if input.is_empty() {
            outlet.flush();
        }
    }
}

fn drain(input: &Receiver<Batch<()>>, sink: &Sink) {
    while let Some(batch) = receive(input) {
        sink.take(batch.into_iter(), |tuple| tuple.stamp, |tuple| drop(black_box(tuple)));
    }
}

/// A sender and the batch it is filling.
struct Outlet<S> {
    batch: Batch<S>,
    to: Sender<Batch<S>>,
}

impl<S> Outlet<S> {
    fn new(to: Sender<Batch<S>>) -> Self {
        Outlet { batch: Vec::with_capacity(BATCH), to }
    }

    /// Says whether that filled the batch, and so sent it.
    fn push(&mut self, tuple: Tuple<S>) -> bool {
        self.batch.push(tuple);
        let full = self.batch.len() == BATCH;
        if full {
            self.flush();
        }
        full
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() {
            let full = mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
            send(&self.to, full);
        }
    }
}

/// The next batch, or `None` when all senders are gone.
fn receive<T>(input: &Receiver<T>) -> Option<T> {
    for _ in 0..YIELDS {
        match input.try_recv() {
            Ok(batch) => return Some(batch),
            Err(TryRecvError::Empty) => thread::yield_now(),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
    input.recv().ok()
}

/// A batch nobody will receive is dropped: the process is ending.
fn send<T>(to: &Sender<T>, mut batch: T) {
    for _ in 0..YIELDS {
        match to.try_send(batch) {
            Ok(()) => return,
            Err(TrySendError::Full(back)) => batch = back,
            Err(TrySendError::Disconnected(_)) => return,
        }
        thread::yield_now();
    }
    to.send(batch).ok();
}
