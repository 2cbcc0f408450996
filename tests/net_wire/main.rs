//! Links between workers, over pipes that break at any byte.

mod cuts;
#[path = "../net_kit/mod.rs"]
mod kit;
mod late;
mod members;
mod refusals;
mod seeds;
mod silence;
