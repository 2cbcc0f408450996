//! Temporary.
mod tls;
mod transport;
