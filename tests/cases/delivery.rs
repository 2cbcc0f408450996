//! Failures, replays, dead letters and what ends a run.
