//! `squall logs TOPOLOGY`.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cli::topologies::client::{ClientError, NimbusClient};
use crate::cli::topologies::reach::NimbusFlag;
use crate::cluster::log_pieces::{
    ASKED_MAX, LINES_MAX, LogAnswer, LogAsked, LogFile, LogFrom, LogPiece, LogQuestion, LogSource,
};
use crate::cluster::operations::TopologyLogs;
use crate::cluster::topologies::TopologyPhase;
use crate::text::{is_to_escape, shown};

const EXAMPLES: &str = "\
Examples:
  squall logs words                            the last lines of its master and of each worker
  squall logs words -f                         and what comes, until Ctrl-C
  squall logs words --worker 2 --lines 500     of one worker
  squall logs words --component count -f       only lines of the component `count`
  squall logs words --output                   what its processes print to stdout and stderr

The master of the topology is asked, and asks the workers. A worker that is just being started cannot
answer. When the topology has ended, its files stay on the hosts until it is removed, in the directories
of the supervisors.

Exit codes: 0 the lines were shown; 1 those of some process are missing, and stderr says why; 2 the
command line is wrong; 3 there is no such topology; 4 no nimbus answers, or none leads.";

/// How often it is asked again.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Show what the workers of a topology of the cluster log, and its master
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The topology, by its name
    #[arg(value_name = "TOPOLOGY")]
    topology: String,

    /// Go on with what comes, until the topology has ended or Ctrl-C is pressed
    ///
    /// Log files that are renamed meanwhile, and workers that are started again or move, are followed.
    #[arg(short, long)]
    follow: bool,

    /// Only lines that name this component
    #[arg(long, value_name = "NAME", conflicts_with = "output")]
    component: Option<String>,

    /// Only this worker, by its number; may be repeated
    #[arg(long = "worker", value_name = "N")]
    workers: Vec<u16>,

    /// Only the master; with `--worker`, it too
    #[arg(long)]
    master: bool,

    /// How many lines of each process, those that come last
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=i64::from(LINES_MAX)))]
    lines: u32,

    /// What processes print to stdout and stderr, instead of what they log
    #[arg(long)]
    output: bool,

    /// Leave out which process a line is of
    #[arg(long)]
    no_prefix: bool,

    #[command(flatten)]
    nimbus: NimbusFlag,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let mut client = args.nimbus.client()?;
    let workers = check(args, &mut client)?;
    let mut tails = Tails::new(args, &workers);
    let mut last_waiting = String::new();
    loop {
        let mut round = Round::default();
        match look(args, &mut client, &mut tails, &mut round) {
            Ok(()) => last_waiting.clear(),
            // Another nimbus may lead soon.
            Err(LookError::Client(ClientError::Unreachable(why))) if args.follow && tails.has_begun => {
                if last_waiting != why {
                    terminal::write_message(&format!("waiting: {why}"));
                    last_waiting = why;
                }
            }
            Err(LookError::Client(error)) => return Err(error.into()),
            Err(LookError::Print(error)) => return Err(error),
        }
        if round.has_ended {
            tails.finish(args.no_prefix)?;
            terminal::write_message(&format!("{} has ended", shown(&args.topology)));
            return Ok(CommandOutcome::Done);
        }
        if !args.follow {
            tails.finish(args.no_prefix)?;
            return Ok(CommandOutcome::done_if(!round.is_missing));
        }
        if !round.has_more {
            thread::sleep(FOLLOW_EVERY);
        }
    }
}

/// The workers of the topology, if it runs and has what is asked for.
fn check(args: &Args, client: &mut NimbusClient) -> Result<Vec<u16>, CommandError> {
    let status = client.stats(&args.topology)?;
    let topology = &status.topology;
    if topology.phase == TopologyPhase::Ended {
        return Err(CommandError::Refused(format!(
            "{} has ended, and its master with it, so nobody can be asked: until it is removed, its files are on the \
             hosts, below `topologies/{}` in the directory of the supervisor",
            topology.name, topology.id
        )));
    }
    let workers: Vec<u16> = topology.workers.iter().map(|worker| worker.worker).collect();
    if let Some(missing) = args.workers.iter().find(|number| !workers.contains(number)) {
        let numbers: Vec<String> = workers.iter().map(u16::to_string).collect();
        return Err(CommandError::Refused(format!(
            "{} has no worker {missing}: it has {}",
            topology.name,
            if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
        )));
    }
    if let (Some(component), Some(stats)) = (&args.component, &status.stats) {
        let ids: Vec<&str> = stats.summary.components.iter().map(|it| &*it.id).collect();
        if !ids.is_empty() && !ids.contains(&&**component) {
            return Err(CommandError::Refused(format!(
                "{} has no component `{}`: it has {}",
                topology.name,
                shown(component),
                ids.join(", ")
            )));
        }
    }
    Ok(workers)
}

enum LookError {
    Client(ClientError),
    Print(CommandError),
}

/// What was found when all processes were asked once.
#[derive(Default)]
struct Round {
    has_more: bool,
    is_missing: bool,
    has_ended: bool,
}

/// Asks all processes once, some at a time, and prints what they answer.
fn look(
    args: &Args,
    client: &mut NimbusClient,
    tails: &mut Tails,
    round: &mut Round,
) -> Result<(), LookError> {
    let mut asked = BTreeSet::new();
    loop {
        let not_asked = |it: &LogAsked| !asked.contains(&it.process);
        let of: Vec<LogAsked> = tails.questions().into_iter().filter(not_asked).take(ASKED_MAX).collect();
        if of.is_empty() {
            return Ok(());
        }
        asked.extend(of.iter().map(|it| it.process));
        let question = LogQuestion { file: tails.file, component: args.component.clone(), of };
        let logs = client.logs(&args.topology, &question).map_err(LookError::Client)?;
        tails.has_begun = true;
        round.has_ended |= logs.phase == TopologyPhase::Ended;
        round.is_missing |= logs.missing.is_some();
        tails.complain(None, logs.missing.as_deref());
        for answer in &logs.logs {
            round.is_missing |= answer.piece.is_none();
            round.has_more |= answer.piece.as_ref().is_some_and(|piece| !piece.is_end);
            tails.take(answer, args.no_prefix).map_err(LookError::Print)?;
        }
        tails.has(&logs, args);
    }
}

/// The processes whose files are shown.
struct Tails {
    file: LogFile,
    lines: u32,
    tails: BTreeMap<LogSource, Tail>,
    /// What was complained about last, by process; `None`: the topology as a whole.
    complaints: BTreeMap<Option<LogSource>, String>,
    /// Whether there was an answer.
    has_begun: bool,
}

impl Tails {
    /// `workers`: all that there are.
    fn new(args: &Args, workers: &[u16]) -> Tails {
        let file = if args.output { LogFile::Output } else { LogFile::Log };
        let is_named = args.master || !args.workers.is_empty();
        let wanted = if is_named { &args.workers } else { workers };
        let is_master_wanted = args.master || !is_named;
        let sources = wanted.iter().map(|worker| LogSource::Worker(*worker));
        let sources = sources.chain(is_master_wanted.then_some(LogSource::Master));
        let tails = sources.map(|source| (source, Tail::new(args.lines))).collect();
        Tails { file, lines: args.lines, tails, complaints: BTreeMap::new(), has_begun: false }
    }

    fn questions(&self) -> Vec<LogAsked> {
        self.tails.iter().map(|(process, tail)| LogAsked { process: *process, from: tail.from }).collect()
    }

    /// Takes note of the workers that there are now, if all are wanted.
    fn has(&mut self, logs: &TopologyLogs, args: &Args) {
        if args.workers.is_empty() && !args.master {
            for worker in &logs.workers {
                let tail = Tail::new(self.lines);
                self.tails.entry(LogSource::Worker(*worker)).or_insert(tail);
            }
            // While it is being placed anew it has none.
            if !logs.workers.is_empty() {
                self.tails.retain(|process, _| match process {
                    LogSource::Master => true,
                    LogSource::Worker(worker) => logs.workers.contains(worker),
                });
            }
        }
    }

    fn take(&mut self, answer: &LogAnswer, no_prefix: bool) -> Result<(), CommandError> {
        let process = answer.process;
        let gap =
            "a part is missing here: its files were removed before they were read, or it runs elsewhere now";
        match &answer.piece {
            None => self.complain(Some(process), answer.missing.as_deref()),
            Some(piece) => {
                self.complain(Some(process), piece.has_gap.then_some(gap));
                let Some(tail) = self.tails.get_mut(&process) else { return Ok(()) };
                let lines = tail.take(piece);
                self.print(process, &lines, no_prefix)?;
            }
        }
        Ok(())
    }

    /// Writes what is wrong with a process, if it is something else than the last time.
    fn complain(&mut self, process: Option<LogSource>, why: Option<&str>) {
        let Some(why) = why else { return drop(self.complaints.remove(&process)) };
        if self.complaints.get(&process).is_none_or(|before| before != why) {
            let who = process.map_or_else(String::new, |process| format!("{}: ", name(process)));
            terminal::write_message(&format!("{who}{}", shown(why)));
            self.complaints.insert(process, why.to_owned());
        }
    }

    /// Prints what has no end of a line yet.
    fn finish(&mut self, no_prefix: bool) -> Result<(), CommandError> {
        let processes: Vec<LogSource> = self.tails.keys().copied().collect();
        for process in processes {
            let rest = self.tails.get_mut(&process).map(|tail| std::mem::take(&mut tail.unfinished));
            let rest: Vec<String> = rest.into_iter().filter(|rest| !rest.is_empty()).collect();
            self.print(process, &rest, no_prefix)?;
        }
        Ok(())
    }

    fn print(&self, process: LogSource, lines: &[String], no_prefix: bool) -> Result<(), CommandError> {
        if lines.is_empty() {
            return Ok(());
        }
        let names = self.tails.keys().map(|process| name(*process));
        let width = names.map(|name| name.len()).max().unwrap_or(0);
        let is_alone = self.tails.len() == 1;
        let prefix = match no_prefix || is_alone {
            true => String::new(),
            false => format!("{:width$} | ", name(process)),
        };
        let text: String = lines.iter().map(|line| format!("{prefix}{}\n", harmless(line))).collect();
        terminal::print(&text)
    }
}

/// One file that is read piece by piece.
#[derive(Debug)]
struct Tail {
    from: LogFrom,
    /// The begin of a line whose end has not come.
    unfinished: String,
}

impl Tail {
    fn new(lines: u32) -> Tail {
        Tail { from: LogFrom::Last(lines), unfinished: String::new() }
    }

    /// Takes a piece. Returns the lines that are whole now.
    fn take(&mut self, piece: &LogPiece) -> Vec<String> {
        self.from = LogFrom::At(piece.next);
        let mut whole = Vec::new();
        if piece.has_gap && !self.unfinished.is_empty() {
            whole.push(std::mem::take(&mut self.unfinished));
        }
        for part in piece.text.split_inclusive('\n') {
            self.unfinished.push_str(part);
            if let Some(line) = self.unfinished.strip_suffix('\n') {
                whole.push(line.to_owned());
                self.unfinished.clear();
            }
        }
        whole
    }
}

fn name(process: LogSource) -> String {
    match process {
        LogSource::Master => "master".to_owned(),
        LogSource::Worker(worker) => format!("worker-{worker}"),
    }
}

/// A line of another process, so that it drives no terminal. Tabs stay.
fn harmless(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for character in line.chars() {
        match character {
            '\t' => text.push('\t'),
            other if is_to_escape(other) => text.extend(other.escape_debug()),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::log_pieces::LogPosition;

    fn piece(text: &str, offset: u64, has_gap: bool) -> LogPiece {
        LogPiece { text: text.to_owned(), next: LogPosition { file: 1, offset }, is_end: true, has_gap }
    }

    #[test]
    fn lines_are_shown_when_they_are_whole() {
        let mut tail = Tail::new(5);
        assert_eq!(tail.take(&piece("one\ntw", 6, false)), ["one"]);
        assert_eq!(tail.from, LogFrom::At(LogPosition { file: 1, offset: 6 }));
        assert_eq!(tail.take(&piece("", 6, false)), [""; 0]);
        assert_eq!(tail.take(&piece("o\n\nthree", 20, false)), ["two", ""]);
        assert_eq!(tail.take(&piece("four\n", 5, true)), ["three", "four"], "the end of `three` is gone");
        assert!(tail.unfinished.is_empty());
    }

    #[test]
    fn a_line_of_another_process_drives_no_terminal() {
        assert_eq!(harmless("a\tb \u{1b}[2J\u{202e}\r"), "a\tb \\u{1b}[2J\\u{202e}\\r");
    }
}
