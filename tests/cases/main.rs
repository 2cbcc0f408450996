//! What users tripped over, run as users run it: odd inputs, full disks, closed outputs, hostile
//! documents. Each test starts the binary `squall` in a directory of its own, and looks at the rows,
//! the messages and the exit code.
//!
//! * `kit`: a directory, a run of squall in it, and what the run came to.
//! * `input`: files, pipes and descriptors that squall reads.
//! * `output`: files, pipes and descriptors that squall writes, and signals.
//! * `values`: parsing, expressions, numbers, text and time.
//! * `documents`: topology documents, settings of the command line, and the other commands.
//! * `delivery`: failures, replays, dead letters and what ends a run.
//! * `threads`: every component on a driver thread and on a thread of its own.
//! * `workers`: the same in several worker processes.

mod delivery;
mod documents;
mod input;
mod kit;
mod output;
mod threads;
mod values;
mod workers;
