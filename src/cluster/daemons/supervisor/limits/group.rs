//! The control group of one process, with all that the process has started.
//!
//! 1. The process joins it before it becomes the program of a topology, so nothing of that program is ever outside.
//! 2. Which directories it has stands in the private directory of the process before they are made. So whichever supervisor
//!    sees the end of the process, or removes its directory, ends and removes the group, too.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::cluster::daemons::supervisor::limits::hierarchies::{Controller, Hierarchies};
use crate::config::Resources;
use crate::text::with_causes;

/// How often it is tried to end what is in a group, each time after a pause that lets it end.
const ENDS_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// Shares of processor time of a core in version 1, and weight in version 2. Groups that ask for processor time at the same
/// moment get it in this proportion.
const SHARES_OF_CORE: u64 = 1024;
const WEIGHT_OF_CORE: u64 = 100;

/// What a group may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupLimits {
    /// Bytes of memory that it may have, and its share of processor time.
    pub resources: Resources,
    /// Threads and processes.
    pub threads: u32,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlGroup {
    /// 1 or 2.
    version: u32,
    /// Its directories, with what each of them limits. In version 2 they are one.
    directories: Vec<(Controller, PathBuf)>,
}

impl ControlGroup {
    /// The group of this name. It is not made.
    pub fn of(hierarchies: &Hierarchies, name: &str) -> ControlGroup {
        match hierarchies {
            Hierarchies::Separate(roots) => {
                let directories = roots.iter().map(|(controller, root)| (*controller, root.join(name)));
                ControlGroup { version: 1, directories: directories.collect() }
            }
            Hierarchies::Unified { root, controllers, .. } => {
                let directories = controllers.iter().map(|controller| (*controller, root.join(name)));
                ControlGroup { version: 2, directories: directories.collect() }
            }
        }
    }

    /// Whether all its directories are called so.
    pub fn is_called(&self, name: &str) -> bool {
        let is_it = |directory: &Path| directory.file_name().is_some_and(|own| own == name);
        !self.directories.is_empty() && self.directories.iter().all(|(_, directory)| is_it(directory))
    }

    /// Makes it, with these limits. One that is there gets them.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn make(&self, limits: &GroupLimits) -> Result<(), String> {
        for (controller, directory) in &self.directories {
            let made = match fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => self.limit(*controller, directory, limits),
            };
            made.map_err(|error| {
                format!("cannot make its control group `{}`: {}", directory.display(), with_causes(&error))
            })?;
        }
        Ok(())
    }

    fn limit(&self, controller: Controller, directory: &Path, limits: &GroupLimits) -> io::Result<()> {
        let write = |name: &str, value: u64| fs::write(directory.join(name), value.to_string());
        let write_if_there = |name: &str, value: &str| match directory.join(name) {
            path if path.exists() => fs::write(path, value),
            // The kernel was built without it.
            _ => Ok(()),
        };
        let (memory, cpu) = (limits.resources.memory, limits.resources.cpu.0);
        match (self.version, controller) {
            (1, Controller::Memory) => {
                // Together with what is swapped it has no more, and that limit is never below the other one.
                let both = "memory.memsw.limit_in_bytes";
                write_if_there(both, "-1")?;
                write("memory.limit_in_bytes", memory)?;
                write_if_there(both, &memory.to_string())
            }
            (_, Controller::Memory) => {
                write("memory.max", memory)?;
                write_if_there("memory.swap.max", "0")?;
                // A part of a worker is no use.
                write_if_there("memory.oom.group", "1")
            }
            (1, Controller::Cpu) => write("cpu.shares", (cpu * SHARES_OF_CORE / 1000).clamp(2, 1 << 18)),
            (_, Controller::Cpu) => write("cpu.weight", (cpu * WEIGHT_OF_CORE / 1000).clamp(1, 10_000)),
            (_, Controller::Pids) => write("pids.max", u64::from(limits.threads)),
        }
    }

    /// The files to which a process that joins the group writes its number.
    pub fn entrances(&self) -> Vec<PathBuf> {
        self.places().map(|place| place.join("cgroup.procs")).collect()
    }

    /// Each of its directories once.
    fn places(&self) -> impl Iterator<Item = &Path> {
        let mut places: Vec<&Path> = self.directories.iter().map(|(_, directory)| &**directory).collect();
        places.dedup();
        places.into_iter()
    }

    /// How many processes the system has killed because the group has used up its memory.
    pub fn killed_for_memory(&self) -> u64 {
        let name = if self.version == 1 { "memory.oom_control" } else { "memory.events" };
        let memory = self.directories.iter().find(|(controller, _)| *controller == Controller::Memory);
        let text = memory.and_then(|(_, directory)| fs::read_to_string(directory.join(name)).ok());
        let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
        text.and_then(|text| text.lines().find_map(count)).unwrap_or(0)
    }

    /// Kills what is in it, and removes it.
    ///
    /// # Errors
    /// When something is there still.
    pub fn end(&self) -> io::Result<()> {
        for (controller, directory) in &self.directories {
            if *controller == Controller::Pids {
                // Nothing new begins. It is gone, or the kernel is too old, and then it is killed all the same.
                let _ = fs::write(directory.join("pids.max"), "0");
            }
        }
        let mut left = Ok(());
        for _ in 0..ENDS_MAX {
            self.kill();
            left = self.remove();
            if left.is_ok() {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        left
    }

    /// A process that is there after its pidfd was opened is the one that has the pidfd, so no other one is killed.
    fn kill(&self) {
        for directory in self.tree() {
            let entrance = directory.join("cgroup.procs");
            let open = |pid: Pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?));
            let opened: Vec<(Pid, OwnedFd)> = numbers_in(&entrance).into_iter().filter_map(open).collect();
            let there = numbers_in(&entrance);
            for (_, pidfd) in opened.iter().filter(|(pid, _)| there.contains(pid)) {
                // An error means that it has ended.
                let _ = pidfd_send_signal(pidfd, Signal::KILL);
            }
        }
    }

    fn remove(&self) -> io::Result<()> {
        for directory in self.tree() {
            match fs::remove_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Its directories, and before each those that its processes have made below it.
    fn tree(&self) -> Vec<PathBuf> {
        let mut tree = Vec::new();
        self.places().for_each(|place| add_tree(place, &mut tree));
        tree
    }
}

fn add_tree(directory: &Path, tree: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_tree(&entry.path(), tree);
        }
    }
    tree.push(directory.to_owned());
}

fn numbers_in(entrance: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(entrance).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> GroupLimits {
        GroupLimits { resources: Resources::new(0.5, 300 << 20), threads: 128 }
    }

    fn read(path: PathBuf) -> String {
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn limits_are_written_in_the_words_of_each_version() {
        let place = tempfile::tempdir().expect("a directory");
        let (memory, cpu) = (place.path().join("memory"), place.path().join("cpu"));
        fs::create_dir(&memory).and_then(|()| fs::create_dir(&cpu)).expect("it is ours");
        let roots = vec![(Controller::Memory, memory.clone()), (Controller::Cpu, cpu.clone())];
        let group = ControlGroup::of(&Hierarchies::Separate(roots), "words-1.worker-0");
        group.make(&limits()).expect("it is ours");
        assert_eq!(read(memory.join("words-1.worker-0/memory.limit_in_bytes")), "314572800");
        assert_eq!(read(cpu.join("words-1.worker-0/cpu.shares")), "512");
        assert_eq!(group.entrances().len(), 2);
        assert!(group.is_called("words-1.worker-0") && !group.is_called("words-1.worker-1"));

        let root = place.path().join("unified");
        fs::create_dir(&root).expect("it is ours");
        let controllers = vec![Controller::Memory, Controller::Cpu, Controller::Pids];
        let unified =
            Hierarchies::Unified { root: root.clone(), controllers, top: root.clone(), is_own: true };
        let group = ControlGroup::of(&unified, "words-1.master");
        let directory = root.join("words-1.master");
        fs::create_dir(&directory).expect("it is ours");
        fs::write(directory.join("memory.swap.max"), "max").expect("it is ours");
        group.make(&limits()).expect("one that is there is used");
        for (name, value) in
            [("memory.max", "314572800"), ("memory.swap.max", "0"), ("cpu.weight", "50"), ("pids.max", "128")]
        {
            assert_eq!(read(directory.join(name)), value, "{name}");
        }
        assert!(!directory.join("memory.oom.group").exists(), "the kernel has no such file");
        assert_eq!(group.entrances(), [directory.join("cgroup.procs")]);
        assert_eq!(group.killed_for_memory(), 0);
        fs::write(directory.join("memory.events"), "low 0\noom 4\noom_kill 3\n").expect("it is ours");
        assert_eq!(group.killed_for_memory(), 3);
    }

    #[test]
    fn what_cannot_be_made_is_named() {
        let place = tempfile::tempdir().expect("a directory");
        let roots = vec![(Controller::Memory, place.path().join("none"))];
        let group = ControlGroup::of(&Hierarchies::Separate(roots), "words-1.master");
        let why = group.make(&limits()).expect_err("its root is not there");
        assert!(
            why.contains("cannot make its control group `") && why.contains("none/words-1.master"),
            "{why}"
        );
        assert!(group.end().is_ok(), "nothing is there");
    }

    #[test]
    fn what_its_processes_have_made_below_it_is_removed_with_it() {
        let place = tempfile::tempdir().expect("a directory");
        let roots = vec![(Controller::Memory, place.path().to_owned())];
        let group = ControlGroup::of(&Hierarchies::Separate(roots), "words-1.master");
        fs::create_dir_all(place.path().join("words-1.master/a/b")).expect("it is ours");
        group.end().expect("nothing is in it");
        assert!(!place.path().join("words-1.master").exists());
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let roots = vec![(Controller::Memory, PathBuf::from("/sys/fs/cgroup/memory/squall"))];
        let group = ControlGroup::of(&Hierarchies::Separate(roots), "words-1.master");
        let written = serde_json::to_string(&group).expect("it is JSON");
        let expected =
            "{\"version\":1,\"directories\":[[\"memory\",\"/sys/fs/cgroup/memory/squall/words-1.master\"]]}";
        assert_eq!(written, expected);
        assert_eq!(serde_json::from_str::<ControlGroup>(expected).expect("it is one"), group);
    }
}
