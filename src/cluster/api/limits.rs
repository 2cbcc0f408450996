//! What the server allows.

use std::time::Duration;

/// The bounds of an [`ApiServer`](super::ApiServer). [`Default`] has those of `squall nimbus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// Connections at a time. Further ones wait in the queue of the kernel.
    pub connections_max: usize,
    /// Connections at a time whose TLS handshake has not ended. A further one cuts the one that has waited longest.
    pub handshakes_max: usize,
    /// How long a TLS handshake may take.
    pub handshake_time: Duration,
    /// Blobs that are received or sent at a time, because each is in memory as a whole. Further ones wait.
    pub blobs_max: usize,
    /// Calls that run or wait for a thread. Further ones are refused.
    pub calls_max: usize,
    /// Threads for calls.
    pub call_threads: usize,
    /// Masters that are asked at a time. Further requests wait for their turn.
    pub masters_max: usize,
    /// How long they wait. Then they are refused.
    pub master_turn_time: Duration,
    /// Bytes of a blob.
    pub blob_bytes_max: usize,
    /// Bytes of any other body.
    pub json_bytes_max: usize,
    /// How long a client may take to send the line of its request and the headers.
    pub head_time: Duration,
    /// How long it may take to send the body.
    pub body_time: Duration,
    /// How long a call may take.
    pub call_time: Duration,
    /// How long a connection may last, the reading of the answer included.
    pub connection_time: Duration,
    /// How long the end of the server waits for requests that have begun.
    pub end_time: Duration,
}

impl Default for ApiLimits {
    fn default() -> ApiLimits {
        ApiLimits {
            connections_max: 256,
            handshakes_max: 64,
            handshake_time: Duration::from_secs(5),
            blobs_max: 4,
            calls_max: 64,
            call_threads: 8,
            masters_max: 4,
            master_turn_time: Duration::from_secs(5),
            blob_bytes_max: 64 << 20,
            json_bytes_max: 1 << 20,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(60),
            call_time: Duration::from_secs(60),
            connection_time: Duration::from_secs(180),
            end_time: Duration::from_secs(5),
        }
    }
}
