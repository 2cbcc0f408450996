//! How soon a cluster of one machine does what it is asked for, and how soon what dies is replaced. Figures for people,
//! which assert nothing about time; `scripts/recovery.sh` runs them.

#[path = "cluster_figures/dev.rs"]
mod dev;

use std::time::{Duration, Instant};

use dev::Cluster;

const ROUNDS: usize = 20;

/// The median and the largest of some times.
fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let ms = |share: f64| at(share).as_secs_f64() * 1000.0;
    println!("{what:60} median {:>6.0} ms  largest {:>6.0} ms  of {}", ms(0.5), ms(1.0), times.len());
}

#[test]
#[ignore = "it measures: scripts/recovery.sh"]
fn figures() {
    let mut cluster = Cluster::new();
    println!("{:60} {:>13.0} ms", "squall dev until it is ready", cluster.ready_after.as_secs_f64() * 1000.0);

    let mut first = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        cluster.submit();
        cluster.wait_for_lines(1);
        first.push(begin.elapsed());
        cluster.done(&["kill", "numbers"]);
        cluster.done(&["remove", "numbers"]);
        cluster.forget_lines();
    }
    show("submit until the first tuple is in a file", first);

    cluster.submit();
    cluster.wait_for_lines(2000);
    for what in ["worker", "master"] {
        let mut pauses = Vec::new();
        for round in 0..ROUNDS {
            let processes = cluster.wait_for_processes(what);
            let (_, pid) = processes[round % processes.len()];
            let at = Instant::now();
            cluster.kill(pid);
            pauses.push(cluster.longest_pause(Duration::from_secs(2)));
            assert!(at.elapsed() >= Duration::from_secs(2));
        }
        show(&format!("{what} killed: the longest time without a new line"), pauses);
    }
    let mut usual = Vec::new();
    for _ in 0..ROUNDS {
        usual.push(cluster.longest_pause(Duration::from_secs(2)));
    }
    show("nothing killed: the longest time without a new line", usual);

    let before = cluster.rate(Duration::from_secs(10));
    let killed = cluster.rate_while(Duration::from_secs(10), Cluster::restart_daemons);
    println!(
        "{:60} {:.1} % of the rows of the 10 s before",
        "nimbus and all supervisors killed and started again: rows",
        100.0 * killed / before
    );
    cluster.done(&["stop", "numbers", "--cluster"]);
    cluster.check_that_nothing_is_missing();
}
