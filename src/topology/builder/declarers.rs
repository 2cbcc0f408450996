//! What is declared of one spout or bolt: its options, and the streams that a bolt takes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::api::{CustomGrouping, TaskHook};
use crate::config::{
    AutoOr, BoltStateOptions, ChainMode, ComponentOptions, EventTimeOptions, OnError, Resources,
};
use crate::ids::DEFAULT_STREAM;
use crate::topology::draft::DraftInput;
use crate::topology::graph::{Constructor, Grouping, GroupingFactory, HookFactory};
use crate::tuple::Fields;

/// A component as it was handed over.
pub(super) struct Declared {
    pub(super) id: SmolStr,
    pub(super) constructor: Constructor,
    pub(super) inputs: Vec<DraftInput>,
    pub(super) options: ComponentOptions,
    pub(super) hooks: Vec<HookFactory>,
    /// Whether `feedback()` was called before any input was declared.
    pub(super) feedback_of_nothing: bool,
}

/// Which stream of which component: `"lines"` is the default stream of `lines`, and
/// `("lines", "rejected")` its stream `rejected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRef {
    /// The component.
    pub component: SmolStr,
    /// Its stream.
    pub stream: SmolStr,
}

impl From<&str> for StreamRef {
    fn from(component: &str) -> StreamRef {
        StreamRef::from((component, DEFAULT_STREAM))
    }
}

impl From<&String> for StreamRef {
    fn from(component: &String) -> StreamRef {
        StreamRef::from(component.as_str())
    }
}

impl From<(&str, &str)> for StreamRef {
    fn from((component, stream): (&str, &str)) -> StreamRef {
        StreamRef { component: SmolStr::new(component), stream: SmolStr::new(stream) }
    }
}

/// Declares more about a spout.
pub struct SpoutDeclarer<'a>(pub(super) &'a mut Declared);

/// Declares more about a bolt. At least one input is needed.
///
/// An input is named by a component id, for its default stream, or by a pair of component id and
/// stream: `.shuffle("split")`, `.fields(("split", "long"), ["word"])`.
pub struct BoltDeclarer<'a>(pub(super) &'a mut Declared);

macro_rules! common_declarations {
    ($declarer:ident) => {
        impl $declarer<'_> {
            /// How many executors step its tasks; 1 by default.
            pub fn parallelism(self, executors: u32) -> Self {
                self.0.options.parallelism = executors;
                self
            }

            /// Where the time stands in what the component emits. Everything behind it knows from then on how far event
            /// time has come: [`Outputs::watermark`](crate::api::Outputs::watermark).
            ///
            /// # Examples
            /// ```
            /// use squall::config::EventTimeOptions;
            /// use squall::prelude::*;
            /// use squall::testing::{Capture, Feeder};
            ///
            /// let mut builder = TopologyBuilder::new("clicks");
            /// builder.spout("clicks", Feeder::new(["page", "at"]).spout()).event_time(EventTimeOptions::of("at"));
            /// builder.bolt("seen", Capture::new().bolt()).shuffle("clicks");
            /// builder.build()?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn event_time(self, options: EventTimeOptions) -> Self {
                self.0.options.event_time = Some(options);
                self
            }

            /// How many tasks there are; by default one per executor.
            pub fn tasks(self, tasks: u32) -> Self {
                self.0.options.tasks = Some(tasks);
                self
            }

            /// Declares that its calls wait, so that each executor gets a thread of its own.
            pub fn blocking(self) -> Self {
                self.0.options.blocking = true;
                self
            }

            /// Sets whether it may run fused with its neighbours, instead of the topology's `chain`; see
            /// [`Topology::chains`](crate::topology::Topology::chains).
            pub fn chain(self, mode: ChainMode) -> Self {
                self.0.options.chain = Some(mode);
                self
            }

            /// What each of its tasks needs, for a cluster that chooses hosts by it
            /// ([`SchedulingStrategy::ResourceAware`](crate::config::SchedulingStrategy::ResourceAware)).
            ///
            /// # Examples
            /// ```
            /// use squall::config::{Resources, SchedulingStrategy};
            /// use squall::prelude::*;
            /// use squall::testing::{Capture, Feeder};
            ///
            /// let mut builder = TopologyBuilder::new("clicks");
            /// builder.options(|options| options.scheduling.strategy = SchedulingStrategy::ResourceAware);
            /// builder.spout("clicks", Feeder::new(["page"]).spout()).resources(Resources::new(0.5, 64 << 20));
            /// builder.bolt("seen", Capture::new().bolt()).shuffle("clicks");
            /// builder.build()?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn resources(self, each_task: Resources) -> Self {
                self.0.options.resources = each_task;
                self
            }

            /// Adds a hook to its tasks, beside those of the topology; each task gets an instance of its
            /// own.
            pub fn hook<H, F>(self, factory: F) -> Self
            where
                H: TaskHook + 'static,
                F: Fn() -> H + Send + Sync + 'static,
            {
                self.0.hooks.push(Arc::new(move || Box::new(factory())));
                self
            }

            /// Sets a free value of this component, laid over the topology's.
            pub fn setting(self, key: impl Into<String>, value: impl Into<toml::Value>) -> Self {
                self.0.options.settings.insert(key.into(), value.into());
                self
            }
        }

        impl fmt::Debug for $declarer<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($declarer)).field(&self.0.id).finish()
            }
        }
    };
}

common_declarations!(SpoutDeclarer);
common_declarations!(BoltDeclarer);

impl SpoutDeclarer<'_> {
    /// How many messages each task may have open, instead of the topology's `max_spout_pending`.
    pub fn max_spout_pending(self, messages: u32) -> Self {
        self.0.options.max_spout_pending = Some(AutoOr::Fixed(messages));
        self
    }

    /// Puts it behind a write-ahead log, so that it can be used with `delivery = "exactly-once"` although it cannot go
    /// back to a position in its input.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// /// Lines of a connection, which come once.
    /// struct Received(Vec<&'static str>);
    ///
    /// impl Spout for Received {
    ///     fn declare(&self) -> Streams {
    ///         Streams::new(["line"])
    ///     }
    ///     fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///         let Some(line) = self.0.pop() else { return Ok(SpoutStatus::Exhausted) };
    ///         out.emit([line])?;
    ///         Ok(SpoutStatus::Emitted)
    ///     }
    /// }
    ///
    /// let mut builder = TopologyBuilder::new("received");
    /// builder.options(|options| options.delivery = Delivery::ExactlyOnce);
    /// builder.spout("lines", || Received(vec!["storm"])).wal();
    /// builder.build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wal(self) -> Self {
        self.0.options.wal = true;
        self
    }
}

impl BoltDeclarer<'_> {
    /// How often `Bolt::tick` is called, instead of the topology's `tick`.
    pub fn tick(self, period: Duration) -> Self {
        self.0.options.tick = Some(period);
        self
    }

    /// After how many replays of its message a tuple that this bolt fails goes to the bolt's
    /// dead-letter stream, instead of the topology's `max_replays`. Where nobody takes that stream, the
    /// message is given up.
    pub fn max_replays(self, replays: u32) -> Self {
        self.0.options.max_replays = Some(replays);
        self
    }

    /// What happens when a call of the bolt fails for a tuple.
    ///
    /// # Examples
    /// ```
    /// use squall::config::{AfterRetries, OnError};
    /// # use squall::prelude::*;
    /// # use squall::testing::{Capture, Feeder};
    /// # let mut builder = TopologyBuilder::new("orders");
    /// # builder.spout("orders", Feeder::new(["id"]).spout());
    /// # let store = || bolt_fn(Streams::none(), |_: Input<'_>, _: &mut Outputs<'_>| Ok(()));
    /// let on_error = OnError { retry: 5, then: AfterRetries::DeadLetter, ..OnError::default() };
    /// builder.bolt("store", store).on_error(on_error).shuffle("orders");
    /// builder.bolt("refused", Capture::new().bolt()).shuffle(("store", "dead-letter"));
    /// # builder.build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_error(self, on_error: OnError) -> Self {
        self.0.options.on_error = Some(on_error);
        self
    }

    /// Where the state of this bolt is kept while it runs, in place of
    /// [`TopologyOptions::state`](crate::config::TopologyOptions::state).
    ///
    /// # Examples
    /// ```
    /// use squall::config::{BoltStateOptions, StateBackendKind};
    /// use squall::prelude::*;
    /// use squall::testing::Feeder;
    ///
    /// let mut builder = TopologyBuilder::new("customers");
    /// # builder.spout("orders", Feeder::new(["customer"]).spout());
    /// # let customers = || bolt_fn(Streams::none(), |_: Input<'_>, _: &mut Outputs<'_>| Ok(()));
    /// let state = BoltStateOptions { backend: Some(StateBackendKind::Redb), memory: Some(256 << 20) };
    /// builder.bolt("customers", customers).state(state).fields("orders", ["customer"]);
    /// # builder.build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state(self, state: BoltStateOptions) -> Self {
        self.0.options.state = state;
        self
    }

    /// Takes a stream, spread evenly over the tasks.
    pub fn shuffle(self, from: impl Into<StreamRef>) -> Self {
        self.input(from, Grouping::Shuffle)
    }

    /// Takes a stream; equal values of these fields go to the same task.
    pub fn fields(self, from: impl Into<StreamRef>, fields: impl Into<Fields>) -> Self {
        self.input(from, Grouping::Fields(fields.into()))
    }

    /// Takes a stream; equal values of these fields go to one of two tasks, whichever had fewer.
    pub fn partial_key(self, from: impl Into<StreamRef>, fields: impl Into<Fields>) -> Self {
        self.input(from, Grouping::PartialKey(fields.into()))
    }

    /// Takes a stream; each task gets every tuple.
    pub fn all(self, from: impl Into<StreamRef>) -> Self {
        self.input(from, Grouping::All)
    }

    /// Takes a stream; one task, that with the lowest id, gets all of it.
    pub fn global(self, from: impl Into<StreamRef>) -> Self {
        self.input(from, Grouping::Global)
    }

    /// Takes a stream, no matter how it is spread.
    pub fn none(self, from: impl Into<StreamRef>) -> Self {
        self.input(from, Grouping::None)
    }

    /// Takes a stream, spread over the tasks in the same worker if there are any.
    pub fn local_or_shuffle(self, from: impl Into<StreamRef>) -> Self {
        self.input(from, Grouping::LocalOrShuffle)
    }

    /// Takes a direct stream, whose emitter names the task.
    pub fn direct(self, from: impl Into<StreamRef>) -> Self {
        self.input(from, Grouping::Direct)
    }

    /// Takes a stream, spread by a grouping of the user's own. The name is for people.
    pub fn custom<G, F>(self, from: impl Into<StreamRef>, name: &str, factory: F) -> Self
    where
        G: CustomGrouping + 'static,
        F: Fn() -> G + Send + Sync + 'static,
    {
        let factory: GroupingFactory = Arc::new(move || Box::new(factory()));
        self.input(from, Grouping::Custom(SmolStr::new(name), factory))
    }

    /// Takes a stream by a grouping that is at hand.
    pub fn input(self, from: impl Into<StreamRef>, grouping: Grouping) -> Self {
        let StreamRef { component, stream } = from.into();
        self.0.inputs.push(DraftInput { component, stream, grouping: Some(grouping), feedback: false });
        self
    }

    /// Marks the input declared last as one that is meant to close a cycle. Without one,
    /// `TopologyBuilder::build` reports it.
    pub fn feedback(self) -> Self {
        match self.0.inputs.last_mut() {
            Some(last) => last.feedback = true,
            None => self.0.feedback_of_nothing = true,
        }
        self
    }
}
