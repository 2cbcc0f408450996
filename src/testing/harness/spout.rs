//! The harness of a spout.

use crate::api::{
    Failure, FailureCause, OutputCollector as _, OutputState, Positions, Spout, SpoutOutputs, SpoutStatus,
    Streams, TaskError,
};
use crate::clock::Clock;
use crate::ids::MessageId;
use crate::metrics::MetricsRegistry;
use crate::testing::harness::options::{HarnessOptions, constructor};
use crate::testing::harness::record::{Emitted, Record, record_access};
use crate::topology::graph::Constructor;
use crate::topology::registry::Registry;
use crate::tuple::Value;

/// A spout by itself. Its messages stay open until the test acks or fails them. In at-most-once delivery
/// each message is acked at once.
///
/// # Examples
/// ```
/// use squall::prelude::*;
/// use squall::testing::SpoutHarness;
///
/// struct Once(bool);
/// impl Spout for Once {
///     fn declare(&self) -> Streams {
///         Streams::new(["n"])
///     }
///     fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
///         if std::mem::replace(&mut self.0, true) {
///             return Ok(SpoutStatus::Exhausted);
///         }
///         out.emit_tracked([1], MessageId(7))?;
///         Ok(SpoutStatus::Emitted)
///     }
/// }
///
/// let mut once = SpoutHarness::new(Once(false));
/// assert_eq!(once.next(), Some(SpoutStatus::Emitted));
/// assert_eq!(once.next(), Some(SpoutStatus::Exhausted));
/// assert_eq!(once.take_emitted()[0].anchors, [7]);
/// ```
pub struct SpoutHarness {
    spout: Box<dyn Spout>,
    streams: Streams,
    outputs: OutputState,
    record: Record,
    metrics: MetricsRegistry,
    clock: Clock,
}

impl SpoutHarness {
    /// Opens and activates a spout, with the default [`HarnessOptions`].
    ///
    /// # Panics
    /// When `open` or `activate` fails.
    pub fn new(spout: impl Spout + 'static) -> SpoutHarness {
        let harness = SpoutHarness::start(Box::new(spout), &HarnessOptions::default());
        harness.unwrap_or_else(|error| panic!("the spout cannot be opened: {error}"))
    }

    /// Opens and activates a spout.
    ///
    /// # Errors
    /// What `open` or `activate` returned.
    pub fn start(mut spout: Box<dyn Spout>, options: &HarnessOptions) -> Result<SpoutHarness, TaskError> {
        let (streams, metrics) = (spout.declare(), MetricsRegistry::default());
        spout.open(&options.context(&streams, &metrics))?;
        spout.activate()?;
        let tracked = options.delivery.tracks_tuples();
        let outputs = options.outputs(&streams);
        let record = Record { tracked, ..Record::default() };
        Ok(SpoutHarness { spout, streams, outputs, record, metrics, clock: options.clock.clone() })
    }

    /// Builds a registered spout from the text of its `config` table, and opens it.
    ///
    /// # Errors
    /// When the type is unknown or no spout, the settings do not fit, or `open` fails.
    pub fn registered(
        registry: &Registry,
        type_name: &str,
        config: &str,
        options: &HarnessOptions,
    ) -> Result<SpoutHarness, TaskError> {
        match constructor(registry, type_name, config)? {
            Constructor::Spout(build) => SpoutHarness::start(build()?, options),
            Constructor::Bolt(_) => Err(TaskError::new(format!("`{type_name}` is a bolt"))),
        }
    }

    /// Calls `next_tuple`. Returns `None` if it failed; the error is then in [`SpoutHarness::errors`].
    #[allow(clippy::should_implement_trait, reason = "it is the spout's next tuple, not an iterator's")]
    pub fn next(&mut self) -> Option<SpoutStatus> {
        let begun = self.record.messages.len();
        let mut out = SpoutOutputs::new(&mut self.outputs, &mut self.record);
        let status = match self.spout.next_tuple(&mut out) {
            Ok(status) => Some(status),
            Err(error) => {
                self.record.report(error);
                None
            }
        };
        self.settle();
        if !self.record.tracked {
            for nth in begun..self.record.messages.len() {
                self.ack(self.record.messages[nth]);
            }
        }
        status
    }

    /// Calls `next_tuple` until it emits nothing, at most so many times, and returns the last status.
    /// Errors are collected and do not end the loop.
    pub fn run(&mut self, at_most: usize) -> Option<SpoutStatus> {
        let mut last = None;
        for _ in 0..at_most {
            last = self.next();
            if !matches!(last, Some(SpoutStatus::Emitted) | None) {
                break;
            }
        }
        last
    }

    /// Where the spout stands: calls `snapshot`.
    ///
    /// # Errors
    /// What `snapshot` returned.
    pub fn snapshot(&mut self) -> Result<Positions, TaskError> {
        let mut positions = Positions::default();
        self.spout.snapshot(&mut positions)?;
        Ok(positions)
    }

    /// Calls `restore`. To be called before anything was emitted.
    ///
    /// # Errors
    /// What `restore` returned.
    pub fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        self.spout.restore(positions)
    }

    /// A checkpoint with this position is complete: calls `committed`.
    ///
    /// # Errors
    /// What `committed` returned.
    pub fn committed(&mut self, positions: &Positions) -> Result<(), TaskError> {
        self.spout.committed(positions)
    }

    /// Acks a message.
    pub fn ack(&mut self, id: MessageId) {
        if let Err(error) = self.spout.ack(id) {
            self.record.report(error);
        }
    }

    /// Fails a message for the first time. The failure is not final.
    pub fn fail(&mut self, id: MessageId) {
        self.fail_with(id, Failure { cause: FailureCause::Failed, failures: 1, is_final: false });
    }

    /// Fails a message.
    pub fn fail_with(&mut self, id: MessageId, failure: Failure) {
        let mut out = SpoutOutputs::new(&mut self.outputs, &mut self.record);
        if let Err(error) = self.spout.fail(id, &failure, &mut out) {
            self.record.report(error);
        }
        self.settle();
    }

    /// Calls `close`.
    pub fn close(&mut self) {
        self.spout.close();
    }

    record_access!();

    fn settle(&mut self) {
        self.record.take_all(&mut self.outputs);
    }
}
