//! Every key of `[topology.scheduling]`, and of the `resources` of a component, as `keys` has those of `[topology]`.

use crate::config::{ComponentOptions, Cpu, SchedulingStrategy, TopologyOptions, limits};
use crate::topology::declare::key::{Key, Shape};

/// `[topology.scheduling]`.
pub(super) static SCHEDULING: &[Key<TopologyOptions>] = &[
    Key {
        path: "scheduling.strategy",
        doc: "How executors are spread over hosts: `even` deals workers to the hosts in turn and counts slots only, `resource-aware` fills hosts up to their processor time and memory.",
        default: "\"even\"",
        shape: Shape::OneOf(SchedulingStrategy::NAMES, |o, v| {
            o.scheduling.strategy = SchedulingStrategy::named(v);
        }),
    },
    Key {
        path: "scheduling.priority",
        doc: "Which topology goes first when there is not enough for all: 0 before 1.",
        default: "29",
        shape: Shape::Count(0, limits::PRIORITY_MAX, |o, v| o.scheduling.priority = v),
    },
    Key {
        path: "scheduling.isolate",
        doc: "So many hosts run this topology and no other.",
        default: "hosts are shared",
        shape: Shape::Count(1, limits::HOSTS_MAX, |o, v| o.scheduling.isolate = Some(v)),
    },
    Key {
        path: "scheduling.spread",
        doc: "Components of which each host runs one executor at most. With `resource-aware` only.",
        default: "[]",
        shape: Shape::Names(|o, v| o.scheduling.spread = v),
    },
    Key {
        path: "scheduling.exclusive",
        doc: "Groups of components; no worker runs two components of a group. With `resource-aware` only.",
        default: "[]",
        shape: Shape::Groups(|o, v| o.scheduling.exclusive = v),
    },
    Key {
        path: "scheduling.favor",
        doc: "Hosts that are tried before all others.",
        default: "[]",
        shape: Shape::Names(|o, v| o.scheduling.favor = v),
    },
    Key {
        path: "scheduling.avoid",
        doc: "Hosts that are tried after all others.",
        default: "[]",
        shape: Shape::Names(|o, v| o.scheduling.avoid = v),
    },
];

/// `resources` of a component.
pub(super) static RESOURCES: &[Key<ComponentOptions>] = &[
    Key {
        path: "resources.cpu",
        doc: "Cores that each task needs: `0.5` is half a core, which Storm writes as 50.",
        default: "0.1",
        shape: Shape::Decimal(limits::TASK_CORES_MAX, |o, v| o.resources.cpu = Cpu::cores(v)),
    },
    Key {
        path: "resources.memory",
        doc: "Memory that each task needs.",
        default: "\"128MiB\"",
        shape: Shape::Size(|o, v| o.resources.memory = v),
    },
];
