//! Whether a topology can begin with a checkpoint, and what of the checkpoint it leaves behind.
//!
//! What nobody asks to leave behind is not lost: a component that kept something and is gone is refused here. Which states
//! a component registers is known only when it was prepared, so a state that is gone is refused by `registration_trial`, or
//! when its tasks are built (`executor::task_snapshots`).
//!
//! `--allow-dropped-state` names a component that is gone, `COMPONENT`, or one state of a component that is there,
//! `COMPONENT.STATE`. Ids and names may have dots themselves. What the checkpoint and the topology have decides how a
//! text is to be read, and if that leaves more than one way, it is refused: nothing is to be lost by accident.
//! `COMPONENT:STATE`, and `COMPONENT:` for a component, can be read in one way only, because no name has a colon.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::checkpoint::{LeftBehind, Manifest, TaskEntry};
use crate::ids::is_reserved_name;
use crate::runtime::flow::checkpoint::named_state;
use crate::text::Shown;
use crate::topology::graph::Topology;

/// The flag, for messages.
pub(super) const FLAG: &str = "--allow-dropped-state";

/// Returns what a topology leaves behind of a checkpoint, as the texts in `dropped` name it. A component that the
/// checkpoint does not have begins with nothing.
///
/// # Errors
/// What keeps the topology from beginning with the checkpoint, each as a text.
pub(super) fn check_fit(
    topology: &Topology,
    manifest: &Manifest,
    dropped: &[String],
) -> Result<LeftBehind, Vec<String>> {
    let kept = Kept::of(manifest);
    let (mut gone, mut states, mut differences) = (BTreeSet::new(), Vec::new(), Vec::new());
    for text in dropped {
        match kept.named_by(text, topology) {
            Ok(Named::Component(component)) => _ = gone.insert(component),
            Ok(Named::State(component, state)) => states.push((component, state)),
            Err(difference) => differences.push(difference),
        }
    }
    differences.extend(misfits(topology, manifest, &gone));
    match differences.is_empty() {
        true => Ok(LeftBehind::of(manifest.checkpoint, states)),
        false => Err(differences),
    }
}

/// What a text names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    Component(SmolStr),
    State(SmolStr, SmolStr),
}

impl Named {
    /// The text that can be read in this way only.
    fn in_full(&self) -> String {
        match self {
            Named::Component(component) => format!("`{component}:`"),
            Named::State(component, state) => format!("`{component}:{state}`"),
        }
    }

    /// Whether it can be left behind.
    fn is_droppable(&self, topology: &Topology) -> bool {
        match self {
            Named::Component(component) => !has(topology, component),
            Named::State(component, _) => has(topology, component),
        }
    }
}

/// The components of a checkpoint, each with its states, without those of the runtime.
struct Kept(BTreeMap<SmolStr, BTreeSet<SmolStr>>);

impl Kept {
    fn of(manifest: &Manifest) -> Kept {
        let mut kept: BTreeMap<SmolStr, BTreeSet<SmolStr>> = BTreeMap::new();
        for entry in &manifest.tasks {
            let names = entry.states.iter().map(|state| &state.name);
            let of_component = kept.entry(entry.component.clone()).or_default();
            of_component.extend(names.filter(|name| !is_reserved_name(name)).cloned());
        }
        Kept(kept)
    }

    /// What a text names that can be left behind, or why it names nothing of that.
    fn named_by(&self, text: &str, topology: &Topology) -> Result<Named, String> {
        let readings = self.readings(text);
        let droppable: Vec<&Named> = readings.iter().filter(|named| named.is_droppable(topology)).collect();
        let text = Shown(text);
        match (&droppable[..], readings.first()) {
            ([named], _) => Ok((*named).clone()),
            ([], None) => Err(format!(
                "`{FLAG} {text}` names nothing in it that may be left behind: it has {}",
                listed(self.droppable(topology))
            )),
            ([], Some(Named::State(component, _))) => Err(format!(
                "`{FLAG} {text}` names one state of a component that the topology does not have: write `{FLAG} \
                 {component}`, which leaves behind all that it kept"
            )),
            ([], Some(Named::Component(component))) => Err(format!(
                "`{FLAG} {text}` names a component that the topology has: name one of its states, of which the checkpoint \
                 has {}",
                listed(self.states_of(component))
            )),
            (several, _) => {
                let several: Vec<String> = several.iter().map(|named| named.in_full()).collect();
                Err(format!("`{FLAG} {text}` can be read in several ways: write {}", several.join(" or ")))
            }
        }
    }

    /// What of the checkpoint a text may name.
    fn readings(&self, text: &str) -> Vec<Named> {
        let component = |id: &str| self.0.get_key_value(id).map(|(id, _)| Named::Component(id.clone()));
        let state = |id: &str, name: &str| {
            let (id, states) = self.0.get_key_value(id)?;
            states.get(name).map(|name| Named::State(id.clone(), name.clone()))
        };
        match text.split_once(':') {
            Some((id, "")) => component(id).into_iter().collect(),
            Some((id, name)) => state(id, name).into_iter().collect(),
            None => {
                let split = text.match_indices('.').filter_map(|(at, _)| state(&text[..at], &text[at + 1..]));
                component(text).into_iter().chain(split).collect()
            }
        }
    }

    /// What may be written for the states of a component.
    fn states_of(&self, component: &SmolStr) -> Vec<String> {
        let states = self.0.get(component).into_iter().flatten();
        states.map(|state| format!("`{}`", named_state(component, state))).collect()
    }

    /// What may be written for this topology: states of components that it has, and components that it does not have.
    fn droppable(&self, topology: &Topology) -> Vec<String> {
        let of_component = |component| match has(topology, component) {
            true => self.states_of(component),
            false => vec![format!("`{component}`")],
        };
        self.0.keys().flat_map(of_component).collect()
    }
}

fn listed(names: Vec<String>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn has(topology: &Topology, component: &SmolStr) -> bool {
    topology.components().iter().any(|known| known.id == *component)
}

/// What keeps a topology from beginning with a checkpoint, but for what is left behind of components that are `gone`.
fn misfits(topology: &Topology, manifest: &Manifest, gone: &BTreeSet<SmolStr>) -> Vec<String> {
    let mut differences = Vec::new();
    let component = |id: &SmolStr| topology.components().iter().find(|component| component.id == *id);
    let cap = topology.options().max_task_parallelism.unwrap_or(u32::MAX);
    let key_groups = topology.options().key_groups;
    let has_keys = |entry: &TaskEntry| entry.states.iter().any(|state| state.kind.is_keyed());
    if manifest.key_groups != key_groups && manifest.tasks.iter().any(has_keys) {
        differences.push(format!(
            "its keys were shared out with `key_groups = {}`, and the topology has {key_groups}: write {0} again",
            manifest.key_groups
        ));
    }
    let mut seen = BTreeSet::new();
    for entry in manifest.tasks.iter().filter(|entry| seen.insert(entry.component.clone())) {
        let of_component = || manifest.tasks.iter().filter(|other| other.component == entry.component);
        let tasks = component(&entry.component).map(|component| component.options.task_count().min(cap));
        match tasks {
            Some(tasks) if tasks != entry.tasks && of_component().any(|entry| entry.names_keys) => {
                differences.push(format!(
                    "`{0}` has {1} tasks in it, and {tasks} in the topology, and its keys cannot be moved, because it \
                     names them itself: give it {1} tasks",
                    entry.component, entry.tasks
                ));
            }
            Some(_) => {}
            None if gone.contains(&entry.component) => {}
            None if of_component().all(|entry| entry.files.is_empty() && entry.positions.is_empty()) => {}
            None => differences.push(format!(
                "it has {}, and the topology has no component `{1}`: add it, or leave that behind with \
                 `{FLAG} {1}`",
                kept(of_component()),
                entry.component
            )),
        }
    }
    differences
}

/// What the tasks of a component keep in a checkpoint, for people.
fn kept<'e>(entries: impl Iterator<Item = &'e TaskEntry> + Clone) -> String {
    let splits: usize = entries.clone().map(|entry| entry.positions.len()).sum();
    let states = entries.flat_map(|entry| entry.states.iter().map(|state| (&entry.component, &state.name)));
    let (of_runtime, of_bolt): (BTreeSet<_>, BTreeSet<_>) =
        states.partition(|(_, name)| is_reserved_name(name));
    let of_bolt: Vec<String> =
        of_bolt.iter().map(|(component, name)| format!("`{}`", named_state(component, name))).collect();
    match (of_bolt.is_empty(), splits, of_runtime.is_empty()) {
        (false, ..) => format!("state {}", of_bolt.join(", ")),
        (true, 1.., _) => format!("positions in {splits} splits"),
        (true, 0, false) => "tuples that it held".to_owned(),
        (true, 0, true) => "files without states".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{RunState, SnapshotFile};
    use crate::ids::CheckpointId;
    use crate::state::{StateDescription, StateKind};
    use crate::testing::{Capture, FixedSpout};
    use crate::topology::TopologyBuilder;
    use crate::tuple::Value;

    fn topology(sinks: u32) -> Topology {
        let mut builder = TopologyBuilder::new("words");
        builder.spout("words", || FixedSpout::new(["word"], [vec![Value::from("storm")]]));
        builder.bolt("sink", Capture::new().bolt()).parallelism(sinks).shuffle("words");
        builder.bolt("a.b", Capture::new().bolt()).shuffle("words");
        builder.bolt("a", Capture::new().bolt()).shuffle("words");
        builder.build().unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn found(topology: &Topology, manifest: &Manifest, dropped: &[String]) -> Vec<String> {
        check_fit(topology, manifest, dropped).err().unwrap_or_default()
    }

    /// A checkpoint of these components, which keep something, with how many tasks each has and whether it names keys.
    fn manifest(components: &[(&str, u32, bool)]) -> Manifest {
        let entry = |(component, tasks, names_keys): &(&str, u32, bool)| TaskEntry {
            component: (*component).into(),
            task_index: 0,
            tasks: *tasks,
            files: vec![SnapshotFile { name: "snapshot".into(), bytes: 1, crc32c: 0 }],
            positions: [].into(),
            states: vec![StateDescription {
                name: "counts".into(),
                kind: StateKind::Value,
                rust_type: "i64".to_owned(),
            }],
            names_keys: *names_keys,
            event_time: Default::default(),
        };
        Manifest {
            checkpoint: CheckpointId { epoch: 1, number: 1 },
            topology: "words".into(),
            key_groups: 1024,
            taken_at: 0,
            run: RunState::Running,
            txid: 0,
            tasks: components.iter().map(entry).collect(),
        }
    }

    #[test]
    fn what_would_be_lost_is_refused_and_what_can_be_moved_is_not() {
        let check = |components: &[(&str, u32, bool)], dropped: &[&str], expected: &[&str]| {
            let dropped: Vec<String> = dropped.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(found(&topology(2), &manifest(components), &dropped), expected);
        };
        check(&[("sink", 2, false), ("words", 1, false)], &[], &[]);
        check(&[("sink", 3, false), ("words", 7, false)], &[], &[]);
        check(&[("words", 1, false)], &[], &[]);
        check(
            &[("sink", 3, true)],
            &[],
            &[
                "`sink` has 3 tasks in it, and 2 in the topology, and its keys cannot be moved, because it names them \
               itself: give it 3 tasks",
            ],
        );
        check(&[("sink", 2, true)], &[], &[]);
        check(
            &[("gone", 1, false)],
            &[],
            &[
                "it has state `gone.counts`, and the topology has no component `gone`: add it, or leave that behind \
               with `--allow-dropped-state gone`",
            ],
        );
        check(&[("gone", 1, false)], &["gone"], &[]);
    }

    #[test]
    fn tasks_are_counted_as_the_plan_does() {
        let mut topology = topology(4);
        topology.options.max_task_parallelism = Some(2);
        assert_eq!(found(&topology, &manifest(&[("sink", 2, true)]), &[]), [""; 0]);
        assert_eq!(found(&topology, &manifest(&[("sink", 4, true)]), &[]).len(), 1);
    }

    #[test]
    fn keys_that_were_shared_out_in_another_way_are_refused() {
        let mut manifest = manifest(&[("sink", 2, false)]);
        manifest.key_groups = 512;
        assert_eq!(
            found(&topology(2), &manifest, &[]),
            ["its keys were shared out with `key_groups = 512`, and the topology has 1024: write 512 again"]
        );
        manifest.tasks[0].states.clear();
        assert_eq!(found(&topology(2), &manifest, &[]), [""; 0], "it has no keys");
    }

    #[test]
    fn what_keeps_nothing_may_go() {
        let mut manifest = manifest(&[("gone", 1, false)]);
        manifest.tasks[0].files.clear();
        assert_eq!(found(&topology(1), &manifest, &[]), [""; 0]);
        manifest.tasks[0].positions.insert("a.log".to_owned(), 7.into());
        assert_eq!(found(&topology(1), &manifest, &[]).len(), 1);
    }

    /// A checkpoint of these components, each with the names of its states.
    fn keeping(components: &[(&str, &[&str])]) -> Manifest {
        let mut manifest = manifest(&components.iter().map(|(id, _)| (*id, 1, false)).collect::<Vec<_>>());
        for (entry, (_, names)) in manifest.tasks.iter_mut().zip(components) {
            let state = |name: &&str| StateDescription { name: (*name).into(), ..entry.states[0].clone() };
            entry.states = names.iter().map(state).collect();
        }
        manifest
    }

    #[test]
    fn states_are_left_behind_by_their_names() {
        let manifest = keeping(&[("sink", &["counts", "last.day", "__held"]), ("words", &[])]);
        let left = |text: &str| check_fit(&topology(1), &manifest, &[text.to_owned()]);
        let checkpoint = manifest.checkpoint;
        let sink = |state: &str| Ok(LeftBehind::of(checkpoint, [("sink".into(), state.into())]));
        for (text, state) in [
            ("sink.counts", "counts"),
            ("sink:counts", "counts"),
            ("sink.last.day", "last.day"),
            ("sink:last.day", "last.day"),
        ] {
            assert_eq!(left(text), sink(state), "{text}");
        }
        assert_eq!(check_fit(&topology(1), &manifest, &[]), Ok(LeftBehind::of(checkpoint, [])));
        for text in
            ["sink.count", "sink:count", "sink.__held", "other", "other.counts", "sink.", ".", "", ":"]
        {
            let expected = format!(
                "`--allow-dropped-state {text}` names nothing in it that may be left behind: it has `sink.counts`, \
                 `sink:last.day`"
            );
            assert_eq!(left(text), Err(vec![expected]));
        }
        let expected = "`--allow-dropped-state sink` names a component that the topology has: name one of its states, of \
                        which the checkpoint has `sink.counts`, `sink:last.day`";
        assert_eq!(left("sink"), Err(vec![expected.to_owned()]));
    }

    #[test]
    fn all_that_a_component_kept_goes_with_it() {
        let manifest = keeping(&[("gone", &["counts", "last"])]);
        let left = |texts: &[&str]| {
            found(&topology(1), &manifest, &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(left(&["gone"]), [""; 0]);
        assert_eq!(left(&["gone:"]), [""; 0]);
        let refused = left(&["gone.counts"]);
        assert!(
            refused[0].ends_with("write `--allow-dropped-state gone`, which leaves behind all that it kept")
        );
        assert!(refused[1].starts_with("it has state `gone.counts`, `gone.last`, and the topology has no"));
    }

    /// What has dots can be read in several ways. What is lost by it must be what was meant.
    #[test]
    fn a_text_that_can_be_read_in_several_ways_is_refused() {
        let manifest =
            keeping(&[("a.b", &["c"]), ("a", &["b.c", "b"]), ("a.b.c.d", &["e"]), ("gone.b", &["c"])]);
        let left = |text: &str| {
            check_fit(&topology(1), &manifest, &["gone.b".to_owned(), "a.b.c.d".to_owned(), text.to_owned()])
        };
        let state =
            |id: &str, name: &str| Ok(LeftBehind::of(manifest.checkpoint, [(id.into(), name.into())]));
        let expected = "`--allow-dropped-state a.b.c` can be read in several ways: write `a:b.c` or `a.b:c`";
        assert_eq!(left("a.b.c"), Err(vec![expected.to_owned()]));
        assert_eq!(left("a:b.c"), state("a", "b.c"));
        assert_eq!(left("a.b:c"), state("a.b", "c"));
        assert_eq!(left("a.b"), state("a", "b"), "the component is there, so its state is meant");
    }
}
