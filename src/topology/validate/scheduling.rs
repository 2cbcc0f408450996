//! `[topology.scheduling]` and the `resources` of components: bounds, and components that there are.

use crate::config::units::show_size;
use crate::config::{Cpu, SchedulingStrategy, limits};
use crate::topology::draft::Draft;
use crate::topology::suggest::{self, shown};
use crate::topology::validate::numbers::within;
use crate::topology::validate::problem::{ById, Problem, Site, named};

pub(super) fn problems(draft: &Draft, by_id: &ById<'_>) -> Vec<Problem> {
    let mut problems = bounds(draft);
    problems.extend(hosts(draft));
    problems.extend(needs_resource_aware(draft));
    problems.extend(components(draft, by_id));
    for at in 0..draft.components.len() {
        problems.extend(resources(draft, at));
    }
    problems
}

fn site(key: &'static str) -> Site {
    Site::Option(key)
}

fn bounds(draft: &Draft) -> Vec<Problem> {
    let scheduling = &draft.options.scheduling;
    let (priority, isolate) = ("scheduling.priority", "scheduling.isolate");
    let checks = [
        within(site(priority), priority, scheduling.priority.into(), 0, limits::PRIORITY_MAX.into()),
        scheduling
            .isolate
            .and_then(|hosts| within(site(isolate), isolate, hosts.into(), 1, limits::HOSTS_MAX.into())),
    ];
    checks.into_iter().flatten().collect()
}

/// No host can be tried first and last.
fn hosts(draft: &Draft) -> Option<Problem> {
    let scheduling = &draft.options.scheduling;
    let both = scheduling.favor.iter().find(|host| scheduling.avoid.contains(host))?;
    let message = format!("host `{}` is in `scheduling.favor` and in `scheduling.avoid`", shown(both));
    Some(Problem::new(site("scheduling.avoid"), message).help("leave it out of one of them".to_owned()))
}

/// Which executors share a worker or a host is decided by the resource-aware strategy only.
fn needs_resource_aware(draft: &Draft) -> Vec<Problem> {
    let scheduling = &draft.options.scheduling;
    if scheduling.strategy == SchedulingStrategy::ResourceAware {
        return Vec::new();
    }
    let written = [
        ("scheduling.spread", !scheduling.spread.is_empty()),
        ("scheduling.exclusive", !scheduling.exclusive.is_empty()),
    ];
    let problem = |key| {
        let message = format!("`{key}` has no effect with `strategy = \"{}\"`", scheduling.strategy.name());
        Problem::new(site(key), message).help("set `strategy = \"resource-aware\"`".to_owned())
    };
    written.into_iter().filter(|(_, is)| *is).map(|(key, _)| problem(key)).collect()
}

fn components(draft: &Draft, by_id: &ById<'_>) -> Vec<Problem> {
    let scheduling = &draft.options.scheduling;
    let (spread, exclusive) = ("scheduling.spread", "scheduling.exclusive");
    let mut problems = Vec::new();
    let groups = scheduling.exclusive.iter().flatten().map(|id| (exclusive, id));
    for (key, id) in scheduling.spread.iter().map(|id| (spread, id)).chain(groups) {
        if draft.complete && !by_id.contains_key(id.as_str()) {
            let message = format!("`{key}` names `{}`, and there is no such component", shown(id));
            let ids = draft.components.iter().map(|component| component.id.as_str());
            problems.push(Problem::new(site(key), message).help(suggest::help(id, ids, "components")));
        }
    }
    for group in &scheduling.exclusive {
        let twice = group.iter().enumerate().find(|(at, id)| group[..*at].contains(id));
        if let Some((_, id)) = twice {
            let message = format!("`{exclusive}` has a group with `{}` twice", shown(id));
            let help = format!("to keep executors of one component apart, put it into `{spread}`");
            problems.push(Problem::new(site(exclusive), message).help(help));
        } else if group.len() < 2 {
            let message = format!("`{exclusive}` has a group of {}: a group has at least 2", group.len());
            problems.push(
                Problem::new(site(exclusive), message)
                    .help("for example `exclusive = [[\"split\", \"count\"]]`".to_owned()),
            );
        }
    }
    problems
}

fn resources(draft: &Draft, at: usize) -> Vec<Problem> {
    let resources = draft.components[at].options.resources;
    let most = Cpu::cores(limits::TASK_CORES_MAX);
    let over = |key: &str, bound: String, value: String| {
        let message =
            format!("`resources.{key}` of {} must be at most {bound}, not {value}", named(draft, at));
        Problem::new(Site::Key(at, "resources"), message)
    };
    let cpu = (resources.cpu > most).then(|| over("cpu", most.to_string(), resources.cpu.to_string()));
    let memory = (resources.memory > limits::TASK_MEMORY_MAX)
        .then(|| over("memory", show_size(limits::TASK_MEMORY_MAX), show_size(resources.memory)));
    [cpu, memory].into_iter().flatten().collect()
}
