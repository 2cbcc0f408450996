//! How long a plan of a cluster takes: 1,000 hosts and 100 topologies, from nothing, and again after small changes.
//!
//! ```text
//! cargo bench --bench schedule -- [--hosts 1000] [--topologies 100] [--repeat 5]
//! ```
//!
//! A third of the topologies is even, the others are resource-aware, some of these with components that must be kept
//! apart. Each has about 100 executors. Prints a JSON line for each case, with the fastest and the slowest of the
//! repetitions in milliseconds.

use std::time::{Duration, Instant};

use clap::Parser;
use squall::api::{SpoutOutputs, SpoutStatus};
use squall::cluster::schedule::{ClusterPlan, ClusterView, Demand, Host, plan};
use squall::config::{HostOptions, Resources, SchedulingStrategy};
use squall::prelude::*;
use squall::topology::Topology;

#[derive(Parser)]
struct Options {
    /// Hosts of the cluster.
    #[arg(long, default_value_t = 1000)]
    hosts: usize,
    /// Topologies.
    #[arg(long, default_value_t = 100)]
    topologies: usize,
    /// How often each case is measured.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Idle;

impl Spout for Idle {
    fn declare(&self) -> Streams {
        Streams::new(["key"])
    }
    fn next_tuple(&mut self, _out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        Ok(SpoutStatus::Exhausted)
    }
}

fn topology(at: usize) -> Topology {
    let mut builder = TopologyBuilder::new(format!("t{at}"));
    let aware = !at.is_multiple_of(3);
    builder.options(|options| {
        options.workers = 10;
        options.scheduling.priority = (at % 30) as u32;
        if aware {
            options.scheduling.strategy = SchedulingStrategy::ResourceAware;
        }
        if at % 5 == 1 && aware {
            options.scheduling.spread = vec!["store".to_owned()];
            options.scheduling.exclusive = vec![vec!["split".to_owned(), "store".to_owned()]];
        }
    });
    let forward = || bolt_fn(Streams::new(["key"]), |_: Input<'_>, _: &mut Outputs<'_>| Ok(()));
    let each = Resources::new(0.1 + (at % 7) as f64 / 10.0, (64 << 20) << (at % 4));
    builder.spout("lines", || Idle).parallelism(10).resources(each);
    builder.bolt("split", forward).parallelism(40).resources(each).shuffle("lines");
    builder.bolt("count", forward).parallelism(40).resources(each).fields("split", ["key"]);
    builder.bolt("store", forward).parallelism(10).resources(each).fields("count", ["key"]);
    builder.build().expect("it is valid")
}

fn demands<'a>(topologies: &'a [Topology], before: Option<&'a ClusterPlan>) -> Vec<Demand<'a>> {
    let each = topologies.iter().enumerate().map(|(at, topology)| Demand {
        owner: ["a", "b", "c"][at % 3],
        submitted: at as u64,
        current: before.and_then(|before| before.topologies[at].placement.as_ref()),
        ..Demand::new(topology)
    });
    each.collect()
}

fn measure(name: &str, repeat: usize, view: &ClusterView, demands: &[Demand<'_>]) -> ClusterPlan {
    let mut times: Vec<Duration> = Vec::new();
    let mut last = None;
    for _ in 0..repeat.max(1) {
        let begin = Instant::now();
        last = Some(plan(view, demands));
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let planned = last.expect("there was one repetition");
    let running = planned.topologies.iter().filter(|topology| topology.placement.is_some()).count();
    let moved: usize = planned.topologies.iter().flat_map(|it| &it.moves).map(|it| it.executors).sum();
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    println!(
        "{{\"case\": \"{name}\", \"hosts\": {}, \"topologies\": {}, \"running\": {running}, \"moved\": {moved}, \
         \"fastest_ms\": {:.1}, \"slowest_ms\": {:.1}}}",
        view.hosts.len(),
        demands.len(),
        millis(times.first()),
        millis(times.last()),
    );
    planned
}

fn main() {
    let options = Options::parse();
    let host = |at: usize| {
        let rack = format!("r{}", at / 40);
        Host::new(&format!("h{at}"), &HostOptions { rack, ..HostOptions::default() })
    };
    let view = ClusterView { hosts: (0..options.hosts).map(host).collect(), guarantees: Vec::new() };
    let topologies: Vec<Topology> = (0..options.topologies).map(topology).collect();

    let first = measure("from nothing", options.repeat, &view, &demands(&topologies, None));
    measure("no change", options.repeat, &view, &demands(&topologies, Some(&first)));
    let mut fewer = view.clone();
    fewer.hosts.drain(..options.hosts / 100);
    measure("a hundredth of the hosts lost", options.repeat, &fewer, &demands(&topologies, Some(&first)));
    // So few hosts that topologies are evicted and some find no place.
    let mut scarce = view.clone();
    scarce.hosts.truncate(options.hosts / 10);
    measure("a tenth of the hosts, from nothing", options.repeat, &scarce, &demands(&topologies, None));
    measure("a tenth of the hosts left", options.repeat, &scarce, &demands(&topologies, Some(&first)));
}
