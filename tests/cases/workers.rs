//! Losses and ends of runs in several worker processes.
