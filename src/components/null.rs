//! `null`: drops and acks whatever comes. For measuring what stands before it.

use crate::api::{Bolt, Input, Outputs, TaskError};
use crate::topology::registry::{NoSettings, Registry};

/// The bolt `null`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl Bolt for Null {
    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt("null", "Drops and acks every tuple.", |_: &NoSettings| Ok(Null))
        .output("none")
        .example("[bolt.sink]\ntype = \"null\"\ninputs = [\"split\"]");
}

#[cfg(test)]
mod tests {
    use crate::components::test_support::bolt;
    use crate::testing::TestTuple;

    #[test]
    fn everything_is_acked_and_nothing_comes_out() {
        let mut null = bolt("null", "");
        null.execute_all([TestTuple::new([1]), TestTuple::new(["x"])]);
        assert!(null.take_emitted().is_empty());
        assert_eq!(null.acked(), [0, 1]);
    }
}
