//! Runs a topology to its end and returns what every component emitted (Storm's
//! `completeTopology`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use smol_str::SmolStr;

use crate::api::{TaskContext, TaskHook, Values};
use crate::ids::{DEFAULT_STREAM, TaskId};
use crate::runtime::TopologyStats;
use crate::testing::doubles::FixedSpout;
use crate::testing::faults::FaultPlan;
use crate::testing::row::row_of;
use crate::testing::simulation::{SimulatedTopology, SimulationError, SimulationOptions};
use crate::topology::TopologyErrors;
use crate::topology::graph::Topology;
use crate::tuple::Value;

type Row = (SmolStr, Vec<Value>);

/// The mocks, the seed and the limits of a run.
#[derive(Clone, Default)]
pub struct CompleteOptions {
    mocks: BTreeMap<String, Vec<Row>>,
    seed: u64,
    faults: FaultPlan,
    timeout: Option<Duration>,
}

impl CompleteOptions {
    /// Replaces a spout by one that emits these rows to its default stream. A row that fails is emitted
    /// again.
    #[must_use]
    pub fn mock<V: Values>(self, spout: &str, rows: impl IntoIterator<Item = V>) -> CompleteOptions {
        self.mock_stream(spout, DEFAULT_STREAM, rows)
    }

    /// As [`mock`](CompleteOptions::mock), for a named stream; several streams add up.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::testing::{CompleteOptions, complete_topology};
    /// # use squall::testing::FixedSpout;
    ///
    /// let mut builder = TopologyBuilder::new("lines");
    /// # let streams = || Streams::new(["line"]).stream("rejected", ["line"]);
    /// # builder.spout("lines", move || FixedSpout::with_streams(streams(), []));
    /// builder
    ///     .bolt_fn("count", Streams::new(["from", "line"]), |input, out| {
    ///         out.emit((input.source_stream(), input.str("line")?))?;
    ///         Ok(())
    ///     })
    ///     .shuffle("lines")
    ///     .shuffle(("lines", "rejected"));
    /// let options = CompleteOptions::default()
    ///     .mock("lines", [["good"]])
    ///     .mock_stream("lines", "rejected", [["bad"]]);
    /// let completed = complete_topology(builder.build()?, options)?;
    /// let expected = [["default", "good"], ["rejected", "bad"]];
    /// assert_eq!(completed.sorted("count"), expected.map(|row| row.map(Value::from)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn mock_stream<V: Values>(
        mut self,
        spout: &str,
        stream: &str,
        rows: impl IntoIterator<Item = V>,
    ) -> CompleteOptions {
        let mocked = self.mocks.entry(spout.to_owned()).or_default();
        mocked.extend(rows.into_iter().map(|values| {
            let row = row_of(values);
            (SmolStr::new(stream), row)
        }));
        self
    }

    /// Sets the seed that decides the order of everything; 0 by default.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> CompleteOptions {
        self.seed = seed;
        self
    }

    /// Sets the faults to inject; none by default.
    #[must_use]
    pub fn faults(mut self, faults: FaultPlan) -> CompleteOptions {
        self.faults = faults;
        self
    }

    /// Sets how much simulated time the run may take; an hour by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> CompleteOptions {
        self.timeout = Some(timeout);
        self
    }
}

/// Why a topology could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompleteError {
    /// A mock does not fit the topology.
    #[error(transparent)]
    Topology(#[from] TopologyErrors),
    /// The simulated run failed.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
}

type Emitted = Arc<Mutex<BTreeMap<(SmolStr, SmolStr), Vec<Vec<Value>>>>>;

/// What a completed topology emitted.
#[derive(Clone, Debug)]
pub struct Completed {
    emitted: BTreeMap<(SmolStr, SmolStr), Vec<Vec<Value>>>,
    /// The final counters.
    pub stats: TopologyStats,
}

impl Completed {
    /// What a component emitted to its default stream, in order.
    pub fn rows(&self, component: &str) -> Vec<Vec<Value>> {
        self.stream(component, DEFAULT_STREAM)
    }

    /// What a component emitted to a stream, in order.
    pub fn stream(&self, component: &str, stream: &str) -> Vec<Vec<Value>> {
        self.emitted.get(&(SmolStr::new(component), SmolStr::new(stream))).cloned().unwrap_or_default()
    }

    /// What a component emitted to its default stream, sorted: for comparisons in which order does
    /// not count.
    pub fn sorted(&self, component: &str) -> Vec<Vec<Value>> {
        let mut rows = self.rows(component);
        rows.sort();
        rows
    }
}

/// Keeps what a task emits.
struct Recorder {
    component: SmolStr,
    emitted: Emitted,
}

impl TaskHook for Recorder {
    fn prepare(&mut self, context: &TaskContext) {
        self.component = SmolStr::new(context.component());
    }

    fn emit(&mut self, stream: &str, tuple: &[Value], _targets: &[TaskId]) {
        let mut emitted = self.emitted.lock().unwrap_or_else(PoisonError::into_inner);
        emitted.entry((self.component.clone(), SmolStr::new(stream))).or_default().push(tuple.to_vec());
    }
}

/// Runs a topology to its end in simulated time and returns what every component emitted. Its
/// spouts must be bounded or mocked.
///
/// # Errors
/// When a mock names no spout, or the run does not end as it should.
pub fn complete_topology(topology: Topology, options: CompleteOptions) -> Result<Completed, CompleteError> {
    let emitted = Emitted::default();
    let mut topology = topology;
    for (spout, rows) in options.mocks {
        let streams =
            topology.component(&spout).map(|component| component.streams.clone()).unwrap_or_default();
        let fixed = FixedSpout::with_streams(streams, rows);
        topology = topology.with_spout(&spout, move || fixed.clone())?;
    }
    let recorded = Arc::clone(&emitted);
    let topology = topology.with_hook(Arc::new(move || {
        Box::new(Recorder { component: SmolStr::default(), emitted: Arc::clone(&recorded) })
    }));
    let simulation = SimulationOptions::seeded(options.seed).faults(options.faults);
    let mut running = SimulatedTopology::start(topology, simulation);
    let stats = running.run_to_end(options.timeout.unwrap_or(Duration::from_secs(3600)))?;
    let emitted = std::mem::take(&mut *emitted.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Completed { emitted, stats })
}
