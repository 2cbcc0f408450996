//! Asks a run for a checkpoint that begins now, and shows on stderr that it is waited for.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli::error::CommandError;
use crate::cli::runs::directory::Run;
use crate::cli::runs::messages::{Reply, Request, read, write};
use crate::cli::terminal::{self, Stream};
use crate::clock::Clock;
use crate::ids::CheckpointId;
use crate::text::shown;

/// How often it is shown how long the command has waited. The first time is after as long.
const SHOW_PERIOD: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// How much longer than the run may take the answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Has a run take a checkpoint that begins now, and waits until it is complete, at most for so long.
pub(in crate::cli) fn checkpoint_now(run: &Run, at_most: Duration) -> Result<CheckpointId, CommandError> {
    let name = shown(&run.name);
    let wait_ms = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX);
    let ask = || {
        let stream = UnixStream::connect(&run.socket)?;
        write(&stream, &Request::Checkpoint { wait_ms })?;
        let is_answered = wait_for(&stream, &name, at_most)?;
        is_answered.then(|| read(&stream)).transpose()
    };
    let advice = match &run.info.checkpoint {
        Some(_) => {
            "`--latest` shows the state of its latest complete checkpoint, and `--timeout` waits longer"
        }
        None => "`--timeout` waits longer",
    };
    let refused = |why: &str| Err(CommandError::Refused(format!("the run `{name}`: {why}: {advice}")));
    match ask().map_err(CommandError::io(format!("talk to the run `{name}`")))? {
        Some(Reply::Checkpoint(checkpoint)) => checkpoint.parse().map_err(|_| {
            CommandError::Refused(format!("the run `{name}` named no checkpoint: {}", shown(checkpoint)))
        }),
        Some(Reply::Error(why)) => refused(&shown(why)),
        Some(reply) => Err(CommandError::Refused(format!("the run gave another answer: {reply:?}"))),
        None => refused("it did not answer in time"),
    }
}

/// Waits until the run answers. Returns whether it has, in time.
fn wait_for(stream: &UnixStream, run: &str, at_most: Duration) -> std::io::Result<bool> {
    let clock = Clock::real();
    let begun = clock.now();
    let deadline = begun.after(at_most).after(ANSWER_WAIT);
    let mut shown_wait = ShownWait::Not;
    loop {
        if poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&SHOW_PERIOD))? > 0 {
            return Ok(true);
        }
        let now = clock.now();
        if now >= deadline {
            return Ok(false);
        }
        shown_wait.show(run, now.since(begun), at_most);
    }
}

/// How it is shown that the command waits: by a line on a terminal, by one message elsewhere.
enum ShownWait {
    /// Not yet.
    Not,
    /// By a message.
    Message,
    /// By a line, which is removed in the end.
    Line(ProgressBar),
}

impl ShownWait {
    fn show(&mut self, run: &str, waited: Duration, at_most: Duration) {
        if let ShownWait::Not = self {
            *self = match Stream::Err.is_terminal() {
                true => {
                    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                    let style = ProgressStyle::with_template("{spinner} {wide_msg}");
                    line.set_style(style.expect("the template is correct"));
                    ShownWait::Line(line)
                }
                false => {
                    let text = format!("waiting for a checkpoint of `{run}`, at most {at_most:?}");
                    terminal::write_message(&text);
                    ShownWait::Message
                }
            };
        }
        if let ShownWait::Line(line) = self {
            let (waited, most) = (waited.as_secs(), at_most.as_secs());
            line.set_message(format!("waiting for a checkpoint of `{run}`  {waited} s of {most} s"));
            line.tick();
        }
    }
}

impl Drop for ShownWait {
    fn drop(&mut self) {
        if let ShownWait::Line(line) = self {
            line.finish_and_clear();
        }
    }
}
