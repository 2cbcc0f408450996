//! `squall state get`: what bolts keep, as JSON, from the checkpoints of real runs.

#[path = "checkpoint_kit/mod.rs"]
mod checkpoint_kit;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use checkpoint_kit::{Place, Printed, WORDS};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use squall::api::{ListState, MapState, OperatorState, Positions, Timer};
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};

/// Emits 0 to 99, one each millisecond.
struct Numbers(i64);

impl Spout for Numbers {
    fn declare(&self) -> Streams {
        Streams::new(["n", "parity"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.0 == 100 {
            return Ok(SpoutStatus::Exhausted);
        }
        out.emit((self.0, if self.0 % 2 == 0 { "even" } else { "odd" }))?;
        self.0 += 1;
        Ok(SpoutStatus::IdleFor(Duration::from_millis(1)))
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        positions.set("numbers", &self.0)
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        self.0 = positions.get("numbers")?.unwrap_or(0);
        Ok(())
    }
}

/// What is kept of the numbers of a parity.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sum {
    sum: i64,
    largest: Option<i64>,
}

/// Keeps something of every kind, by parity.
#[derive(Default)]
struct Keeper {
    sums: ValueState<Sum>,
    tens: MapState<i64, u32>,
    first: ListState<i64>,
    hundreds: OperatorState<String>,
    idle: Timer,
}

impl Bolt for Keeper {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.sums = context.value_state("sums")?;
        self.tens = context.map_state("tens")?;
        self.first = context.list_state("first")?;
        self.hundreds = context.operator_state("hundreds")?;
        self.idle = context.timer("idle")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        self.sums.update(out, |sum| {
            sum.sum += n;
            sum.largest = Some(n);
        })?;
        let so_far = self.tens.get(out, &(n / 10))?.copied().unwrap_or(0);
        self.tens.insert(out, n / 10, so_far + 1)?;
        if n < 6 {
            self.first.push(out, n)?;
        }
        if n == 98 {
            self.hundreds.push(out, "nearly".to_owned())?;
        }
        self.idle.set(out, Duration::from_secs(3600))?;
        Ok(())
    }
}

/// A directory with the checkpoints of a run of two tasks that has ended.
fn kept() -> Place {
    let place = Place::new();
    let storage = place.path("checkpoints");
    let mut builder = TopologyBuilder::new("kept");
    builder.options(move |options| {
        options.delivery = Delivery::ExactlyOnce;
        options.checkpoint.interval = Duration::from_millis(10);
        options.checkpoint.storage = Some(storage);
    });
    builder.spout("numbers", || Numbers(0));
    builder.bolt("keeper", Keeper::default).parallelism(2).fields("numbers", ["parity"]);
    let topology = builder.build().unwrap_or_else(|errors| panic!("{errors}"));
    RunningTopology::start(topology, LocalOptions::default())
        .unwrap_or_else(|error| panic!("{error}"))
        .join();
    place
}

#[track_caller]
fn get(place: &Place, args: &[&str], code: i32) -> Printed {
    place.squall(&[&["state", "get", "checkpoints"], args].concat(), code)
}

fn lines(printed: &Printed) -> Vec<Json> {
    printed.stdout.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn every_kind_of_state_is_shown() {
    let place = kept();
    let check = |args: &str, expected: Json| {
        let args: Vec<&str> = ["--component", "keeper"].into_iter().chain(args.split(' ')).collect();
        assert_eq!(get(&place, &args, 0).json(), expected, "{args:?}");
    };
    check(r#"--state sums --key ["even"]"#, json!({ "sum": 2450, "largest": 98 }));
    check(r#"--state sums --key ["odd"]"#, json!({ "sum": 2500, "largest": 99 }));
    let tens: serde_json::Map<String, Json> = (0..10).map(|ten| (ten.to_string(), json!(5))).collect();
    check(r#"--state tens --key ["odd"]"#, Json::Object(tens));
    check(r#"--state first --key ["even"]"#, json!([0, 2, 4]));
    let timer = get(&place, &["--component", "keeper", "--state", "idle", "--key", r#"["odd"]"#], 0).json();
    assert_eq!(timer["failures"], 0);
    assert!(timer["due"].as_str().is_some_and(|due| due.ends_with('Z')), "{timer}");

    // An operator state has a list in each task.
    let error = get(&place, &["--component", "keeper", "--state", "hundreds"], 1).stderr;
    assert!(error.contains("each of the 2 tasks of `keeper` has a list of its own"), "{error}");
    let of =
        |task: &str| get(&place, &["--component", "keeper", "--state", "hundreds", "--task", task], 0).json();
    let mut lists = [of("0"), of("1")];
    lists.sort_by_key(Json::to_string);
    assert!(lists == [json!(["nearly"]), json!([])] || lists == [json!([]), json!(["nearly"])], "{lists:?}");
}

#[test]
fn a_dump_has_every_key_in_order() {
    let place = kept();
    let dumped = lines(&get(&place, &["--component", "keeper", "--dump"], 0));
    let places: Vec<(u64, String, Json)> = dumped
        .iter()
        .map(|line| {
            let (task, state) =
                (line["task"].as_u64().expect("a number"), line["state"].as_str().expect("a text"));
            (task, state.to_owned(), line["key"].clone())
        })
        .collect();
    assert!(places.is_sorted_by_key(|(task, _, _)| *task), "{places:?}");
    let mut count: BTreeMap<&str, u32> = BTreeMap::new();
    places.iter().for_each(|(_, state, _)| *count.entry(state).or_default() += 1);
    assert_eq!(count, BTreeMap::from([("first", 2), ("hundreds", 1), ("idle", 2), ("sums", 2), ("tens", 2)]));
    let hundreds = dumped.iter().find(|line| line["state"] == "hundreds").expect("it is there");
    assert_eq!((&hundreds["key"], &hundreds["value"]), (&Json::Null, &json!(["nearly"])));

    let sums = lines(&get(&place, &["--component", "keeper", "--state", "sums", "--dump"], 0));
    let mut sums: Vec<(&Json, &Json)> =
        sums.iter().map(|line| (&line["key"], &line["value"]["sum"])).collect();
    sums.sort_by_key(|(key, _)| key.to_string());
    assert_eq!(sums, [(&json!(["even"]), &json!(2450)), (&json!(["odd"]), &json!(2500))]);
}

/// Two of three words are `storm`. A checkpoint has what came before its barrier, so its counts agree with the
/// position of the spout, whether it consists of one full snapshot or also of deltas.
#[test]
fn deltas_are_merged_as_a_restore_does_it() {
    let place = Place::new();
    place.run_and_kill();
    check_counts(&place);
    let prepared = lines(&get(&place, &["--component", "store", "--state", "prepared", "--dump"], 0));
    assert!(prepared[0]["value"][0][2][0]["rows"].as_u64() > Some(0), "{prepared:?}");
}

#[test]
fn counts_with_a_time_to_live_are_shown_without_their_dates() {
    let place = Place::new();
    let words = WORDS.replace(r#"by = ["word"]"#, r#"by = ["word"], ttl = "1h""#);
    assert_ne!(words, WORDS);
    fs::write(place.path("words.toml"), words).expect("it can be written");
    place.run_and_kill();
    check_counts(&place);
    let dumped = lines(&get(&place, &["--component", "count", "--state", "counts", "--dump"], 0));
    let words: BTreeSet<&str> = dumped.iter().filter_map(|line| line["key"][0].as_str()).collect();
    assert_eq!(words, BTreeSet::from(["squall", "storm"]));
    for line in &dumped {
        let value = line["value"].as_object().expect("an object");
        assert_eq!(value.keys().collect::<Vec<_>>(), ["count", "changed"], "{line}");
    }
    let inspected = place.squall(&["checkpoint", "inspect", "checkpoints", "--json"], 0).json();
    let tasks = inspected["tasks"].as_array().expect("an array");
    assert!(tasks.iter().all(|task| task["problem"].is_null()), "{inspected}");
}

/// Checks the counts in every checkpoint, and that some consist of several snapshots.
fn check_counts(place: &Place) {
    let mut with_deltas = 0;
    let listed = place.squall(&["checkpoint", "list", "checkpoints", "--json"], 0).json();
    for checkpoint in
        listed.as_array().expect("an array").iter().filter_map(|listed| listed["checkpoint"].as_str())
    {
        let inspected =
            place.squall(&["checkpoint", "inspect", "checkpoints", checkpoint, "--json"], 0).json();
        let tasks = inspected["tasks"].as_array().expect("an array");
        with_deltas +=
            tasks.iter().filter(|task| task["files"].as_array().is_some_and(|files| files.len() > 1)).count();
        let positions =
            tasks.iter().find(|task| task["component"] == "words").expect("it is there")["positions"].clone();
        let made = positions["task 0 of 1"]["made"].as_i64().expect("it notes how many it has made");
        let count = |word: &str| {
            let key = format!("[\"{word}\"]");
            let args =
                ["--component", "count", "--state", "counts", "--checkpoint", checkpoint, "--key", &key];
            get(place, &args, 0).json()["count"].as_i64().expect("a number")
        };
        let (storm, squall) = (count("storm"), count("squall"));
        assert_eq!(storm + squall, made, "{checkpoint}");
        assert!((storm - 2 * squall).abs() <= 2, "{checkpoint}: {storm} {squall}");
    }
    assert!(with_deltas > 0, "no checkpoint has deltas: {listed}");
}

#[test]
fn what_is_not_there_is_an_error_that_lists_what_is() {
    let place = kept();
    let check = |args: &str, code: i32, expected: &str| {
        let printed = get(&place, &args.split(' ').collect::<Vec<_>>(), code);
        assert!(printed.stderr.contains(expected), "{args}: {}", printed.stderr);
        assert_eq!(printed.stdout, "", "{args}");
    };
    check("--component kepper --dump", 1, "has no component `kepper`: it has `keeper`, `numbers`");
    check("--component numbers --dump", 1, "`numbers` keeps no state in checkpoint 1-");
    check("--component keeper --dump --task 2", 1, "`keeper` has no task 2 in checkpoint 1-");
    check("--component keeper --dump --task 2", 1, "it has tasks 0, 1");
    check("--component keeper --state sum --dump", 1, "`keeper` has no state `sum`");
    check(
        "--component keeper --state sum --key [1]",
        1,
        "it has `__held`, `__in_flight`, `sums`, `tens`, `first`, `hundreds`, `idle`",
    );
    check(
        r#"--component keeper --state sums --key ["evne"]"#,
        1,
        r#"nothing for key `["evne"]` in checkpoint 1-"#,
    );
    check(r#"--component keeper --state sums --key ["evne"]"#, 1, "of its 2 keys, [");
    check(r#"--component keeper --state sums --key ["Odd"]"#, 1, r#"did you mean `["odd"]`?"#);
    check(
        "--component keeper --state sums",
        1,
        "is kept by key: name one by --key, or print all of them by --dump",
    );
    check("--component keeper --state hundreds --key [1]", 1, "has no keys, because it is an operator state");
    check(
        "--component keeper --dump --checkpoint 7-7",
        1,
        "there is no checkpoint 7-7 in the directory `checkpoints`: 1-",
    );
    check("--component keeper", 2, "--state <NAME>");
    check("--component keeper --state sums --key even", 2, "write a JSON array");
    check("--component keeper --state sums --key [1] --dump", 2, "cannot be used with");
    check("--state sums --dump", 2, "--component <NAME>");

    fs::create_dir(place.path("empty")).expect("it can be made");
    let error = place.squall(&["state", "get", "empty", "--component", "keeper", "--dump"], 1).stderr;
    assert!(error.contains("there are no checkpoints in the directory `empty`"), "{error}");
    let error = place.squall(&["state", "get", "nowhere", "--component", "keeper", "--dump"], 1).stderr;
    assert!(error.contains("cannot open the directory `nowhere`: No such file or directory"), "{error}");
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let place = kept();
    let latest = place.squall(&["checkpoint", "inspect", "checkpoints", "--json"], 0).json();
    let files = |task: usize| latest["tasks"][task]["files"].as_array().expect("an array").clone();
    let name = files(0)[0]["name"].as_str().expect("a text").to_owned();
    let path = place.path("checkpoints").join(&name);
    let whole = fs::read(&path).expect("it can be read");
    fs::write(&path, &whole[..whole.len() - 1]).expect("it can be written");
    let error = get(&place, &["--component", "keeper", "--dump"], 1).stderr;
    assert!(
        error.contains(&format!("checkpoint file `{name}` in the directory `checkpoints` cannot be used")),
        "{error}"
    );
    assert!(
        error.contains(&format!("{} of its {} bytes are there", whole.len() - 1, whole.len())),
        "{error}"
    );
    // The other task can be looked at.
    get(&place, &["--component", "keeper", "--dump", "--task", "1"], 0);
    fs::remove_file(&path).expect("it can be deleted");
    let error = get(&place, &["--component", "keeper", "--dump", "--task", "0"], 1).stderr;
    assert!(error.contains("it is missing"), "{error}");
}

#[test]
fn a_run_is_looked_at_while_it_goes_on() {
    let place = Place::new();
    let mut child = place.run_until(3);
    let mut last = 0;
    for _ in 0..10 {
        let value =
            get(&place, &["--component", "count", "--state", "counts", "--key", r#"["storm"]"#], 0).json();
        let count = value["count"].as_i64().expect("a number");
        assert!(count >= last, "{count} after {last}");
        last = count;
    }
    child.kill().expect("it runs");
    child.wait().expect("it was started");
}
