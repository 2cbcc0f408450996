//! Files, pipes and descriptors that squall writes, and signals.
