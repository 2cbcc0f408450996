//! Testing topologies: what users call from `cargo test`, and what squall's own tests use.
//!
//! * [`SimulatedTopology`]: a topology in one thread and in simulated time. It runs the executors of
//!   production; a seed decides in which order they are stepped.
//! * [`complete_topology`]: runs a topology with mocked spouts to its end and returns what every
//!   component emitted.
//! * [`Feeder`], [`FixedSpout`], [`Capture`]: a spout that the test feeds, a spout with a fixed list, a
//!   bolt that keeps the tuples it receives.
//! * [`harness`]: one bolt or spout by itself, fed by hand, without a runtime.
//! * [`FaultPlan`]: crashes, losses and failures, at a chosen point or at random from a seed.
//!
//! # Examples
//!
//! **1. What does a topology emit?** Replace its spouts, run it to the end, and compare.
//! ```
//! use squall::prelude::*;
//! use squall::testing::{CompleteOptions, complete_topology};
//! use squall::topology::TopologyBuilder;
//! # struct Split;
//! # impl Bolt for Split {
//! #     fn declare(&self) -> Streams { Streams::new(["word"]) }
//! #     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
//! #         for word in input.str("line")?.split(' ') { out.emit([word])?; }
//! #         Ok(())
//! #     }
//! # }
//! # struct Lines;
//! # impl Spout for Lines {
//! #     fn declare(&self) -> Streams { Streams::new(["line"]) }
//! #     fn next_tuple(&mut self, _: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> { Ok(SpoutStatus::Idle) }
//! # }
//! let mut builder = TopologyBuilder::new("words");
//! builder.spout("lines", || Lines);
//! builder.bolt("split", || Split).parallelism(3).shuffle("lines");
//!
//! let options = CompleteOptions::default().mock("lines", [["a b"], ["c"]]);
//! let completed = complete_topology(builder.build()?, options)?;
//! assert_eq!(completed.sorted("split"), [[Value::from("a")], [Value::from("b")], [Value::from("c")]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **2. When does something happen?** The test advances the clock: here a message that is never acked
//! fails after its time-out, and not before.
//! ```
//! use std::time::Duration;
//! use squall::prelude::*;
//! use squall::testing::{Feeder, SimulatedTopology, SimulationOptions};
//! use squall::topology::TopologyBuilder;
//! struct Hoard(Vec<HeldTuple>);
//! impl Bolt for Hoard {
//!     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
//!         self.0.push(out.hold(input));
//!         Ok(())
//!     }
//! }
//!
//! let feeder = Feeder::new(["n"]);
//! let mut builder = TopologyBuilder::new("hoard");
//! builder.options(|options| options.message_timeout = Some(Duration::from_secs(10)));
//! builder.spout("feeder", feeder.spout());
//! builder.bolt("hoard", || Hoard(Vec::new())).shuffle("feeder");
//! let mut topology = SimulatedTopology::start(builder.build()?, SimulationOptions::default());
//!
//! let message = feeder.feed([1]);
//! topology.advance(Duration::from_secs(9));
//! assert!(feeder.is_open(message));
//! topology.advance(Duration::from_secs(2));
//! assert!(feeder.has_failed(message));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **3. Does it survive faults?** Lose batches, crash tasks, and check that every message arrives at
//! least once, for as many seeds as you like. A seed that fails once fails each time.
//! ```
//! use std::time::Duration;
//! use squall::prelude::*;
//! use squall::testing::{Capture, FaultPlan, FixedSpout, SimulatedTopology, SimulationOptions};
//! use squall::topology::TopologyBuilder;
//! for seed in 0..20 {
//!     let capture = Capture::new();
//!     let mut builder = TopologyBuilder::new("survivor");
//!     builder.spout("numbers", || FixedSpout::new(["n"], (0..100).map(|n| vec![Value::from(n)])));
//!     builder.bolt("sink", capture.bolt()).parallelism(2).shuffle("numbers");
//!     let faults = FaultPlan::new().drop_batches(0.1).crash_tasks(0.05);
//!     let options = SimulationOptions::seeded(seed).faults(faults);
//!     let mut topology = SimulatedTopology::start(builder.build()?, options);
//!     let stats = topology.run_to_end(Duration::from_secs(3600))?;
//!     assert_eq!((stats.acked, stats.failed), (100, 0), "seed {seed}");
//!     let seen: std::collections::BTreeSet<i64> = capture.rows().iter().filter_map(|row| row[0].as_i64()).collect();
//!     assert_eq!(seen.len(), 100, "seed {seed}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! **4. Does a sink or spout of your own keep what exactly-once asks of it?** Crash it at every step of its protocol, by
//! [`conformance::SinkCheck`] and [`conformance::check_spout`].

pub mod cluster;
mod complete;
pub mod conformance;
#[doc(hidden)]
pub mod cores;
mod defective_state;
mod defective_storage;
mod doubles;
mod faults;
pub mod harness;
mod row;
mod simulation;

pub use crate::state::StateDisk;
pub use complete::{CompleteOptions, Completed, complete_topology};
pub use doubles::{Capture, CapturedTuple, Feeder, FixedSpout};
pub use faults::{FaultPlan, fail_nth, panic_nth};
pub use harness::{BoltHarness, Emitted, HarnessOptions, Snapshot, SpoutHarness, TestTuple};
pub use simulation::{FaultCounts, SimulatedTopology, SimulationError, SimulationOptions};
