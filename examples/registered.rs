//! A topology in Rust that runs in worker processes: the program registers it under a name, and has
//! all of squall's commands.
//!
//! ```sh
//! cargo run --example registered -- run words --workers 2
//! cargo run --example registered -- run words --set bolt.count.parallelism=4
//! cargo run --example registered -- graph words
//! ```
//!
//! A worker process is this program, started again: its `main` builds the registry, and squall calls
//! the registered function for the topology. So the function must build the same each time.

use std::collections::BTreeMap;
use std::process::ExitCode;

use squall::prelude::*;
use squall::testing::FixedSpout;

/// Counts words, and prints what it counted when the input has ended. Fields grouping gives each task
/// words of its own, so the tasks' lines together are the whole count.
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

fn words() -> TopologyBuilder {
    let sentences = ["the cow jumped over the moon", "an apple a day keeps the doctor away"];
    let rows = move || (0..2000).map(move |n| vec![Value::from(sentences[n % sentences.len()])]);
    let mut builder = TopologyBuilder::new("words");
    builder.spout("sentences", move || FixedSpout::new(["sentence"], rows()));
    builder
        .bolt_fn("split", Streams::new(["word"]), |input, out| {
            for word in input.str("sentence")?.split_whitespace() {
                out.emit([word])?;
            }
            Ok(())
        })
        .parallelism(2)
        .shuffle("sentences");
    builder.bolt("count", Count::default).parallelism(2).fields("split", ["word"]);
    builder
}

fn main() -> ExitCode {
    let mut registry = Registry::with_standard();
    registry.topology("words", || words().build());
    squall::cli::run(registry)
}
