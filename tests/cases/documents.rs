//! Topology documents, settings of the command line, and the other commands.
