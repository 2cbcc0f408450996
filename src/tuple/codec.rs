//! The versioned binary form of tuples.
