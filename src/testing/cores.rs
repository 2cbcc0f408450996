//! What decides in daemons, masters and workers, without what performs it: `tests/simulation/daemons` puts a whole cluster
//! together from these. Nothing here is for programs that use squall, and it may change at any time.

pub use crate::cluster::control::{Beat, FromWorker, LogSpec, Start, ToWorker};
pub use crate::cluster::daemons::supervisor::{
    Action, ChildId, Event as HostEvent, Exit as ChildExit, FoundChild, LocalRecord, Note as HostNote, Order,
    Preparation, Reading, Role, SupervisorCore, Write, Written, read_topologies, write,
};
pub use crate::cluster::link::{
    Arrival, Challenge, Hello, Known, LifeLog, Living, StartedAt, Welcome, outlives_its_master,
};
pub use crate::cluster::master::{
    Appointment, Core as MasterCore, CoreOptions, Event as MasterEvent, Exit, MasterAction, Places, Sources,
    StoreJob,
};
pub use crate::runtime::checkpoint_actions::Parts;
pub use crate::runtime::end_sequence::{EndCommand, EndProgress};
pub use crate::runtime::flow::checkpoint::{CheckpointOrder, CheckpointReport, StorageError, TaskPart};
