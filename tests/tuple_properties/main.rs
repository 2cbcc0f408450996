//! What holds for every value and every batch: of the hash, of `serde`, of the codec.

mod codec;
mod hash;
mod serde;
mod values;
