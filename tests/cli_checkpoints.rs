//! `squall checkpoint`: what it shows of a run that goes on, was killed or has ended, and of files that are broken.

#[path = "checkpoint_kit/mod.rs"]
mod checkpoint_kit;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use checkpoint_kit::Place;
use serde_json::{Value, json};
use squall::checkpoint::{
    CheckpointStore, DirectoryStorage, Manifest, RunState, SnapshotFile, TaskEntry, TaskName,
};
use squall::ids::CheckpointId;

#[test]
fn a_run_is_looked_at_while_it_goes_on() {
    let place = Place::new();
    let mut child = place.run_until(3);
    for _ in 0..5 {
        let listed = place.squall(&["checkpoint", "list", "checkpoints", "--json"], 0).json();
        let listed = listed.as_array().expect("an array").clone();
        assert!((1..=4).contains(&listed.len()), "{listed:?}");
        assert!(listed.iter().all(|listed| listed["run"] == "running" && listed["topology"] == "words"));
        let inspected = place.squall(&["checkpoint", "inspect", "checkpoints", "--json"], 0).json();
        assert_eq!(inspected["problems"], 0);
    }
    let error = place.squall(&["checkpoint", "inspect", "checkpoints", "1-1"], 1).stderr;
    let is_named =
        error.contains("there is no checkpoint 1-1") || error.contains("was deleted while it was read");
    assert!(is_named && error.contains("are there"), "{error}");
    child.kill().expect("it runs");
    child.wait().expect("it was started");
}

#[test]
fn a_run_that_was_killed_is_shown_and_left_as_it_is() {
    let place = Place::new();
    place.run_and_kill();
    fs::set_permissions(place.path("checkpoints"), fs::Permissions::from_mode(0o555)).expect("it is ours");
    let before = place.files();

    let table = place.squall(&["checkpoint", "list", "checkpoints"], 0).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>().join(" "),
        "CHECKPOINT TAKEN AGE RUN TASKS BYTES TOPOLOGY"
    );
    assert!((4..=5).contains(&lines.len()), "{table}");
    let latest: Vec<&str> = lines[lines.len() - 1].split_whitespace().collect();
    assert!(latest[0].starts_with("1-") && latest[1].ends_with('Z'), "{table}");
    assert_eq!((latest[4], latest[5], latest[6], latest[8]), ("ago", "running", "4", "words"), "{table}");

    let text = place.squall(&["checkpoint", "inspect", "checkpoints"], 0).stdout;
    assert!(
        text.starts_with(&format!("checkpoint {} of `words` in the directory `checkpoints`\n", latest[0])),
        "{text}"
    );
    for expected in [
        "\ncount, task 1 of 2\n",
        " bytes, ok\n",
        "  state     counts ",
        "\nwords, task 0 of 1\n  position  ",
    ] {
        assert!(text.contains(expected), "{expected:?}: {text}");
    }
    let inspected = place.squall(&["checkpoint", "inspect", "checkpoints", latest[0], "--json"], 0).json();
    let tasks = inspected["tasks"].as_array().expect("an array");
    let named: Vec<String> =
        tasks.iter().map(|task| format!("{}-{}", task["component"], task["task"])).collect();
    assert_eq!(named, [r#""count"-0"#, r#""count"-1"#, r#""store"-0"#, r#""words"-0"#]);
    // Two words, each in one of the tasks.
    let counts = |task: &Value| {
        let state = task["states"].as_array()?.iter().find(|state| state["name"] == "counts")?.clone();
        assert_eq!(
            (&state["kind"], &state["type"]),
            (&json!("value"), &json!("squall::components::count::Entry"))
        );
        state["keys"].as_u64()
    };
    assert_eq!(tasks[..2].iter().filter_map(counts).sum::<u64>(), 2, "{inspected}");
    assert_eq!(tasks[3]["positions"].as_object().map(|positions| positions.len()), Some(1));
    assert_eq!(inspected["problems"], 0);

    assert!(place.files() == before, "something was changed");
}

#[test]
fn a_run_that_has_ended_is_committed() {
    let place = Place::new();
    place.squall(&["run", "words.toml", "-q", "--for", "200ms"], 0);
    let listed = place.squall(&["checkpoint", "list", "checkpoints", "--json"], 0).json();
    let states: Vec<&Value> =
        listed.as_array().expect("an array").iter().map(|listed| &listed["run"]).collect();
    assert_eq!(states[states.len() - 2..], [&json!("ended"), &json!("committed")], "{listed}");
    assert!(place.squall(&["checkpoint", "inspect", "checkpoints"], 0).stdout.contains("), committed, "));
}

/// A snapshot of a task that keeps nothing: its begin and its end, each after its length. `format` is 1.
fn snapshot(number: u64, format: u8) -> Vec<u8> {
    let after = (number > 1).then(|| number - 1);
    let begin = rmp_serde::to_vec(&json!({ "number": number, "after": after, "states": [] }));
    let begin = [&[1, format][..], &begin.expect("it can be written")].concat();
    let record = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
    [record(&begin), record(&[5, 0])].concat()
}

/// A directory with checkpoints 1-1 and 1-2, of which a task wrote a file each. `change` may make the manifest of the
/// second one wrong, and what its file is.
fn written(change: impl FnOnce(&Path, &mut Manifest)) -> Place {
    written_in(1, change)
}

/// The same, with the state in this version of its format.
fn written_in(format: u8, change: impl FnOnce(&Path, &mut Manifest)) -> Place {
    let place = Place::new();
    let storage = DirectoryStorage::open(place.path("checkpoints"), "a test").expect("it opens");
    let mut store = CheckpointStore::open(Box::new(storage), "words", 3).expect("it opens");
    let epoch = store.begin_epoch().expect("it begins");
    let (task, mut files, mut change) = (TaskName::new("count", 0), Vec::new(), Some(change));
    for number in 1..=2 {
        let checkpoint = CheckpointId { epoch, number };
        store.append(checkpoint, &task, &snapshot(number, format)).expect("it is written");
        files.extend(store.seal(checkpoint, &task).expect("it is written"));
        let entry = TaskEntry {
            component: "count".into(),
            task_index: 0,
            tasks: 1,
            files: files.clone(),
            positions: BTreeMap::from([("a\nb".into(), json!(7))]),
            states: Vec::new(),
            names_keys: false,
            event_time: Default::default(),
        };
        let (topology, run) = ("words".into(), RunState::Running);
        let mut manifest = Manifest {
            checkpoint,
            topology,
            key_groups: 1024,
            taken_at: 0,
            run,
            txid: 0,
            tasks: vec![entry],
        };
        if number == 2
            && let Some(change) = change.take()
        {
            change(&place.path("checkpoints"), &mut manifest);
        }
        store.publish(manifest).expect("it is published");
    }
    place
}

const FIRST: &str = "snapshot-1-1-count-0";
const SECOND: &str = "snapshot-1-2-count-0";

/// Changes the bytes of a file.
fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).expect("it can be read");
    change(&mut bytes);
    fs::write(path, bytes).expect("it can be written");
}

/// Ends bytes with their right checksum, in place of the last four, and returns it.
fn sum(bytes: &mut [u8]) -> u32 {
    let (summed, end) = bytes.split_at_mut(bytes.len() - 4);
    let crc = crc32c::crc32c(summed);
    end.copy_from_slice(&crc.to_le_bytes());
    crc
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    // What was done to a file, the file, and what is reported of it.
    let check = |damage: fn(&Path), file: &str, expected: &str| {
        let place = written(|_, _| ());
        let length = fs::metadata(place.path("checkpoints").join(file)).expect("it is there").len();
        let expected = &*expected.replace("LENGTH", &length.to_string());
        damage(&place.path("checkpoints"));
        let printed = place.squall(&["checkpoint", "inspect", "checkpoints"], 1);
        let line = printed.stdout.lines().find(|line| line.contains(file)).unwrap_or_default();
        assert!(line.ends_with(&format!(" bytes, {expected}")), "{expected}: {}", printed.stdout);
        let intact = if file == FIRST { SECOND } else { FIRST };
        let line = printed.stdout.lines().find(|line| line.contains(intact)).unwrap_or_default();
        assert!(line.ends_with(" bytes, ok"), "{}", printed.stdout);
        assert!(
            printed.stderr.starts_with("error: 1 of 2 files of checkpoint 1-2 in the directory"),
            "{}",
            printed.stderr
        );

        let inspected = place.squall(&["checkpoint", "inspect", "checkpoints", "--json"], 1).json();
        let of = |at: usize| inspected["tasks"][0]["files"][at]["problem"].clone();
        let problems =
            if file == FIRST { [json!(expected), Value::Null] } else { [Value::Null, json!(expected)] };
        assert_eq!([of(0), of(1)], problems);
        assert_eq!(inspected["problems"], 1);
        place.squall(&["checkpoint", "list", "checkpoints"], 0);
    };
    let lost = "its checksum is wrong, so some of it was lost or changed";
    check(|at| fs::remove_file(at.join(SECOND)).expect("deleted"), SECOND, "it is missing");
    check(|at| edit(&at.join(SECOND), |bytes| bytes.truncate(9)), SECOND, "9 of its LENGTH bytes are there");
    check(|at| edit(&at.join(SECOND), Vec::clear), SECOND, "0 of its LENGTH bytes are there");
    check(|at| edit(&at.join(FIRST), |bytes| bytes[22] ^= 1), FIRST, lost);
    check(|at| edit(&at.join(FIRST), |bytes| bytes[20..].fill(0)), FIRST, lost);
    check(
        |at| edit(&at.join(FIRST), |bytes| bytes.push(0)),
        FIRST,
        "it is longer than the LENGTH bytes that were written",
    );
    check(
        |at| {
            edit(&at.join(FIRST), |bytes| {
                bytes[20..25].copy_from_slice(b"hails");
                sum(bytes);
            })
        },
        FIRST,
        "its checksum is not the one that was noted for it, so it is another file",
    );
    check(
        |at| {
            fs::rename(at.join(SECOND), at.join("elsewhere")).expect("renamed");
            symlink("elsewhere", at.join(SECOND)).expect("linked");
        },
        SECOND,
        "it cannot be read: it is a symbolic link; remove it",
    );
}

/// Each file is whole, and together they are no state.
#[test]
fn state_that_cannot_be_restored_is_named() {
    let check = |place: Place, expected: &str| {
        let printed = place.squall(&["checkpoint", "inspect", "checkpoints"], 1);
        assert!(
            printed.stdout.contains(&format!("\n  its state cannot be read: {expected}")),
            "{}",
            printed.stdout
        );
        let error = "error: the state of 1 of 1 tasks of checkpoint 1-2 in the directory `checkpoints` cannot be used";
        assert!(printed.stderr.starts_with(error), "{}", printed.stderr);
        let inspected = place.squall(&["checkpoint", "inspect", "checkpoints", "--json"], 1).json();
        let problem = inspected["tasks"][0]["problem"].as_str().unwrap_or_default();
        assert!(problem.starts_with(expected), "{inspected}");
        assert_eq!(
            (&inspected["problems"], &inspected["tasks"][0]["files"][0]["problem"]),
            (&json!(1), &Value::Null)
        );
    };
    let without_first = written(|_, manifest| drop(manifest.tasks[0].files.remove(0)));
    check(without_first, "the checkpoint is damaged: snapshot 2 follows 1, and here it follows none");
    check(written_in(3, |_, _| ()), "the checkpoint has version 3 of the format of state");
    assert!(written(|_, _| ()).squall(&["checkpoint", "inspect", "checkpoints"], 0).stderr.is_empty());
}

#[test]
fn a_file_of_a_newer_squall_is_named() {
    let place = written(|at, manifest| {
        let SnapshotFile { name, crc32c, .. } = &mut manifest.tasks[0].files[1];
        edit(&at.join(name.as_str()), |bytes| {
            bytes[8] = 2;
            *crc32c = sum(bytes);
        });
    });
    let text = place.squall(&["checkpoint", "inspect", "checkpoints"], 1).stdout;
    assert!(
        text.contains(
            "it was made by a newer squall: its format is version 2, and this squall reads up to 1"
        ),
        "{text}"
    );
    assert!(text.contains(r"  position  a\nb  7"), "{text}");
}

#[test]
fn a_manifest_that_cannot_be_used_is_named() {
    let check = |damage: fn(&mut String), expected: &str| {
        let place = written(|_, _| ());
        edit(&place.path("checkpoints/manifest-1-2.json"), |bytes| {
            let mut text = String::from_utf8(std::mem::take(bytes)).expect("it is JSON");
            damage(&mut text);
            *bytes = text.into_bytes();
        });
        for args in [&["checkpoint", "list", "checkpoints"][..], &["checkpoint", "inspect", "checkpoints"]] {
            let error = place.squall(args, 1).stderr;
            assert!(error.contains("`manifest-1-2.json`") && error.contains(expected), "{args:?}: {error}");
        }
        let listed = place.squall(&["checkpoint", "list", "checkpoints"], 1).stdout;
        assert!(listed.contains("1-2         -") && listed.contains("cannot be read"), "{listed}");
        let listed = place.squall(&["checkpoint", "list", "checkpoints", "--json"], 1).json();
        assert_eq!((&listed[0]["problem"], &listed[1]["run"]), (&Value::Null, &Value::Null));
        place.squall(&["checkpoint", "inspect", "checkpoints", "1-1"], 0);
    };
    check(|text| text.truncate(30), "its checksum is wrong");
    check(|text| *text = text.replace("words", "wordz"), "its checksum is wrong");
    check(
        |text| {
            // Eight digits after `{ "crc32c": "` are the checksum of what follows them.
            let rest = text.replace("\"version\": 1", "\"version\": 2")[23..].to_owned();
            *text = format!("{}{:08x}{rest}", &text[..15], crc32c::crc32c(rest.as_bytes()));
        },
        "made by a newer squall: its format is version 2",
    );
}

#[test]
fn what_is_no_directory_of_checkpoints_is_refused_with_a_remedy() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).expect("it can be made");
    let commands = ["list", "inspect"];
    for command in commands {
        let check = |directory: &str, expected: &str| {
            let error = place.squall(&["checkpoint", command, directory], 1).stderr;
            assert!(
                error.starts_with(&format!("error: cannot open the directory `{directory}`: {expected}")),
                "{error}"
            );
            assert!(error.contains("`storage` in `[topology.checkpoint]`"), "{error}");
        };
        check("nowhere", "No such file or directory");
        check("words.toml", "Not a directory");
    }
    let listed = place.squall(&["checkpoint", "list", "empty"], 0);
    assert_eq!(
        (&*listed.stdout, &*listed.stderr),
        ("", "there are no checkpoints in the directory `empty`\n")
    );
    assert_eq!(place.squall(&["checkpoint", "list", "empty", "--json"], 0).json(), json!([]));
    let error = place.squall(&["checkpoint", "inspect", "empty"], 1).stderr;
    assert!(
        error.starts_with("error: there are no checkpoints in the directory `empty`: name the"),
        "{error}"
    );
    assert!(fs::read_dir(place.path("empty")).expect("it is there").next().is_none(), "nothing is made");

    let error = place.squall(&["checkpoint", "inspect", "empty", "latest"], 2).stderr;
    assert!(error.contains("`latest` is no checkpoint: write EPOCH-NUMBER"), "{error}");
    place.squall(&["checkpoint"], 2);
}

#[test]
fn files_of_others_are_no_concern() {
    let place = written(|_, _| ());
    let mut notes = OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(place.path("checkpoints/notes.txt"))
        .expect("new");
    notes.write_all(b"mine").expect("it can be written");
    fs::create_dir(place.path("checkpoints/manifest-1-2.json.bak")).expect("it can be made");
    place.squall(&["checkpoint", "list", "checkpoints"], 0);
    place.squall(&["checkpoint", "inspect", "checkpoints"], 0);
}
