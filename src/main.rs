//! squall's own binary.

fn main() {}
