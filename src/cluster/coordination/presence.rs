//! A held node that shows that a process is there.

use crate::cluster::coordination::error::CoordinationError;
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::service::Coordination;

/// Holds a node with these data, unless it is there as it should be. Its parent is made if it is missing. Returns whether
/// the node was missing, or another one.
///
/// # Errors
/// As [`Coordination::hold`].
pub(crate) fn be_present(
    coordination: &dyn Coordination,
    node: &NodePath,
    data: &[u8],
) -> Result<bool, CoordinationError> {
    if coordination.get(node)?.is_some_and(|found| found.is_held && found.data == data) {
        return Ok(false);
    }
    match coordination.hold(node, data) {
        Err(CoordinationError::Missing(parent)) => {
            match coordination.create(&parent, b"") {
                Ok(_) | Err(CoordinationError::Exists(_)) => {}
                Err(error) => return Err(error),
            }
            coordination.hold(node, data)?;
        }
        held => held?,
    }
    Ok(true)
}
