//! Bodies of requests: read to the end, within bounds.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytesize::ByteSize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::cluster::api::answer::{ApiError, ErrorCode};

/// So many bytes of a body that is too large are thrown away before the answer, because a client that is still
/// sending may lose an answer that comes with the end of the connection.
const DISCARDED_MAX: usize = 1 << 20;

/// The body as JSON.
pub(super) async fn read_json<T: DeserializeOwned>(
    body: Body,
    bytes_max: usize,
    time: Duration,
) -> Result<T, ApiError> {
    let bytes = read(body, bytes_max, time).await?;
    // serde would take the fields of a struct from an array, too, by their order.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(ApiError::new(ErrorCode::Malformed, "the body is no JSON object"));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        ApiError::new(ErrorCode::Malformed, format!("the body is not what is expected: {error}"))
    })
}

/// The body.
pub(super) async fn read(body: Body, bytes_max: usize, time: Duration) -> Result<Vec<u8>, ApiError> {
    match timeout(time, collect(body, bytes_max)).await {
        Ok(result) => result,
        Err(_) => {
            let message = format!("the body did not come within {}", humantime::format_duration(time));
            Err(ApiError::new(ErrorCode::TooSlow, message))
        }
    }
}

async fn collect(mut body: Body, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
    let too_large = || {
        let message = format!("the body has more than {} bytes ({})", bytes_max, ByteSize(bytes_max as u64));
        ApiError::new(ErrorCode::TooLarge, message)
    };
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(too_large());
    }
    // What is announced is not trusted with more memory than a page before it comes.
    let mut collected = Vec::new();
    let mut seen = 0_usize;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| ApiError::new(ErrorCode::Malformed, "the body ends before its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= bytes_max {
            collected.extend_from_slice(&data);
        } else if seen > bytes_max.saturating_add(DISCARDED_MAX) {
            break;
        } else {
            collected = Vec::new();
        }
    }
    if seen > bytes_max { Err(too_large()) } else { Ok(collected) }
}
