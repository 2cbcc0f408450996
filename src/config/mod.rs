//! What can be set about a topology, resolved: every option has its value here.
//!
//! * [`TopologyOptions`], [`ComponentOptions`]: what the runtime reads.
//! * [`EngineOptions`]: what is set about the engine, in `squall.toml`: [`NetOptions`],
//!   [`WorkerOptions`].
//! * [`limits`]: the bounds that no option may pass, related to each other by const asserts.
//! * [`units`]: durations and sizes as people write them.
//!
//! How options are written in TOML, and what is wrong with them, is `topology::declare`'s.

mod auto;
pub mod engine;
pub mod limits;
pub mod net;
mod problems;
mod topology;
pub mod units;
mod worker;

pub use auto::AutoOr;
pub use engine::EngineOptions;
pub use net::{NetOptions, TlsPaths};
pub use problems::OptionProblem;
pub use topology::{
    ComponentOptions, Delivery, ErrorOptions, QueueOptions, ReplayOptions, TopologyOptions, WatchdogOptions,
};
pub use worker::WorkerOptions;
