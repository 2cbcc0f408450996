//! Whether a sink or a spout of one's own keeps what it promises for exactly-once.
//!
//! A sink or spout that is wrong in a crash looks right as long as nothing crashes. These checks crash it at every step
//! of its protocol, let another instance go on from the last complete checkpoint, and compare what is there in the end.

mod broken;
mod script;
mod sink;
mod spout;

pub use broken::{Broken, BrokenPromises};
pub use sink::{SinkCheck, SinkReport};
pub use spout::{SpoutReport, check_registered_spout, check_spout};
