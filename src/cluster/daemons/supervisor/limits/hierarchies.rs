//! Where the control groups of this system are, in both of their versions.
//!
//! ```text
//!   version 2   <mount>/<group of the supervisor>/<group of a process>/memory.max, cpu.weight, pids.max, …
//!   version 1   <mount of memory>/<group of the supervisor>/<group of a process>/memory.limit_in_bytes, …
//!               <mount of cpu>/…/cpu.shares, <mount of pids>/…/pids.max
//! ```
//!
//! In version 2, a group with processes has no groups below it that have limits. So the supervisor leaves its own group for
//! one below it, [`SUPERVISOR_GROUP`]: systemd can begin it there (`DelegateSubgroup=`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::text::with_causes;

/// The group below its own to which the supervisor goes.
const SUPERVISOR_GROUP: &str = "supervisor";

/// What a control group can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    const ALL: [Controller; 3] = [Controller::Memory, Controller::Cpu, Controller::Pids];

    /// Its name, which files and options of mounts begin with.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
            Controller::Pids => "pids",
        }
    }
}

/// The group below which those of processes are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hierarchies {
    /// Version 1: one for each controller.
    Separate(Vec<(Controller, PathBuf)>),
    /// Version 2.
    Unified {
        root: PathBuf,
        controllers: Vec<Controller>,
        /// The group of the highest level that can be reached.
        top: PathBuf,
        /// Whether it is the group that the supervisor was begun in.
        is_own: bool,
    },
}

impl Hierarchies {
    /// Finds them. Changes nothing. `proc`: the directory `/proc`; `group`: as the configuration has it.
    ///
    /// # Errors
    /// When the system has none that limit memory.
    pub fn find(proc: &Path, group: Option<&str>) -> Result<Hierarchies, String> {
        let read = |name: &str| {
            let path = proc.join(name);
            fs::read_to_string(&path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))
        };
        let (mounts, own) = (read("self/mountinfo")?, read("self/cgroup")?);
        let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::of).collect();
        if let Some(unified) = unified(&mounts, &own, group) {
            return Ok(unified);
        }
        let separate: Vec<(Controller, PathBuf)> = Controller::ALL
            .into_iter()
            .filter_map(|controller| {
                let has = |options: &str| options.split(',').any(|option| option == controller.name());
                let mount = mounts.iter().find(|mount| mount.kind == "cgroup" && has(mount.options))?;
                let own = group.or_else(|| group_of(&own, |controllers| has(controllers)))?;
                Some((controller, mount.directory_of(own)?))
            })
            .collect();
        match separate.iter().any(|(controller, _)| *controller == Controller::Memory) {
            true => Ok(Hierarchies::Separate(separate)),
            false => Err("this system has no control groups that limit memory".to_owned()),
        }
    }

    /// Has groups of processes be possible below it.
    ///
    /// # Errors
    /// When the system refuses, with what to do.
    pub fn prepare(&self) -> Result<(), String> {
        let refused = |path: &Path, error: &io::Error| {
            format!(
                "the control group `{}` cannot be used: {}: run the supervisor as root, or have systemd hand the group \
                 over to it, by `Delegate=yes`",
                path.display(),
                with_causes(error)
            )
        };
        match self {
            Hierarchies::Separate(roots) => {
                for (_, root) in roots {
                    fs::create_dir_all(root).map_err(|error| refused(root, &error))?;
                }
                Ok(())
            }
            Hierarchies::Unified { root, controllers, top, is_own } => {
                let prepare = || {
                    fs::create_dir_all(root)?;
                    if *is_own {
                        leave(root, &root.join(SUPERVISOR_GROUP))?;
                    } else {
                        // A group has what those above it hand down.
                        let above = root.ancestors().skip(1).take_while(|group| group.starts_with(top));
                        let above: Vec<&Path> = above.collect();
                        // Whoever has made them may have done so.
                        above.iter().rev().for_each(|group| _ = hand_down(group, controllers));
                    }
                    hand_down(root, controllers)
                };
                prepare().map_err(|error: io::Error| refused(root, &error))
            }
        }
    }

    /// What is limited, and where, for people.
    pub fn describe(&self) -> String {
        let names = |of: &mut dyn Iterator<Item = Controller>| {
            of.map(Controller::name).collect::<Vec<&str>>().join(", ")
        };
        let (version, limited, root) = match self {
            Hierarchies::Separate(roots) => {
                (1, names(&mut roots.iter().map(|(controller, _)| *controller)), &roots[0].1)
            }
            Hierarchies::Unified { root, controllers, .. } => {
                (2, names(&mut controllers.iter().copied()), root)
            }
        };
        format!("control groups of version {version} below {} limit {limited}", root.display())
    }
}

/// Has all processes of a group go to one below it, this one among them.
fn leave(group: &Path, below: &Path) -> io::Result<()> {
    fs::create_dir_all(below)?;
    let entrance = below.join("cgroup.procs");
    // 0 is the process that writes it.
    fs::write(&entrance, "0")?;
    // Those that an earlier supervisor has left there. One that has ended cannot be moved.
    let others = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    others.lines().for_each(|pid| _ = fs::write(&entrance, pid));
    Ok(())
}

/// Has groups below this one be limited by these controllers.
fn hand_down(group: &Path, controllers: &[Controller]) -> io::Result<()> {
    let names: Vec<String> = controllers.iter().map(|controller| format!("+{}", controller.name())).collect();
    fs::write(group.join("cgroup.subtree_control"), names.join(" "))
}

/// Those of version 2, if these limit memory.
fn unified(mounts: &[Mount<'_>], own: &str, group: Option<&str>) -> Option<Hierarchies> {
    let mount = mounts.iter().find(|mount| mount.kind == "cgroup2")?;
    let begun_in = mount.directory_of(group_of(own, str::is_empty)?)?;
    let (root, known_by, is_own) = match group {
        // It may have to be made.
        Some(group) => (mount.directory_of(group)?, mount.point.clone(), false),
        None if begun_in.file_name().is_some_and(|name| name == SUPERVISOR_GROUP) => {
            let root = begun_in.parent()?.to_owned();
            (root.clone(), root, false)
        }
        None => (begun_in.clone(), begun_in, true),
    };
    let known = fs::read_to_string(known_by.join("cgroup.controllers")).ok()?;
    let has = |controller: &Controller| known.split_whitespace().any(|name| name == controller.name());
    let controllers: Vec<Controller> = Controller::ALL.into_iter().filter(has).collect();
    let top = mount.point.clone();
    let has_memory = controllers.contains(&Controller::Memory);
    has_memory.then_some(Hierarchies::Unified { root, controllers, top, is_own })
}

/// The group of this process in the hierarchy with such controllers, from lines such as `4:memory:/squall`.
fn group_of(own: &str, is_meant: impl Fn(&str) -> bool) -> Option<&str> {
    own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        is_meant(controllers).then_some(group)
    })
}

/// A mounted file system, from a line of `/proc/self/mountinfo`.
struct Mount<'a> {
    /// The part of it that is mounted.
    root: &'a str,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl Mount<'_> {
    fn of(line: &str) -> Option<Mount<'_>> {
        let (place, system) = line.split_once(" - ")?;
        let (mut place, mut system) = (place.split(' ').skip(3), system.split(' '));
        let (root, point) = (place.next()?, place.next()?);
        let (kind, options) = (system.next()?, system.nth(1)?);
        // Names with spaces are written with escapes; no hierarchy is mounted there.
        (!point.contains('\\')).then(|| Mount { root, point: PathBuf::from(point), kind, options })
    }

    /// Where a group is. `None`: not in the part that is mounted.
    fn directory_of(&self, group: &str) -> Option<PathBuf> {
        let below = match self.root {
            "/" => group,
            root => group.strip_prefix(root).filter(|below| below.is_empty() || below.starts_with('/'))?,
        };
        let leads_out = below.split('/').any(|name| name == "..");
        (!leads_out).then(|| self.point.join(below.trim_start_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `/proc` with these mounts, where `%` stands for its directory.
    fn proc(mounts: &str, own: &str) -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a directory");
        let here = place.path().to_str().expect("it has an ordinary name");
        fs::create_dir(place.path().join("self")).expect("it is ours");
        let write = |name: &str, text: &str| {
            fs::write(place.path().join("self").join(name), text.replace('%', here)).expect("it is ours");
        };
        write("mountinfo", mounts);
        write("cgroup", own);
        place
    }

    fn directory(place: &tempfile::TempDir, name: &str, controllers: &str) {
        let path = place.path().join(name);
        fs::create_dir_all(&path).expect("it is ours");
        fs::write(path.join("cgroup.controllers"), controllers).expect("it is ours");
    }

    const SEPARATE: &str = "\
        25 1 0:20 / / rw - ext4 /dev/vda rw\n\
        30 25 0:25 / %/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        31 25 0:26 /outer %/memory rw,relatime - cgroup cgroup rw,memory\n\
        32 25 0:27 / %/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn those_of_version_1_are_found_by_their_controllers() {
        let own = "4:memory:/outer/a\n2:cpu,cpuacct:/b\n0::/\n";
        let place = proc(SEPARATE, own);
        directory(&place, "unified", "\n");
        let find = |group| Hierarchies::find(place.path(), group);
        let roots = |memory: &str, cpu: &str| {
            Hierarchies::Separate(vec![
                (Controller::Memory, place.path().join(memory)),
                (Controller::Cpu, place.path().join(cpu)),
            ])
        };
        assert_eq!(find(None), Ok(roots("memory/a", "cpu/b")));
        // Of memory, only what is below `/outer` can be reached.
        assert_eq!(find(Some("/outer/squall")), Ok(roots("memory/squall", "cpu/outer/squall")));
        assert!(
            find(Some("/squall"))
                .expect_err("it is out of reach")
                .contains("no control groups that limit memory")
        );
        let found = find(None).expect("as above");
        found.prepare().expect("it is ours");
        assert!(place.path().join("memory/a").is_dir());
        assert!(found.describe().ends_with("memory/a limit memory, cpu"), "{}", found.describe());
    }

    #[test]
    fn those_of_version_2_have_the_supervisor_in_a_group_below() {
        let mounts = "32 25 0:27 / %/fs rw - cgroup2 cgroup2 rw\n";
        let place = proc(mounts, "0::/squall.service\n");
        directory(&place, "fs/squall.service", "cpu memory pids\n");
        let root = place.path().join("fs/squall.service");
        let controllers = Controller::ALL.to_vec();
        let own = Hierarchies::find(place.path(), None);
        let top = place.path().join("fs");
        let unified = |is_own| Hierarchies::Unified {
            root: root.clone(),
            controllers: controllers.clone(),
            top: top.clone(),
            is_own,
        };
        assert_eq!(own, Ok(unified(true)));
        own.expect("as above").prepare().expect("it is ours");
        let read = |name: &str| fs::read_to_string(root.join(name)).expect("it was written");
        assert_eq!(read("supervisor/cgroup.procs"), "0");
        assert_eq!(read("cgroup.subtree_control"), "+memory +cpu +pids");
        // The next supervisor is begun there by systemd.
        fs::write(place.path().join("self/cgroup"), "0::/squall.service/supervisor\n").expect("it is ours");
        assert_eq!(Hierarchies::find(place.path(), None), Ok(unified(false)));
        // A group of the configuration is made.
        directory(&place, "fs", "cpuset memory\n");
        let named = Hierarchies::find(place.path(), Some("/topologies")).expect("it can be made");
        named.prepare().expect("it is ours");
        for group in ["fs", "fs/topologies"] {
            let written = fs::read_to_string(place.path().join(group).join("cgroup.subtree_control"));
            assert_eq!(written.expect("it was written"), "+memory", "{group}");
        }
    }

    #[test]
    fn a_system_without_them_says_so() {
        let place = proc("25 1 0:20 / / rw - ext4 /dev/vda rw\n", "0::/\n");
        let why = Hierarchies::find(place.path(), None).expect_err("there are none");
        assert_eq!(why, "this system has no control groups that limit memory");
        assert!(Hierarchies::find(Path::new("/no/such"), None).expect_err("none").contains("cannot read"));
    }

    #[test]
    fn what_may_not_be_written_has_a_remedy() {
        let place = proc(SEPARATE, "4:memory:/outer/a\n2:cpu,cpuacct:/b\n");
        fs::write(place.path().join("memory"), "a file").expect("it is ours");
        let why = Hierarchies::find(place.path(), None)
            .and_then(|found| found.prepare())
            .expect_err("it is no directory");
        assert!(why.contains("memory/a` cannot be used: ") && why.contains("Delegate=yes"), "{why}");
    }
}
