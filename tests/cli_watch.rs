//! What an operator sees of a topology that runs in a cluster of real processes: counters, errors, and how it changes.

#[path = "dev_kit/mod.rs"]
mod dev_kit;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use dev_kit::{DevCluster, PATIENCE, squall};

/// One of a hundred numbers fails, and is given up at once.
const NUMBERS: &str = r#"
[topology]
name = "numbers"
workers = 2
message_timeout = "180s"
[spout.numbers]
type = "generate"
config = { rate = 1000, fields = { n = "{seq}" } }
[bolt.same]
type = "map"
max_replays = 0
parallelism = 2
inputs = ["numbers"]
config.set = { n = "1 / (n % 100)" }
[bolt.store]
type = "file"
inputs = ["same"]
config = { path = "DIR/out-{task}", format = "text" }
"#;

/// A cluster in which the topology runs.
fn cluster_with_numbers() -> DevCluster {
    let cluster = DevCluster::new();
    let file = cluster.document("topology.toml", NUMBERS);
    cluster.done(&["submit", &file, "--timeout", "180s"]);
    cluster
}

/// What is asked of the cluster.
trait Watched {
    /// Asks until the answer is as expected.
    fn until(&self, what: &str, args: &[&str], holds: impl Fn(&Value) -> bool) -> Value;
    fn status_until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value;
    fn kill_named(&self, name: &str);
}

impl Watched for DevCluster {
    #[track_caller]
    fn until(&self, what: &str, args: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer: Value = serde_json::from_str(&self.done(args)).expect("it is JSON");
            if holds(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "in vain waited for: {what}: {answer}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn status_until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.until(what, &["status", "numbers", "-o", "json"], holds)
    }

    fn kill_named(&self, name: &str) {
        self.kill(self.pid_of(name).expect("it runs"));
    }
}

/// A command that ends by itself only if all goes well.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_operator_sees_counters_errors_restarts_and_the_end() {
    let cluster = cluster_with_numbers();
    let status = cluster.status_until("messages are acked and failed", |status| {
        let stats = &status["stats"];
        stats["acked"].as_u64() > Some(200) && stats["components"][1]["errors"].as_u64() > Some(2)
    });
    let stats = &status["stats"];
    assert_eq!((&status["phase"], &status["stats_missing"]), (&"active".into(), &Value::Null), "{status}");
    let ids: Vec<&str> = stats["components"]
        .as_array()
        .expect("they are listed")
        .iter()
        .filter_map(|it| it["id"].as_str())
        .collect();
    assert_eq!(ids, ["numbers", "same", "store"], "{stats}");
    assert!(stats["components"][2]["executed"].as_u64() > Some(200), "{stats}");
    assert!(stats["complete_latency_ms"]["p50"].as_f64() > Some(0.0), "{stats}");
    assert_eq!((&stats["workers"]["count"], &stats["workers"]["restarts"]), (&2.into(), &0.into()));
    let ups: Vec<&Value> =
        stats["processes"].as_array().expect("they are listed").iter().map(|worker| &worker["up"]).collect();
    assert_eq!(ups, [true, true], "{stats}");
    let shown = cluster.done(&["status", "numbers"]);
    assert!(shown.contains("COMPONENT") && shown.contains("2 of 2 up, 0 restarts"), "{shown}");

    let is_of_same = |error: &Value| error["component"] == "same" && error["at"].is_string();
    let list = ["errors", "numbers", "-o", "json"];
    let errors = cluster.until("errors are listed", &list, |errors| {
        errors.as_array().is_some_and(|errors| errors.iter().any(is_of_same))
    });
    let error = errors.as_array().and_then(|errors| errors.iter().find(|error| is_of_same(error)));
    let text = error.and_then(|error| error["error"].as_str()).unwrap_or_default();
    assert!(text.contains("task"), "{errors}");
    assert!(cluster.done(&["errors", "numbers"]).contains(text), "{errors}");

    cluster.kill_named("worker-1");
    cluster.status_until("it is replaced", |status| {
        let stats = &status["stats"];
        stats["workers"]["restarts"] == 1 && stats["processes"][1]["up"] == true
    });
    let end_of_worker =
        |error: &Value| error["component"].is_null() && error["worker"] == 1 && error["at"].is_string();
    let errors = cluster.until("its end is listed", &list, |errors| errors.as_array().is_some());
    assert!(errors.as_array().is_some_and(|errors| errors.iter().any(end_of_worker)), "{errors}");

    // The next master answers, too. Of what happened before it began, it knows no time.
    cluster.kill_named("master");
    cluster.status_until("the next master counts", |status| {
        status["phase"] == "active"
            && status["stats"]["epoch"] == 2
            && status["stats"]["has_adopted"] == true
            && status["stats"]["acked"].as_u64() > Some(200)
    });

    let mut watch = squall(&["status", "numbers", "--watch", "--nimbus", &cluster.address]);
    let mut watch = Watch(watch.stdout(Stdio::piped()).spawn().expect("it runs"));
    let mut lines = BufReader::new(watch.0.stdout.take().expect("it is piped"));
    for _ in 0..2 {
        let mut line = String::new();
        lines.read_line(&mut line).expect("it is text");
        assert!(
            line.starts_with("numbers is active: 2 workers on ") && line.contains(" emitted, "),
            "{line}"
        );
    }
    cluster.done(&["kill", "numbers", "--timeout", "180s"]);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("it is text");
    assert!(rest.lines().last().is_some_and(|line| line.contains("numbers has ended")), "{rest}");
    assert_eq!(watch.0.wait().expect("it is ours").code(), Some(0));

    let status = cluster.status_until("it is there", |_| true);
    assert_eq!((&status["phase"], &status["stats"]), (&"ended".into(), &Value::Null), "{status}");
    assert!(status["stats_missing"].as_str().is_some_and(|why| why.contains("it has ended")), "{status}");
    let errors = cluster.run(&["errors", "numbers"]);
    assert_eq!(errors.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&errors.stderr).contains("it has ended"), "{errors:?}");
}
