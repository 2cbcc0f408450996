//! Files, pipes and descriptors that squall reads.
