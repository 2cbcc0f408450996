//! Real worker processes in trouble: killed, stopped, cut off, starved, and behind a bad network.
#[path = "../kit/mod.rs"]
mod kit;
mod ledger;
mod nemesis;
mod network;
mod processes;
mod proxy;
mod round;
