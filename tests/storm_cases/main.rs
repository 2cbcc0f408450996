//! Storm's own tests, with Storm's numbers, on squall.
//!
//! * [`topologies`]: `TopologyIntegrationTest`, `TestingTest`, `TickTupleTest`, `MessagingTest`.
//! * [`groupings`]: `GroupingTest` and its kin, through the whole runtime.
//! * [`links`]: what `JCQueueTest` and the back-pressure tests ask of queues.
//! * [`state`]: `CheckpointSpoutTest`, `InMemoryKeyValueStateTest`, and Trident's counts of words.
//! * [`windows`]: `WindowManagerTest`, `WaterMarkEventGeneratorTest`, `SlidingWindowTest` and `TumblingWindowTest`.
//!
//! Not here: what belongs to several processes (locality scopes, transport, serialised hops), and
//! `TopologyIntegrationTest.testKryoDecoratorsConfig`, since there is no Kryo and nothing in its
//! place. `testValidateTopologyStructure` stands with the validator's tests (`topology_builder`).

#[path = "../kit/mod.rs"]
mod kit;

mod groupings;
#[path = "../kit/in_order.rs"]
mod in_order;
mod links;
mod state;
mod topologies;
mod windows;
