//! What the tuples that a call emits are anchored to.

use crate::api::outputs::Outputs;
use crate::tuple::Anchor;

impl<'a> Outputs<'a> {
    /// What is emitted in this call is not anchored.
    pub(crate) fn unanchored<R>(&mut self, call: impl FnOnce(&mut Outputs<'a>) -> R) -> R {
        self.with_anchors(Anchor::NONE, Vec::new(), call)
    }

    /// What is emitted in this call is anchored to these, and not to the current input.
    pub(super) fn with_anchors<R>(
        &mut self,
        anchor: Anchor,
        extras: Vec<Anchor>,
        call: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let outer_anchor = std::mem::replace(&mut self.state.anchor, anchor);
        let outer_extras = std::mem::replace(&mut self.state.extra_anchors, extras);
        let result = call(self);
        (self.state.anchor, self.state.extra_anchors) = (outer_anchor, outer_extras);
        result
    }
}
