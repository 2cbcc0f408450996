//! The workloads on timely dataflow.
//!
//! Timely has no bounded queues, so a source must hold itself back: it emits a
//! chunk per timestamp and stays at most `window` timestamps ahead of the probe
//! behind the sinks. Several workers exchange lines in turn and words by hash;
//! for `null` and `identity` every edge crosses to the next worker, so that two
//! workers mean two threads there too.

use std::{hint::black_box, thread, time::Duration};

use timely::{
    Config,
    container::CapacityContainerBuilder,
    dataflow::{
        ProbeHandle, Scope, StreamVec,
        channels::pact::{Exchange, ParallelizationContract, Pipeline},
        operators::{
            Probe,
            generic::{Operator, source},
        },
    },
    worker::Worker,
};

use crate::{
    counts::{Counts, hash},
    meter::Meter,
    workload::{FlatOut, Job, Lines, Pace, SOME_DATA, Schedule, Stamp, Text, Tuple},
};

#[derive(Clone, Copy)]
pub struct Flow {
    pub workers: usize,
    pub sources: usize,
    pub chunk: usize,
    pub window: u64,
}

pub fn start(job: Job, flow: Flow, meter: &Meter) {
    let meter = meter.clone();
    match job {
        Job::Null => spawn(flow, move |worker| drops(worker, flow, &meter, 1)),
        Job::Identity => spawn(flow, move |worker| drops(worker, flow, &meter, 2)),
        Job::Wordcount(text) => {
            spawn(flow, move |worker| word_count(worker, flow, &text, FlatOut, &meter));
        }
        Job::Latency(text, rate) => {
            let pace = Schedule::new(meter.epoch, rate / flow.sources as f64);
            spawn(flow, move |worker| word_count(worker, flow, &text, pace.clone(), &meter));
        }
    }
}

/// Runs the workers until the process ends; they park when no operator is active.
fn spawn(flow: Flow, build: impl Fn(&mut Worker) + Send + Sync + 'static) {
    thread::spawn(move || {
        let run = move |worker: &mut Worker| {
            build(worker);
            while worker.step_or_park(None) {}
        };
        timely::execute(Config::process(flow.workers), run).map(drop)
    });
}

fn word_count<P: Pace>(worker: &mut Worker, flow: Flow, text: &Text, pace: P, meter: &Meter) {
    let index = worker.index();
    let sink = meter.sink(index);
    worker.dataflow::<u64, _, _>(|scope| {
        let done = ProbeHandle::new();
        let mut lines = (index < flow.sources).then(|| Lines::new(text.clone(), pace));
        let next = move || lines.as_mut().map(Lines::next);
        let lines = chunks(scope, flow, done.clone(), next);
        let words = if flow.sources == flow.workers {
            split(lines, Pipeline)
        } else {
            let mut turn = 0;
            let in_turn = move |_: &Tuple<P::Stamp>| {
                turn += 1;
                turn
            };
            split(lines, Exchange::new(in_turn))
        };
        let mut counts = Counts::default();
        let by_word = |word: &Tuple<P::Stamp>| hash(&word.text);
        words
            .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Exchange::new(by_word), "Count", |_, _| {
                move |input, _output| {
                    input.for_each_time(|_time, batches| {
                        let words = batches.flat_map(|batch| batch.drain(..));
                        sink.take(words, |word| word.stamp, |word| counts.count(word.text));
                    });
                }
            })
            .probe_with(&done);
    });
}

/// Source -> `hops` operators -> nothing; the last of them is the sink.
fn drops(worker: &mut Worker, flow: Flow, meter: &Meter, hops: u64) {
    let index = worker.index();
    let sink = meter.sink(0);
    worker.dataflow::<u64, _, _>(|scope| {
        let done = ProbeHandle::new();
        let next = move || (index == 0).then_some(Ok(Tuple { text: SOME_DATA, stamp: () }));
        let mut stream = chunks(scope, flow, done.clone(), next);
        for hop in 1..hops {
            stream = stream.unary(Exchange::new(move |_: &_| hop), "Identity", |_, _| {
                move |input, output| {
                    input.for_each_time(|time, batches| {
                        let mut session = output.session(&time);
                        for tuple in batches.flat_map(|batch| batch.drain(..)) {
                            session.give(black_box(tuple));
                        }
                    });
                }
            });
        }
        stream
            .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
                Exchange::new(move |_: &_| hops),
                "Drop",
                |_, _| {
                    move |input, _output| {
                        input.for_each_time(|_time, batches| {
                            let tuples = batches.flat_map(|batch| batch.drain(..));
                            sink.take(tuples, |tuple| tuple.stamp, |tuple| drop(black_box(tuple)));
                        });
                    }
                },
            )
            .probe_with(&done);
    });
}

/// What `next` yields, a chunk per timestamp. `None` ends the source, `Err` is how long to wait.
fn chunks<'scope, S: Stamp>(
    scope: Scope<'scope, u64>,
    flow: Flow,
    done: ProbeHandle<u64>,
    mut next: impl FnMut() -> Option<Result<Tuple<S>, Duration>> + 'static,
) -> StreamVec<'scope, u64, Tuple<S>> {
    source(scope, "Source", |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut capability = Some(capability);
        move |output| {
            let Some(held) = &mut capability else { return };
            let time = *held.time();
            if done.less_than(&time.saturating_sub(flow.window)) {
                return activator.activate();
            }
            let mut session = output.session(&held);
            for _ in 0..flow.chunk {
                match next() {
                    Some(Ok(tuple)) => session.give(tuple),
                    Some(Err(early)) => {
                        drop(session);
                        held.downgrade(&(time + 1));
                        return activator.activate_after(early);
                    }
                    None => {
                        drop(session);
                        capability = None;
                        return;
                    }
                }
            }
            drop(session);
            held.downgrade(&(time + 1));
            activator.activate();
        }
    })
}

/// The words of the lines that `pact` brings to this worker.
fn split<'scope, S: Stamp>(
    lines: StreamVec<'scope, u64, Tuple<S>>,
    pact: impl ParallelizationContract<u64, Vec<Tuple<S>>>,
) -> StreamVec<'scope, u64, Tuple<S>> {
    lines.unary(pact, "Split", |_, _| {
        move |input, output| {
            input.for_each_time(|time, batches| {
                let mut session = output.session(&time);
                for line in batches.flat_map(|batch| batch.drain(..)) {
                    for word in line.text.split_ascii_whitespace() {
                        session.give(Tuple { text: word.into(), stamp: line.stamp });
                    }
                }
            });
        }
    })
}
