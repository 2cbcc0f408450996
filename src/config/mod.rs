//! The options of topologies and of the engine, resolved: every option has a value here.
//!
//! * [`TopologyOptions`], [`ComponentOptions`]: what the runtime reads.
//! * [`EngineOptions`]: the options of the engine, in `squall.toml`: [`NetOptions`],
//!   [`WorkerOptions`], [`ZooKeeperOptions`], [`ClusterOptions`], [`NimbusOptions`], [`SupervisorOptions`],
//!   [`SecretsOptions`].
//! * [`Resources`], [`SchedulingOptions`], [`HostOptions`]: what tasks need, and what the hosts of a cluster have.
//! * [`limits`]: the bounds that no option may exceed, related to each other by const asserts.
//! * [`units`]: durations and sizes as text.
//!
//! `topology::declare` reads options from TOML, and reports mistakes with their places.

mod auto;
mod daemons;
mod endpoint;
pub mod engine;
mod event_time;
mod host;
pub mod limits;
pub mod net;
mod nimbus;
mod problems;
mod process_limits;
mod resources;
mod scheduling;
mod secrets;
mod state;
mod topology;
pub mod units;
mod worker;
mod zookeeper;

pub use self::zookeeper::{ZooKeeperOptions, ZooKeeperTls, host_and_port};
pub use auto::AutoOr;
pub use daemons::{ClusterOptions, LogFileOptions, SupervisorOptions, is_daemon_id};
pub(crate) use endpoint::Endpoint;
pub use engine::EngineOptions;
pub use event_time::EventTimeOptions;
pub use host::HostOptions;
pub use net::{NetOptions, TlsPaths};
pub use nimbus::{BlacklistLimits, NIMBUS_PORT, NimbusOptions, NimbusTls};
pub use problems::OptionProblem;
pub use process_limits::{LimitedBy, ProcessLimits};
pub use resources::{Cpu, Resources};
pub use scheduling::{SchedulingOptions, SchedulingStrategy};
pub use secrets::SecretsOptions;
pub use state::{BoltStateOptions, StateBackendKind, StateMode, StateOptions};
pub(crate) use topology::doubled;
pub use topology::{
    AfterRetries, BatchOptions, ChainMode, CheckpointMode, CheckpointOptions, ComponentOptions, Delivery,
    ErrorOptions, OnError, QueueOptions, ReplayOptions, TopologyOptions, WatchdogOptions,
};
pub use worker::WorkerOptions;
