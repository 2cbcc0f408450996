//! The commands about topologies of a cluster, against the real API and operations in memory.

use std::net::SocketAddr;
use std::path::PathBuf;

use assert_cmd::Command;
use serde_json::{Value, json};
use squall::cluster::log_pieces::{LogAnswer, LogFrom, LogPiece, LogPosition, LogSource};
use squall::cluster::observed::Observed;
use squall::cluster::operations::{HostedInfo, OperationError, TopologyInfo};
use squall::cluster::problem::ProblemInfo;
use squall::cluster::topologies::{BlobHash, Outcome, TopologyPhase, UpgradeOutcome, Wanted};
use tempfile::TempDir;

use crate::fake::{Fake, Turn};

const WORDS: &str =
    "topology.name = \"words\"\nspout.n = { type = \"generate\", config.fields.n = \"{seq}\" }\n";

/// A directory for the commands, with a topology in it.
pub struct Place(TempDir);

/// What a command printed.
pub struct Printed {
    pub stdout: String,
    pub stderr: String,
}

impl Printed {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    #[track_caller]
    pub fn says(&self, expected: &str) -> &Printed {
        assert!(self.stderr.contains(expected), "no `{expected}` in {}", self.stderr);
        self
    }
}

impl Place {
    pub fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a directory"));
        std::fs::write(place.path("words.toml"), WORDS).expect("it is written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a command against the nimbuses at these addresses. It must end with this exit code.
    #[track_caller]
    pub fn squall(&self, nimbuses: &[SocketAddr], args: &[&str], code: i32) -> Printed {
        let addresses: Vec<String> = nimbuses.iter().map(ToString::to_string).collect();
        match addresses.is_empty() {
            true => self.squall_with(&[], args, code),
            false => self.squall_with(&[("SQUALL_NIMBUS", &addresses.join(","))], args, code),
        }
    }

    /// Runs a command with these variables of the environment. It must end with this exit code.
    #[track_caller]
    pub fn squall_with(&self, variables: &[(&str, &str)], args: &[&str], code: i32) -> Printed {
        let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied()).env("USER", "ada").env_remove("COLUMNS");
        // Runs of this machine are looked for here, and there are none.
        command.env("XDG_RUNTIME_DIR", self.0.path()).current_dir(self.0.path());
        // Nothing but nimbus is to be asked.
        command.env("HTTP_PROXY", "http://127.0.0.1:1").env("ALL_PROXY", "http://127.0.0.1:1");
        let output = command.args(args).output().expect("it starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
        let printed = Printed { stdout: text(output.stdout), stderr: text(output.stderr) };
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{}\n{}", printed.stdout, printed.stderr);
        printed
    }
}

/// An address at which nobody listens.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

// ---- submit ----

#[test]
fn what_is_submitted_is_what_was_validated() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.change(|inside| inside.turns.extend([(|_| {}) as Turn, |info| info.phase = TopologyPhase::Active]));
    let args = ["submit", "words.toml", "--name", "other", "--set", "spout.n.parallelism=3"];
    let printed = place.squall(&[server.address()], &args, 0);
    assert_eq!(printed.stdout, "other-1\n");
    printed.says("other is starting: 2 workers on 1 host").says("other is active: 2 workers on 1 host");
    let inside = fake.inside();
    let request = &inside.submitted[0];
    assert_eq!((&*request.owner, request.inactive, request.dry_run), ("ada", false, false));
    let blob = &inside.blobs[&request.source];
    assert_eq!(BlobHash::of(blob), request.source);
    let source: Value = serde_json::from_slice(blob).expect("a source is JSON");
    assert_eq!(source["overrides"], json!(["spout.n.parallelism=3", "topology.name=\"other\""]));
    assert_eq!(source["files"]["words.toml"], WORDS);
}

#[test]
fn a_topology_with_mistakes_reaches_no_nimbus() {
    let place = Place::new();
    std::fs::write(place.path("bad.toml"), WORDS.replace("generate", "generat")).expect("it is written");
    place.squall(&[NOBODY], &["submit", "bad.toml"], 1).says("did you mean `generate`");
    place.squall(&[NOBODY], &["submit", "none.toml"], 1).says("none.toml");
    let long = format!("topology.name=\"{}\"", "x".repeat(50));
    place.squall(&[NOBODY], &["submit", "words.toml", "--set", &long], 1).says("another one by --name");
    place.squall(&[NOBODY], &["submit", "words.toml", "--name", "a/b"], 2).says("names have 1 to 43 letters");
}

#[test]
fn a_dry_run_shows_places_and_what_is_short() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    let printed = place.squall(&[server.address()], &["submit", "words.toml", "--dry-run"], 0);
    assert_eq!(printed.stdout, "WORKER  HOST  SLOT\n     0  ada      1\n     1  ada      2\n");
    fake.change(|inside| inside.short = Some("2 slots are missing".to_owned()));
    let args = ["submit", "words.toml", "--dry-run", "-o", "json"];
    let printed = place.squall(&[server.address()], &args, 1);
    printed.says("short: 2 slots are missing");
    assert_eq!((&printed.json()["id"], &printed.json()["workers"]), (&Value::Null, &json!([])));
    assert!(fake.inside().topologies.is_empty());
}

#[test]
fn it_waits_while_there_is_no_room_and_gives_up_after_its_time() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.change(|inside| inside.short = Some("2 slots are missing".to_owned()));
    let args = ["submit", "words.toml", "--timeout", "1ms"];
    let printed = place.squall(&[server.address()], &args, 1);
    printed.says("words does not fit: 2 slots are missing").says("after 1ms").says("squall status words");
    assert!(!printed.stderr.contains("short:"), "it is said once: {}", printed.stderr);
    assert!(fake.inside().topologies.contains_key("words"), "it stays submitted");
    // The same, but there is room later.
    fake.change(|inside| {
        inside.topologies.clear();
        inside.turns.extend([(|_| {}) as Turn, |info: &mut TopologyInfo| {
            info.short = None;
            info.phase = TopologyPhase::Active;
        }]);
    });
    place
        .squall(&[server.address()], &["submit", "words.toml"], 0)
        .says("words does not fit")
        .says("is active");
    // Somebody who does not want to wait.
    fake.change(|inside| inside.topologies.clear());
    fake.change(|inside| inside.short = Some("1 slot is missing".to_owned()));
    let printed = place.squall(&[server.address()], &["submit", "words.toml", "--no-wait"], 0);
    assert_eq!(printed.stdout, "words-3\n");
    printed.says("short: 1 slot is missing");
}

#[test]
fn an_inactive_one_is_waited_for_until_it_rests() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.change(|inside| inside.turns.push_back(|info| info.phase = TopologyPhase::Inactive));
    place.squall(&[server.address()], &["submit", "words.toml", "--inactive"], 0).says("words is inactive");
    assert!(fake.inside().submitted[0].inactive);
}

/// A short input may have been processed before the command looks.
#[test]
fn the_end_of_a_topology_is_seen_while_it_is_waited_for() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.change(|inside| {
        inside.turns.push_back(|info| {
            info.phase = TopologyPhase::Ended;
            info.outcome = Some(Outcome::default());
        });
    });
    place
        .squall(&[server.address()], &["submit", "words.toml"], 0)
        .says("words has ended: all was processed");
    fake.change(|inside| {
        inside.turns.push_back(|info| {
            info.phase = TopologyPhase::Ended;
            info.outcome = Some(Outcome { failure: Some("no\u{1b}disk".to_owned()), ..Outcome::default() });
        });
    });
    // What comes from elsewhere cannot act on the terminal.
    place
        .squall(&[server.address()], &["submit", "words.toml"], 1)
        .says("words has ended: it failed: no\\u{1b}disk");
}

#[test]
fn a_name_that_is_in_use_is_an_error() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.has("words", TopologyPhase::Active);
    let printed = place.squall(&[server.address()], &["submit", "words.toml"], 1);
    assert_eq!(printed.stdout, "");
    printed.says("error: there is a topology `words` already");
}

// ---- list, status ----

#[test]
fn topologies_are_listed() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    let list = |args: &[&str]| place.squall(&[server.address()], &[&["list"], args].concat(), 0);
    let empty = list(&[]);
    assert_eq!(empty.stdout, "");
    empty.says("there are no topologies in this cluster");
    assert_eq!(list(&["-o", "json"]).json(), json!([]));
    fake.has("words", TopologyPhase::Active);
    fake.change(|inside| inside.short = Some("1 slot is missing".to_owned()));
    fake.has("more", TopologyPhase::Starting);
    let listed = list(&[]);
    assert_eq!(
        listed.stdout,
        "TOPOLOGY  PHASE     WANTED  WORKERS  MASTER  OWNER     SUBMITTED\n\
         more      starting  active        0  -       somebody  2026-11-30T09:00:00Z\n\
         words     active    active        2  ada     somebody  2026-11-30T09:00:00Z\n"
    );
    listed.says("short: more: 1 slot is missing");
    assert_eq!(list(&["--output", "json"]).json()[1]["id"], "words-1");
}

#[test]
fn one_is_shown_with_all_that_is_known_of_it() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.has("words", TopologyPhase::Active);
    let status = place.squall(&[server.address()], &["status", "words"], 0);
    assert_eq!(
        status.stdout,
        "topology   words-1\nowner      somebody\nsubmitted  2026-11-30T09:00:00Z\nwanted     active\n\
         phase      active\nmaster     ada, 127.0.0.1:4000, epoch 1\n\n\
         WORKER  HOST  SLOT\n     0  ada      1\n     1  ada      2\n\n\
         counters   none: its master does not answer\n"
    );
    place.squall(&[server.address()], &["errors", "words"], 1).says("its master does not answer");
    fake.change(|inside| inside.stats = Some(Observed::default()));
    let errors = place.squall(&[server.address()], &["errors", "words"], 0);
    assert_eq!(errors.says("words has no errors").stdout, "");
    let status = place.squall(&[server.address()], &["status", "words"], 0);
    let expected =
        "\n\nmessages   0 emitted, 0 acked, 0 failed, 0 replayed, 0 pending\nrate       0 messages/s";
    assert!(status.stdout.contains(expected), "{}", status.stdout);
    fake.change(|inside| {
        let info = inside.topologies.get_mut("words").expect("it is there");
        info.phase = TopologyPhase::Ended;
        info.workers.clear();
        info.master = None;
        let ended_at = "2026-11-30T10:00:00Z".to_owned();
        info.outcome = Some(Outcome { completed: 12_345, cut_short: true, ended_at, ..Outcome::default() });
    });
    let status = place.squall(&[server.address()], &["status", "words"], 0);
    let expected = "phase      ended\nended      2026-11-30T10:00:00Z, it was cut short\ncompleted  12,345\nfailed     0\n";
    assert!(status.stdout.contains(expected), "{}", status.stdout);
    let json = place.squall(&[server.address()], &["status", "words", "-o", "json"], 0).json();
    assert_eq!(json["outcome"]["completed"], 12_345);
}

#[test]
fn who_watches_gets_a_line_a_refresh_until_the_end() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.has("words", TopologyPhase::Active);
    let end: Turn = |info| {
        info.phase = TopologyPhase::Ended;
        info.outcome = Some(Outcome::default());
    };
    fake.change(|inside| inside.turns.extend([(|_| {}) as Turn, end]));
    let watched = place.squall(&[server.address()], &["status", "words", "--watch"], 0);
    assert_eq!(
        watched.stdout,
        "words is active: 2 workers on 1 host; no counters: its master does not answer\n\
         words has ended: all was processed; no counters: its master does not answer\n"
    );
    let line = place.squall(&[server.address()], &["status", "words", "--watch", "-o", "json"], 0);
    assert_eq!((line.stdout.lines().count(), &line.json()["phase"]), (1, &json!("ended")));
    place.squall(&[server.address()], &["status", "none", "--watch"], 3);
    place.squall(&[NOBODY], &["status", "words", "--watch"], 4);
}

// ---- activate, deactivate, kill, stop, remove ----

/// Submits nothing: a topology is there, and becomes so when it is looked at.
fn check_wish(args: &[&str], turn: fn(&mut TopologyInfo), wanted: Wanted, code: i32) {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.has("words", TopologyPhase::Starting);
    fake.change(|inside| inside.turns.extend([(|_| {}) as Turn, turn]));
    let printed = place.squall(&[server.address()], args, code);
    assert_eq!(printed.stdout, "", "{args:?}");
    printed.says("words is starting");
    assert_eq!(fake.inside().topologies["words"].wanted, wanted, "{args:?}");
    assert!(fake.inside().turns.is_empty(), "{args:?}: it has not waited");
}

#[test]
fn a_command_waits_until_its_wish_is_true() {
    check_wish(&["activate", "words"], |info| info.phase = TopologyPhase::Active, Wanted::Active, 0);
    check_wish(&["deactivate", "words"], |info| info.phase = TopologyPhase::Inactive, Wanted::Inactive, 0);
    check_wish(&["kill", "words"], |info| info.phase = TopologyPhase::Ended, Wanted::Killed, 0);
    check_wish(&["stop", "words"], |info| info.phase = TopologyPhase::Ended, Wanted::Drained, 0);
    check_wish(&["stop", "words", "--cluster"], |info| info.phase = TopologyPhase::Ended, Wanted::Drained, 0);
}

#[test]
fn an_end_that_is_not_the_wish_is_a_failure() {
    fn cut_short(info: &mut TopologyInfo) {
        info.phase = TopologyPhase::Ended;
        info.outcome = Some(Outcome { cut_short: true, ..Outcome::default() });
    }
    check_wish(&["kill", "words"], cut_short, Wanted::Killed, 0);
    check_wish(&["stop", "words"], cut_short, Wanted::Drained, 1);
    check_wish(&["activate", "words"], cut_short, Wanted::Active, 1);
    check_wish(&["deactivate", "words"], |info| info.phase = TopologyPhase::Ended, Wanted::Inactive, 1);
}

#[test]
fn nobody_has_to_wait() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.has("words", TopologyPhase::Active);
    for command in ["deactivate", "activate", "stop", "kill"] {
        let printed = place.squall(&[server.address()], &[command, "words", "--no-wait"], 0);
        assert_eq!((&*printed.stdout, &*printed.stderr), ("", ""), "{command}");
    }
    let printed = place.squall(&[server.address()], &["kill", "words", "--timeout", "1ms"], 1);
    printed.says("that is not done after 1ms");
}

/// A topology whose program no host can start did not come up, and nobody but the log of a supervisor said why.
#[test]
fn why_a_process_does_not_start_is_shown_wherever_somebody_looks() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fn problem(process: &str) -> ProblemInfo {
        ProblemInfo {
            topology: "words-1".parse().expect("an id"),
            host: "ada".to_owned(),
            process: process.to_owned(),
            problem: "cannot be started: \u{1b}[2J the disk is full".to_owned(),
            since: "2026-11-30T09:00:00Z".to_owned(),
        }
    }
    fake.change(|inside| {
        inside.turns.extend([(|info: &mut TopologyInfo| {
            info.problems = vec![problem("worker-1"), problem("master")];
        }) as Turn])
    });
    let line = r"worker 1 on ada cannot be started: \u{1b}[2J the disk is full (since 2026-11-30T09:00:00Z)";
    let submitted = place.squall(&[server.address()], &["submit", "words.toml", "--timeout", "1ms"], 1);
    submitted.says(&format!("words is starting: 2 workers on 1 host; {line}; 1 more in `squall status`"));
    submitted.says("is still to be done (words is starting");
    place.squall(&[server.address()], &["errors", "words"], 1).says(line);
    let status = place.squall(&[server.address()], &["status", "words"], 0);
    assert!(
        status.stdout.contains(&format!("\nproblem    {line}\nproblem    master on ada ")),
        "{}",
        status.stdout
    );
    let json = place.squall(&[server.address()], &["status", "words", "-o", "json"], 0).json();
    assert_eq!(json["problems"][0]["process"], "worker-1");
    let cluster = place.squall(&[server.address()], &["cluster"], 0);
    assert!(cluster.stdout.contains(&format!("\nproblems:\nwords: {line}\n")), "{}", cluster.stdout);
}

#[test]
fn an_upgrade_is_waited_for_and_a_roll_back_has_a_code_of_its_own() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.has("words", TopologyPhase::Active);
    let up = |info: &mut TopologyInfo| {
        info.upgrade.as_mut().expect("it is upgraded").outcome = UpgradeOutcome::Accepted;
    };
    // The first look is before the upgrade.
    fake.change(|inside| inside.turns.extend([(|_| {}) as Turn, |_| {}, up]));
    let args = ["upgrade", "words", "words.toml"];
    let printed = place.squall(&[server.address()], &args, 0);
    assert!(printed.stdout.starts_with("bolt `more` is new\n\nWORKER  HOST"), "{}", printed.stdout);
    assert_eq!(
        place.squall(&[server.address()], &["status", "words"], 0).stdout.matches("upgrade ").count(),
        1
    );
    let back = |info: &mut TopologyInfo| {
        let upgrade = info.upgrade.as_mut().expect("it is upgraded");
        upgrade.outcome = UpgradeOutcome::RolledBack("no such file".to_owned());
        info.generation += 1;
        info.runs = info.generation;
    };
    fake.change(|inside| inside.turns.extend([(|_| {}) as Turn, |_| {}, back]));
    place.squall(&[server.address()], &args, 5).says("rolled back: no such file");
    place.squall(&[server.address()], &[&args[..], &["--no-wait"]].concat(), 0);
    let generation = fake.inside().topologies["words"].generation;
    place.squall(&[server.address()], &[&args[..], &["--dry-run"]].concat(), 0);
    assert_eq!(fake.inside().topologies["words"].generation, generation, "it is only planned");
    fake.change(|inside| inside.short = Some("1 slot is missing".to_owned()));
    place.squall(&[server.address()], &args, 1).says("short: 1 slot is missing");
    assert_eq!(fake.inside().topologies["words"].generation, generation, "what does not fit changes nothing");
    let other = [&args[..], &["--set", "topology.name=others"]].concat();
    place.squall(&[server.address()], &other, 1).says("`--set topology.name=words`");
    place.squall(&[server.address()], &["upgrade", "none", "words.toml", "--set", "topology.name=none"], 3);
}

/// Another topology that gets the name while a command waits is not taken for the one that it waits for.
#[test]
fn a_topology_is_watched_by_its_id() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.has("words", TopologyPhase::Active);
    let another = |info: &mut TopologyInfo| info.id = "words-9".parse().expect("an id");
    fake.change(|inside| inside.turns.push_back(another));
    place.squall(&[server.address()], &["kill", "words"], 0).says("words-1 is not in the cluster any more");
    fake.change(|inside| inside.turns.push_back(|info| info.id = "words-10".parse().expect("an id")));
    place
        .squall(&[server.address()], &["activate", "words"], 1)
        .says("words-9 is not in the cluster any more");
}

#[test]
fn an_ended_topology_is_removed() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.has("words", TopologyPhase::Active);
    place.squall(&[server.address()], &["remove", "words"], 1).says("has not ended");
    fake.has("words", TopologyPhase::Ended);
    place.squall(&[server.address()], &["remove", "words"], 0).says("words is removed");
    place.squall(&[server.address()], &["remove", "words"], 3).says("there is no topology `words`");
}

#[test]
fn what_is_not_there_has_an_exit_code_of_its_own() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    for command in ["status", "errors", "activate", "deactivate", "kill", "stop", "remove"] {
        place
            .squall(&[server.address()], &[command, "words"], 3)
            .says("there is no topology `words` in this cluster");
        // Nothing else is asked for by a name that is none.
        place.squall(&[server.address()], &[command, "../cluster"], 3).says("is called `../cluster`");
    }
    let neither = place.squall(&[server.address()], &["stop", "words"], 3);
    neither.says("there is no run `words`: no topology runs here; and in a cluster: there is no topology");
    assert_eq!(fake.inside().topologies.len(), 0);
}

// ---- Logs ----

fn log_of(process: LogSource, text: &str, offset: u64) -> LogAnswer {
    let next = LogPosition { file: 9, offset };
    LogAnswer::new(process, Ok(LogPiece { text: text.to_owned(), next, is_end: true, has_gap: false }))
}

#[test]
fn logs_are_shown_process_by_process_and_followed_to_the_end() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    let squall = |args: &[&str], code| place.squall(&[server.address()], &[&["logs"], args].concat(), code);
    fake.has("words", TopologyPhase::Active);
    let (master, zero, one) = (LogSource::Master, LogSource::Worker(0), LogSource::Worker(1));
    let answer =
        |answers: &[Vec<LogAnswer>]| fake.change(|inside| inside.logs = answers.iter().cloned().collect());
    let all = vec![log_of(master, "m\n", 2), log_of(zero, "a\nb", 3), log_of(one, "\u{1b}[2Jc\n", 5)];
    answer(&[all]);
    let shown = squall(&["words"], 0);
    assert_eq!(shown.stdout, "master   | m\nworker-0 | a\nworker-1 | \\u{1b}[2Jc\nworker-0 | b\n");
    // One that does not answer is named, and the others are shown.
    answer(&[vec![LogAnswer::new(zero, Err("it is not connected".to_owned())), log_of(one, "d\n", 2)]]);
    let shown = squall(&["words", "--worker", "0", "--worker", "1", "--no-prefix"], 1);
    shown.says("worker-0: it is not connected");
    assert_eq!(shown.stdout, "d\n");
    // The next question begins where the last answer ended, until the topology has ended.
    fake.change(|inside| inside.questions.clear());
    answer(&[vec![log_of(zero, "e\nf", 7)], vec![log_of(zero, "g\n", 9)]]);
    fake.change(|inside| {
        let rest: Turn = |_| {};
        inside.turns.extend([rest, rest]);
        inside.turns.push_back(|info| info.phase = TopologyPhase::Ended);
    });
    let shown = squall(&["words", "-f", "--worker", "0", "--lines", "3", "--component", "count"], 0);
    assert_eq!(shown.stdout, "e\nfg\n");
    shown.says("words has ended");
    let asked: Vec<_> = fake.inside().questions.iter().map(|question| question.of[0].from).collect();
    assert_eq!(asked, [LogFrom::Last(3), LogFrom::At(LogPosition { file: 9, offset: 7 })]);
    assert_eq!(fake.inside().questions[0].component.as_deref(), Some("count"));
    squall(&["words"], 1).says("has ended").says("topologies/words-1");
    fake.has("words", TopologyPhase::Active);
    squall(&["words"], 1).says("its master does not answer");
    squall(&["words", "--worker", "7"], 1).says("has no worker 7: it has 0, 1");
    squall(&["words", "--output", "--component", "count"], 2);
    squall(&["nothing"], 3).says("there is no topology `nothing`");
}

#[test]
fn levels_are_changed_for_a_while_and_shown() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    let squall =
        |args: &[&str], code| place.squall(&[server.address()], &[&["log-level"], args].concat(), code);
    fake.has("words", TopologyPhase::Active);
    squall(&["words", "warn", "count=debug", "--for", "90s"], 0)
        .says("words logs warn,count=debug until in 90 s");
    let status = place.squall(&[server.address()], &["status", "words"], 0);
    assert!(status.stdout.contains("warn,count=debug until in 90 s"), "{}", status.stdout);
    squall(&["words", "debug"], 0).says("until in 300 s");
    for back in [&["words", "--reset"][..], &["words", "debug", "--for", "0"]] {
        squall(&["words", "debug"], 0);
        squall(back, 0).says("words logs what its hosts have it log");
        assert_eq!(fake.inside().topologies["words"].log, None);
    }
    squall(&["words", "loud"], 2).says("`loud` is no log level");
    squall(&["words"], 2);
    squall(&["words", "debug", "--reset"], 2);
    squall(&["nothing", "debug"], 3).says("there is no topology `nothing`");
}

// ---- Hosts ----

#[test]
fn a_host_is_emptied_with_progress_and_used_again() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    let words = |workers: &[u16], short: Option<&str>| {
        let short = short.map(str::to_owned);
        vec![HostedInfo { topology: "words".to_owned(), workers: workers.to_vec(), master: true, short }]
    };
    let looks =
        |looks: &[Vec<HostedInfo>]| fake.change(|inside| inside.hosted = looks.iter().cloned().collect());
    let squall =
        |args: &[&str], code| place.squall(&[server.address()], &[&["supervisor"], args].concat(), code);
    // The first look is that of the answer.
    looks(&[words(&[0, 2], None), words(&[0, 2], None), words(&[2], None)]);
    squall(&["drain", "ada"], 0)
        .says("ada: still there: words (workers 0 2, master)")
        .says("ada: still there: words (worker 2, master)")
        .says("ada: nothing runs there");
    assert!(fake.inside().drained);
    let stays = words(&[0], Some("there is no room elsewhere"));
    looks(&vec![stays.clone(); 100]);
    squall(&["drain", "ada", "--timeout", "1ms"], 1)
        .says("there is no room elsewhere")
        .says("squall cluster");
    looks(&[stays.clone(), stays.clone()]);
    assert_eq!(squall(&["drain", "ada", "--no-wait"], 0).stderr, "");
    let shown = place.squall(&[server.address()], &["cluster"], 0);
    assert!(shown.stdout.contains("draining"), "{}", shown.stdout);
    assert!(shown.stdout.contains("still on ada: words (worker 0, master): there is no room elsewhere"));
    assert!(place.squall(&[server.address()], &["cluster"], 0).stdout.contains("drained"));
    squall(&["undrain", "ada"], 0).says("ada is used again");
    assert!(!fake.inside().drained);
    assert!(place.squall(&[server.address()], &["cluster"], 0).stdout.contains("open"));
    squall(&["drain", "bob"], 3).says("there is no supervisor `bob`");
    squall(&["undrain", "../ada"], 3).says("no supervisor is called `../ada`");
}

// ---- Which nimbus ----

#[test]
fn the_leader_is_found_by_any_nimbus() {
    let (place, leader, other) = (Place::new(), Fake::new(), Fake::new());
    let (leading, standing_by) = (leader.serve(), other.serve());
    leader.has("words", TopologyPhase::Active);
    let names = |address: Option<SocketAddr>| {
        let leader = address.map(|address| address.to_string());
        other.change(|inside| inside.error = Some(OperationError::NotLeader { leader }));
    };
    names(Some(leading.address()));
    place.squall(&[standing_by.address()], &["status", "words"], 0);
    leader.change(|inside| inside.turns.push_back(|info| info.phase = TopologyPhase::Inactive));
    place.squall(&[standing_by.address()], &["deactivate", "words"], 0);
    // One that nobody answers for, one that stands by, and one that leads.
    names(None);
    place.squall(&[NOBODY, standing_by.address(), leading.address()], &["status", "words"], 0);
    // A circle, and an address that is none.
    names(Some(standing_by.address()));
    place.squall(&[standing_by.address()], &["status", "words"], 4).says("no nimbus that leads was found");
    other.change(|inside| {
        let leader = Some("localhost:1/v1/x@evil.example".to_owned());
        inside.error = Some(OperationError::NotLeader { leader });
    });
    place.squall(&[standing_by.address()], &["status", "words"], 4).says("knows of no leader");
}

#[test]
fn if_nobody_answers_it_says_what_was_tried_and_what_to_do() {
    let place = Place::new();
    for args in [
        &["list"][..],
        &["status", "words"],
        &["submit", "words.toml"],
        &["kill", "words"],
        &["remove", "words"],
        &["stop", "words", "--cluster"],
    ] {
        let printed = place.squall(&[NOBODY], args, 4);
        printed
            .says("no nimbus answers (127.0.0.1:1: Connection refused")
            .says("`squall nimbus`")
            .says("SQUALL_NIMBUS");
        assert_eq!(printed.stdout, "");
    }
    place
        .squall(&[NOBODY], &["list", "--nimbus", "ftp://localhost:7070"], 2)
        .says("a host and a port are wanted");
}

#[test]
fn a_cluster_that_cannot_do_it_now_is_as_good_as_none() {
    let (place, fake) = (Place::new(), Fake::new());
    let server = fake.serve();
    fake.change(|inside| inside.error = Some(OperationError::Unavailable("ZooKeeper is away".to_owned())));
    place.squall(&[server.address()], &["list"], 4).says("cannot do it now: ZooKeeper is away");
    place.squall(&[server.address()], &["submit", "words.toml"], 4).says("ZooKeeper is away");
}

#[test]
fn what_is_no_nimbus_is_not_believed() {
    use std::io::{Read as _, Write as _};

    let place = Place::new();
    let check = |answer: &'static str, args: &[&str], code: i32, expected: &str| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("it listens");
        let address = listener.local_addr().expect("it has one");
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("it is asked");
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(answer.as_bytes());
        });
        place.squall(&[address], args, code).says(expected);
        answering.join().expect("it answers");
    };
    let list = ["list"];
    check("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\noops", &list, 1, "is this a nimbus?");
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        &list,
        1,
        "is that a nimbus, and of which version?",
    );
    check(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        &list,
        1,
        "is this a nimbus?",
    );
    check("SSH-2.0-OpenSSH_9.2\r\n", &list, 4, "no nimbus answers");
    // It is not known whether that was done, so it is not asked again.
    check("", &["remove", "words"], 1, "it is not known whether it was done");
}
