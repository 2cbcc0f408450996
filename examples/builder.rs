//! A topology in Rust, without a document: sentences are split into words and the words counted.
//!
//! ```sh
//! cargo run --example builder
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::io;

use squall::logging::{Levels, LogFormat, Logging};
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};

const SENTENCES: [&str; 3] = [
    "the cow jumped over the moon",
    "an apple a day keeps the doctor away",
    "four score and seven years ago",
];

/// Emits every sentence so many times. The number of a message says which sentence it is, so a
/// message that fails can be emitted again.
struct Sentences {
    next: u64,
    end: u64,
}

impl Sentences {
    fn emit(id: MessageId, out: &mut SpoutOutputs<'_>) -> Result<(), TaskError> {
        let sentence = SENTENCES[id.0 as usize % SENTENCES.len()];
        out.emit_tracked([sentence], id)?;
        Ok(())
    }
}

impl Spout for Sentences {
    fn declare(&self) -> Streams {
        Streams::new(["sentence"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.next == self.end {
            return Ok(SpoutStatus::Exhausted);
        }
        Sentences::emit(MessageId(self.next), out)?;
        self.next += 1;
        Ok(SpoutStatus::Emitted)
    }

    fn fail(
        &mut self,
        id: MessageId,
        failure: &Failure,
        out: &mut SpoutOutputs<'_>,
    ) -> Result<(), TaskError> {
        if failure.is_final { Ok(()) } else { Sentences::emit(id, out) }
    }
}

struct Split;

impl Bolt for Split {
    fn declare(&self) -> Streams {
        Streams::new(["word"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        for word in input.str("sentence")?.split_whitespace() {
            out.emit([word])?;
        }
        Ok(())
    }
}

/// Counts words, and says what it counted when the input has ended.
#[derive(Default)]
struct Count {
    counts: BTreeMap<String, u64>,
}

impl Bolt for Count {
    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        *self.counts.entry(input.str("word")?.to_owned()).or_default() += 1;
        Ok(())
    }

    fn finish(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        for (word, count) in std::mem::take(&mut self.counts) {
            println!("{count:>8} {word}");
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut builder = TopologyBuilder::new("sentences");
    builder.spout("sentences", || Sentences { next: 0, end: 30_000 });
    builder.bolt("split", || Split).parallelism(2).shuffle("sentences");
    builder.bolt("count", Count::default).parallelism(2).fields("split", ["word"]);
    let topology = builder.build()?;

    let log = Logging::start(Levels::default(), LogFormat::Terminal, false, io::stderr());
    let options = LocalOptions { logger: log.logger.clone(), ..LocalOptions::default() };
    let stats = RunningTopology::start(topology, options)?.join();

    println!(
        "{} sentences in {:.2} s: {} acked, {} failed, half of them within {:?}",
        stats.emitted,
        stats.elapsed.as_secs_f64(),
        stats.acked,
        stats.failed,
        stats.complete_latency.p50,
    );
    Ok(())
}
