//! Which values of a tuple are its key: the fields that the bolt's input is grouped by.

use std::sync::Arc;

use crate::api::component_info::InputInfo;
use crate::api::context::TaskContext;
use crate::api::input::SourceMeta;

/// Finds the key of the tuples of a batch.
pub(crate) struct InputKeys {
    inputs: Vec<InputInfo>,
    /// The source that `positions` are of.
    source: Option<Arc<SourceMeta>>,
    positions: Vec<usize>,
}

impl InputKeys {
    /// Of the inputs of a task's component.
    pub(crate) fn new(context: &TaskContext) -> InputKeys {
        InputKeys { inputs: context.inputs().to_vec(), source: None, positions: Vec::new() }
    }

    /// The positions of the key in tuples of this source; none if they are not grouped by fields.
    #[inline]
    pub(crate) fn positions(&mut self, source: &Arc<SourceMeta>) -> &[usize] {
        if !self.source.as_ref().is_some_and(|known| Arc::ptr_eq(known, source)) {
            self.look_up(source);
        }
        &self.positions
    }

    #[cold]
    fn look_up(&mut self, source: &Arc<SourceMeta>) {
        let is_of = |input: &&InputInfo| input.component == source.component && input.stream == source.stream;
        let key = self.inputs.iter().find(is_of).map(|input| &input.key);
        self.positions.clear();
        self.positions
            .extend(key.into_iter().flat_map(|key| key.iter()).filter_map(|f| source.fields.position(f)));
        self.source = Some(Arc::clone(source));
    }
}
