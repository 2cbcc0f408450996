//! A program with a bolt of its own and all of squall's commands:
//!
//! ```sh
//! cargo run --example custom_bolt -- run examples/shout.toml
//! cargo run --example custom_bolt -- components shout
//! ```

use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Deserialize;
use squall::prelude::*;

/// What stands in the `config` table of a `shout` bolt. Doc comments and defaults show up in
/// `components shout`, and in the editors that read `schema`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ShoutSettings {
    /// What is put behind each word. At least one character.
    #[serde(default = "exclamation_mark")]
    mark: String,
}

fn exclamation_mark() -> String {
    "!".to_owned()
}

/// Makes words loud; words without a letter go to the stream `silent`.
struct Shout {
    mark: String,
}

impl Shout {
    /// Settings that make no sense are refused here, and the message points into the document.
    fn new(settings: &ShoutSettings) -> Result<Shout, SettingError> {
        if settings.mark.is_empty() {
            return Err(SettingError::at("mark", "without a mark nobody hears it; try \"!\""));
        }
        Ok(Shout { mark: settings.mark.clone() })
    }
}

impl Bolt for Shout {
    fn declare(&self) -> Streams {
        Streams::new(["word"]).stream("silent", ["word"])
    }

    // What is emitted is anchored to the input, and the input is acked when this returns Ok.
    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let word = input.str("word")?;
        if word.contains(char::is_alphabetic) {
            let loud = word.to_uppercase() + &self.mark;
            out.emit([loud])?;
        } else {
            out.emit_to("silent", [word])?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut registry = Registry::with_standard();
    registry
        .bolt("shout", "Makes words loud.", Shout::new)
        .output("word: the word in capitals, with the mark behind it. Stream silent: words without a letter.")
        .example(
            r#"
[bolt.shout]
type = "shout"
inputs = ["split"]
config = { mark = "!" }
"#,
        );
    squall::cli::run(registry)
}
