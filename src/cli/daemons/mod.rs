//! `squall nimbus` and `squall supervisor`: the daemons of a cluster, in the foreground. `drain`, `undrain`: what an
//! operator wants of the host of a supervisor. `hosts`: what is there, for people.

pub(super) mod api;
mod drain;
pub(super) mod hosts;
pub(super) mod nimbus;
mod start;
pub(super) mod supervisor;
mod undrain;

pub(super) use start::key_file_of;
