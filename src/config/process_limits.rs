//! `[supervisor.limits]`: what the processes of a host may use.

use serde::{Deserialize, Serialize};

use crate::config::limits;
use crate::config::problems::{OptionProblem, Problems};
use crate::config::units::show_size;

/// `[supervisor.limits]`: what the processes of a host may use.
///
/// # Examples
/// ```
/// use squall::config::{LimitedBy, ProcessLimits};
/// assert_eq!(ProcessLimits::default().by, LimitedBy::Nothing);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessLimits {
    /// `by`: what keeps processes within their limits.
    pub by: LimitedBy,
    /// `memory_extra`: bytes that a process may have beyond what its tasks are counted with. A master has no tasks, so it
    /// may have these.
    pub memory_extra: u64,
    /// `threads_max`: threads and processes that may be in one control group.
    pub threads_max: u32,
    /// `group`: the control group below which those of processes are made. `None`: that of the supervisor.
    pub group: Option<String>,
}

/// What keeps processes within their limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitedBy {
    /// There are no limits.
    #[default]
    Nothing,
    /// Control groups, or if there are none, limits of each process.
    Auto,
    /// Control groups of the kernel, version 1 or 2.
    ControlGroups,
    /// A limit of each process (`RLIMIT_DATA`).
    Rlimit,
}

impl LimitedBy {
    /// The words for it, in the order of the variants.
    pub const NAMES: &'static [&'static str] = &["nothing", "auto", "control-groups", "rlimit"];

    /// What a word of [`LimitedBy::NAMES`] stands for.
    pub fn named(name: &str) -> LimitedBy {
        match name {
            "auto" => LimitedBy::Auto,
            "control-groups" => LimitedBy::ControlGroups,
            "rlimit" => LimitedBy::Rlimit,
            _ => LimitedBy::Nothing,
        }
    }
}

impl Default for ProcessLimits {
    fn default() -> ProcessLimits {
        ProcessLimits { by: LimitedBy::default(), memory_extra: 256 << 20, threads_max: 4096, group: None }
    }
}

impl ProcessLimits {
    /// Everything that is wrong with these options.
    pub(super) fn problems(&self) -> Vec<OptionProblem> {
        let mut problems = Problems::default();
        let (key, least, most) =
            ("supervisor.limits.memory_extra", limits::MEMORY_EXTRA_MIN, limits::HOST_MEMORY_MAX);
        if !(least..=most).contains(&self.memory_extra) {
            let message = format!("`{key}` must be from {} to {}", show_size(least), show_size(most));
            problems.add(
                key,
                None,
                message,
                "it is what a process needs beyond what its tasks are counted with",
            );
        }
        let (key, least, most) =
            ("supervisor.limits.threads_max", limits::GROUP_THREADS_MIN, limits::GROUP_THREADS_MAX);
        if !(least..=most).contains(&self.threads_max) {
            let message = format!("`{key}` must be from {least} to {most}, not {}", self.threads_max);
            problems.add(key, None, message, "it is how many threads and processes a worker may have");
        }
        if let Some(group) = self.group.as_ref().filter(|group| !is_group(group)) {
            let key = "supervisor.limits.group";
            let message = format!("`{key}`: \"{group}\" is not a control group");
            problems.add(key, None, message, "write its path below the mount point, as in `/squall`");
        }
        problems.0
    }
}

/// Whether a text is the path of a control group, as `/proc/self/cgroup` has it, that leads nowhere else.
fn is_group(text: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name != "." && name != ".." && !name.contains('\0');
    text.strip_prefix('/').is_some_and(|names| names.split('/').all(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_read() {
        let read: Vec<LimitedBy> = LimitedBy::NAMES.iter().map(|name| LimitedBy::named(name)).collect();
        let all = [LimitedBy::Nothing, LimitedBy::Auto, LimitedBy::ControlGroups, LimitedBy::Rlimit];
        assert_eq!(read, all);
        let written = all.map(|by| serde_json::to_value(by).expect("it is JSON"));
        assert_eq!(written.each_ref().map(|word| word.as_str().expect("a word")), LimitedBy::NAMES);
    }

    #[test]
    fn a_group_leads_nowhere_else() {
        for good in ["/squall", "/system.slice/squall.service"] {
            assert!(is_group(good), "{good}");
        }
        for bad in ["", "/", "squall", "/../etc", "/squall/..", "//squall", "/squall/"] {
            assert!(!is_group(bad), "{bad}");
        }
    }
}
