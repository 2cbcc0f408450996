//! `squall nimbus` and `squall supervisor`: the daemons of a cluster, in the foreground.

pub(super) mod api;
pub(super) mod nimbus;
mod start;
pub(super) mod supervisor;
