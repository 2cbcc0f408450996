//! Output to stdout and stderr, and its colours.

use std::env;
use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal};

use clap::ValueEnum;

use crate::cli::error::CommandError;
use crate::components::stream::{Stream as OutputStream, write_counted};
use crate::text::{escaped_json, is_to_escape, shown_lines};

/// When to colour. What they mean stands at the flag, so that its help stays short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorWhen {
    #[default]
    Auto,
    Always,
    Never,
}

/// One of the two standard streams that a command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Data.
    Out,
    /// Messages.
    Err,
}

impl Stream {
    /// Whether it is a terminal.
    pub(super) fn is_terminal(self) -> bool {
        match self {
            Stream::Out => io::stdout().is_terminal(),
            Stream::Err => io::stderr().is_terminal(),
        }
    }
}

impl ColorWhen {
    /// Whether output to this stream is coloured.
    pub(super) fn applies_to(self, stream: Stream) -> bool {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        self.applies(stream.is_terminal(), is_set("NO_COLOR") || dumb)
    }

    fn applies(self, to_terminal: bool, unwanted: bool) -> bool {
        match self {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => to_terminal && !unwanted,
        }
    }
}

/// Writes a command's result to stdout.
pub(super) fn print(text: &str) -> Result<(), CommandError> {
    write_counted(&mut OutputStream::stdout(), text.as_bytes()).map_err(|unwritten| {
        let source = unwritten.error;
        match source.kind() {
            ErrorKind::BrokenPipe => CommandError::NobodyReads,
            _ => CommandError::Io { action: "write to standard output".to_owned(), source },
        }
    })
}

/// Writes a JSON document to stdout, on several lines.
pub(super) fn print_json(document: &serde_json::Value) -> Result<(), CommandError> {
    print(&escaped_json(&format!("{document:#}\n")))
}

/// Writes a message to stderr. A failed write is ignored.
pub(super) fn write_message(text: &str) {
    let _ = write_counted(&mut OutputStream::stderr(), format!("{text}\n").as_bytes());
}

/// Prints the output of the parser of the command line: help on stdout, mistakes on stderr.
pub(super) fn print_usage(usage: &clap::Error) -> Result<(), CommandError> {
    let stream = if usage.use_stderr() { Stream::Err } else { Stream::Out };
    let text = usage.render();
    let plain = text.to_string();
    // The parser removes escape sequences from text that it quotes, but not other control characters.
    let is_hostile = plain.contains(|c: char| is_to_escape(c) && c != '\n');
    let text = match (is_hostile, ColorWhen::Auto.applies_to(stream)) {
        (true, _) => shown_lines(&plain),
        (false, true) => text.ansi().to_string(),
        (false, false) => plain,
    };
    match stream {
        Stream::Out => print(&text),
        Stream::Err => {
            write_message(text.trim_end());
            Ok(())
        }
    }
}

/// Prints an error with all its causes.
pub(super) fn write_error(error: &dyn Error, color: bool) {
    let head = if color { "\x1b[1;31merror\x1b[0m: " } else { "error: " };
    write_message(&format!("{head}{}", with_causes(error)));
}

/// The text of an error and of all its causes. A cause that is in the text of its error already is not repeated.
fn with_causes(error: &dyn Error) -> String {
    let mut last = error.to_string();
    let mut text = shown_lines(&last);
    let mut next = error.source();
    while let Some(cause) = next {
        let of_cause = cause.to_string();
        if !last.contains(&of_cause) {
            text.extend([": ", &shown_lines(&of_cause)]);
        }
        last = of_cause;
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::CheckpointError;

    /// What a full disk does to a checkpoint was printed as `No space left on device; free some space there: No space
    /// left on device`.
    #[test]
    fn a_cause_is_printed_once() {
        let source = || io::Error::other("it is full");
        let location = "the directory `a`".to_owned();
        let named = CheckpointError::Open { location, source: source() };
        assert_eq!(with_causes(&named), "cannot open the directory `a`: it is full");
        let left_out = CommandError::Io { action: "write `a`".to_owned(), source: source() };
        assert_eq!(with_causes(&left_out), "cannot write `a`: it is full");
    }

    #[test]
    fn colours_go_where_somebody_looks() {
        let check = |when: ColorWhen, to_terminal, unwanted, expected| {
            assert_eq!(when.applies(to_terminal, unwanted), expected, "{when:?} {to_terminal} {unwanted}");
        };
        check(ColorWhen::Auto, true, false, true);
        check(ColorWhen::Auto, true, true, false);
        check(ColorWhen::Auto, false, false, false);
        check(ColorWhen::Always, false, true, true);
        check(ColorWhen::Never, true, false, false);
    }
}
