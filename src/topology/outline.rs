//! The outline of a topology: all that is needed to place it, without the code of its components.
//!
//! A nimbus places topologies whose components it does not have, because they are in a program of the user's. Whoever
//! submits such a topology has the program, and sends its outline.
//!
//! 1. The topology of an outline has the plan, the chains and the fingerprint of the topology that was outlined, and is
//!    validated in the same way, except for what only the code of its components knows. It cannot run.
//! 2. An outline comes from elsewhere, so it may hold anything.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::api::{Streams, TaskError};
use crate::config::{
    AutoOr, ChainMode, CheckpointOptions, ComponentOptions, Delivery, QueueOptions, Resources,
    SchedulingOptions, TopologyOptions,
};
use crate::secrets::SecretName;
use crate::topology::builder::diagnostic;
use crate::topology::diagnostic::TopologyErrors;
use crate::topology::draft::{Draft, DraftComponent, DraftInput};
use crate::topology::graph::{
    Component, Constructor, Grouping, GroupingFactory, InputSpec, ProcessParts, Topology,
};
use crate::topology::registry::{Built, Kind};
use crate::topology::validate::validate;
use crate::tuple::Fields;

/// See the module.
///
/// # Examples
/// ```
/// use squall::prelude::Registry;
/// use squall::topology::TopologyOutline;
/// use squall::topology::declare::parse_str;
///
/// let text = "[topology]\nname = 'a'\n[spout.s]\ntype = 'generate'\nconfig.fields = { n = 'n' }";
/// let topology = parse_str("a", text, &Registry::with_standard())?;
/// let outline = TopologyOutline::of(&topology);
/// assert_eq!(outline.to_topology()?.fingerprint(), topology.fingerprint());
/// # Ok::<(), squall::topology::TopologyErrors>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyOutline {
    name: SmolStr,
    delivery: Delivery,
    workers: u32,
    ackers: AutoOr<u32>,
    threads: AutoOr<u32>,
    max_task_parallelism: Option<u32>,
    key_groups: u32,
    chain: ChainMode,
    queue: QueueOptions,
    scheduling: SchedulingOptions,
    checkpoint_storage: Option<PathBuf>,
    wal_storage: Option<PathBuf>,
    components: Vec<ComponentOutline>,
    /// The secrets that its hosts must have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    secrets: BTreeSet<SecretName>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentOutline {
    id: SmolStr,
    is_spout: bool,
    type_name: SmolStr,
    streams: Vec<StreamOutline>,
    inputs: Vec<InputOutline>,
    parallelism: u32,
    tasks: Option<u32>,
    blocking: bool,
    chain: Option<ChainMode>,
    wal: bool,
    resources: Resources,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOutline {
    name: SmolStr,
    fields: Vec<SmolStr>,
    direct: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputOutline {
    component: SmolStr,
    stream: SmolStr,
    grouping: GroupingOutline,
    feedback: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum GroupingOutline {
    Shuffle,
    Fields(Vec<SmolStr>),
    PartialKey(Vec<SmolStr>),
    All,
    Global,
    None,
    LocalOrShuffle,
    Direct,
    Custom(SmolStr),
}

impl TopologyOutline {
    /// The outline of a topology.
    pub fn of(topology: &Topology) -> TopologyOutline {
        let options = topology.options();
        TopologyOutline {
            name: topology.name.clone(),
            delivery: options.delivery,
            workers: options.workers,
            ackers: options.ackers,
            threads: options.threads,
            max_task_parallelism: options.max_task_parallelism,
            key_groups: options.key_groups,
            chain: options.chain,
            queue: options.queue.clone(),
            scheduling: options.scheduling.clone(),
            checkpoint_storage: options.checkpoint.storage.clone(),
            wal_storage: options.checkpoint.wal_storage.clone(),
            components: topology.components().iter().map(ComponentOutline::of).collect(),
            secrets: topology.secrets.clone(),
        }
    }

    /// A topology that is placed as the one that was outlined. It cannot run: none of its components can be built.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn to_topology(&self) -> Result<Topology, TopologyErrors> {
        let checkpoint = CheckpointOptions {
            storage: self.checkpoint_storage.clone(),
            wal_storage: self.wal_storage.clone(),
            ..CheckpointOptions::default()
        };
        let sets_checkpoint = checkpoint != CheckpointOptions::default();
        let options = TopologyOptions {
            delivery: self.delivery,
            workers: self.workers,
            ackers: self.ackers,
            threads: self.threads,
            max_task_parallelism: self.max_task_parallelism,
            key_groups: self.key_groups,
            chain: self.chain,
            queue: self.queue.clone(),
            scheduling: self.scheduling.clone(),
            checkpoint,
            ..TopologyOptions::default()
        };
        let draft = Draft {
            name: Some(self.name.clone()),
            options,
            components: self.components.iter().map(ComponentOutline::to_draft).collect(),
            hooks: Vec::new(),
            states: Vec::new(),
            sets_checkpoint,
            taken: Vec::new(),
            secrets: self.secrets.clone(),
            process: ProcessParts::default(),
            complete: true,
        };
        let wrong = |problems: Vec<_>| TopologyErrors::new(problems.into_iter().map(diagnostic).collect());
        validate(draft).map_err(wrong)
    }
}

impl ComponentOutline {
    fn of(component: &Component) -> ComponentOutline {
        let stream = |stream: &crate::api::StreamDeclaration| StreamOutline {
            name: stream.name.clone(),
            fields: stream.fields.iter().cloned().collect(),
            direct: stream.direct,
        };
        let options = &component.options;
        ComponentOutline {
            id: component.id.clone(),
            is_spout: component.is_spout(),
            type_name: component.type_name.clone(),
            streams: component.streams.iter().map(stream).collect(),
            inputs: component.inputs.iter().map(InputOutline::of).collect(),
            parallelism: options.parallelism,
            tasks: options.tasks,
            blocking: options.blocking,
            chain: options.chain,
            wal: options.wal,
            resources: options.resources,
        }
    }

    fn to_draft(&self) -> DraftComponent {
        let (kind, constructor) = match self.is_spout {
            true => (Kind::Spout, Constructor::Spout(Arc::new(|| Err(not_here())))),
            false => (Kind::Bolt, Constructor::Bolt(Arc::new(|| Err(not_here())))),
        };
        let streams = self.streams.iter().fold(Streams::none(), |streams, stream| {
            let fields: Fields = stream.fields.iter().collect();
            match stream.direct {
                true => streams.direct_stream(&stream.name, fields),
                false => streams.stream(&stream.name, fields),
            }
        });
        DraftComponent {
            id: self.id.clone(),
            kind,
            type_name: self.type_name.clone(),
            // What only an instance knows was checked where there is one.
            built: Some(Built { constructor, streams, instance: None }),
            inputs: Some(self.inputs.iter().map(InputOutline::to_draft).collect()),
            options: ComponentOptions {
                parallelism: self.parallelism,
                tasks: self.tasks,
                blocking: self.blocking,
                chain: self.chain,
                wal: self.wal,
                resources: self.resources,
                ..ComponentOptions::default()
            },
            hooks: Vec::new(),
        }
    }
}

fn not_here() -> TaskError {
    TaskError::new("this is the outline of a component: its code is in another program")
}

impl InputOutline {
    fn of(input: &InputSpec) -> InputOutline {
        let names = |fields: &Fields| fields.iter().cloned().collect();
        let grouping = match &input.grouping {
            Grouping::Shuffle => GroupingOutline::Shuffle,
            Grouping::Fields(fields) => GroupingOutline::Fields(names(fields)),
            Grouping::PartialKey(fields) => GroupingOutline::PartialKey(names(fields)),
            Grouping::All => GroupingOutline::All,
            Grouping::Global => GroupingOutline::Global,
            Grouping::None => GroupingOutline::None,
            Grouping::LocalOrShuffle => GroupingOutline::LocalOrShuffle,
            Grouping::Direct => GroupingOutline::Direct,
            Grouping::Custom(name, _) => GroupingOutline::Custom(name.clone()),
        };
        let (component, stream) = (input.component.clone(), input.stream.clone());
        InputOutline { component, stream, grouping, feedback: input.feedback }
    }

    fn to_draft(&self) -> DraftInput {
        let grouping = match &self.grouping {
            GroupingOutline::Shuffle => Grouping::Shuffle,
            GroupingOutline::Fields(fields) => Grouping::Fields(fields.iter().collect()),
            GroupingOutline::PartialKey(fields) => Grouping::PartialKey(fields.iter().collect()),
            GroupingOutline::All => Grouping::All,
            GroupingOutline::Global => Grouping::Global,
            GroupingOutline::None => Grouping::None,
            GroupingOutline::LocalOrShuffle => Grouping::LocalOrShuffle,
            GroupingOutline::Direct => Grouping::Direct,
            GroupingOutline::Custom(name) => {
                let factory: GroupingFactory =
                    Arc::new(|| unreachable!("no component of an outline is built"));
                Grouping::Custom(name.clone(), factory)
            }
        };
        let (component, stream) = (self.component.clone(), self.stream.clone());
        DraftInput { component, stream, grouping: Some(grouping), feedback: self.feedback }
    }
}
