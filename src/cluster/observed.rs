//! What a master answers to an observer: the counters of its topology, and how each of its workers is.
//!
//! An answer is one line of at most [`ANSWER_MAX`] bytes. What does not fit is left out, and the answer names it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::control::line;
use crate::cluster::log_pieces::LogAnswer;
use crate::cluster::summary::StatsSummary;

/// Bytes of the longest answer, its end included.
pub const ANSWER_MAX: usize = 1 << 20;
/// Bytes of an error in an answer that would be too long otherwise.
const TEXT_MAX: usize = 256;

/// A line of a master to an observer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// How the topology goes.
    Stats(Box<Observed>),
    /// Pieces of logs.
    Logs(Vec<LogAnswer>),
}

/// How a topology goes, as its master sees it. The counters of a worker are up to `worker.stats_interval` old.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observed {
    /// The epoch of the master.
    pub epoch: u64,
    /// Whether it has taken over workers from an earlier master. They have counted for longer than its `seconds`, so
    /// `tuples_per_second`, `busy` and `blocked` mean nothing then.
    pub has_adopted: bool,
    /// The counters.
    #[serde(flatten)]
    pub summary: StatsSummary,
    /// Its workers, by number.
    pub processes: Vec<WorkerObserved>,
    /// What is missing because the answer would be too long.
    pub left_out: Option<String>,
}

/// How a worker is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerObserved {
    /// Its number.
    pub worker: u16,
    /// Whether it takes part.
    pub up: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// How it ended the last time, if it was started again.
    pub last_end: Option<DatedError>,
    /// The last error of each component in it.
    pub errors: Vec<ComponentError>,
}

/// Something that went wrong, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatedError {
    /// What.
    pub error: String,
    /// When the master learned of it; null: before this master began.
    pub at: Option<String>,
}

/// The last error of a component in a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentError {
    /// The component.
    pub component: String,
    /// The error, with the task.
    pub error: String,
    /// When the master learned of it; null: before this master began.
    pub at: Option<String>,
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_MAX));
}

impl Observed {
    fn shorten_errors(&mut self) {
        self.summary.components.iter_mut().filter_map(|it| it.last_error.as_mut()).for_each(cut);
        for worker in &mut self.processes {
            worker.last_end.iter_mut().for_each(|end| cut(&mut end.error));
            worker.errors.iter_mut().for_each(|error| cut(&mut error.error));
        }
    }

    fn leave_out_worker_errors(&mut self) {
        self.processes.iter_mut().for_each(|worker| worker.errors = Vec::new());
    }

    fn leave_out_metrics(&mut self) {
        for component in &mut self.summary.components {
            component.metrics.clear();
            component.counters = None;
        }
    }

    fn leave_out_workers(&mut self) {
        self.processes = Vec::new();
    }

    fn leave_out_components(&mut self) {
        self.summary.components = Vec::new();
    }
}

/// The line of an answer, its end included.
pub fn answer_line(mut observed: Observed) -> Arc<[u8]> {
    type Step = (fn(&mut Observed), &'static str);
    let steps: [Step; 5] = [
        (Observed::shorten_errors, "the ends of errors"),
        (Observed::leave_out_worker_errors, "the errors of each worker"),
        (Observed::leave_out_metrics, "the errors of each worker, and metrics"),
        (Observed::leave_out_workers, "workers, and metrics"),
        (Observed::leave_out_components, "workers and components"),
    ];
    let mut steps = steps.into_iter();
    loop {
        let text = line(&Answer::Stats(Box::new(observed.clone())));
        let step = if text.len() <= ANSWER_MAX { None } else { steps.next() };
        let Some((shorten, what)) = step else { return text.into() };
        shorten(&mut observed);
        observed.left_out = Some(what.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::control::parse;
    use crate::cluster::summary::ComponentSummary;

    fn observed(components: usize, workers: u16, error_len: usize, metric_len: usize) -> Observed {
        let metric = ("m".to_owned(), "x".repeat(metric_len).into());
        let component = |number: usize| ComponentSummary {
            id: format!("component-{number}"),
            last_error: Some("\u{e4}".repeat(error_len / 2)),
            metrics: [metric.clone()].into_iter().collect(),
            ..ComponentSummary::default()
        };
        let error = |number: usize| ComponentError {
            component: format!("component-{number}"),
            error: "e".repeat(error_len),
            at: None,
        };
        let worker = |worker| WorkerObserved {
            worker,
            errors: (0..components).map(error).collect(),
            ..WorkerObserved::default()
        };
        let components = (0..components).map(component).collect();
        Observed {
            epoch: 3,
            has_adopted: true,
            summary: StatsSummary { emitted: 7, components, ..StatsSummary::default() },
            processes: (0..workers).map(worker).collect(),
            left_out: None,
        }
    }

    fn sent(observed: Observed) -> Observed {
        let line = answer_line(observed);
        assert!(line.len() <= ANSWER_MAX && line.ends_with(b"\n"), "{}", line.len());
        match parse(&line).expect("it is an answer") {
            Answer::Stats(observed) => *observed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_that_fits_is_sent_as_it_is() {
        let whole = observed(3, 2, 100, 100);
        assert_eq!(sent(whole.clone()), whole);
    }

    #[test]
    fn an_answer_that_is_too_long_names_what_it_lacks() {
        let check = |whole: Observed, left_out: &str, kept: [usize; 3]| {
            let sent = sent(whole);
            assert_eq!(sent.left_out.as_deref(), Some(left_out));
            let errors = sent.processes.iter().map(|worker| worker.errors.len()).sum();
            assert_eq!([sent.summary.components.len(), sent.processes.len(), errors], kept, "{left_out}");
            assert_eq!((sent.epoch, sent.summary.emitted), (3, 7));
        };
        check(observed(10, 20, 8000, 1), "the ends of errors", [10, 20, 200]);
        check(observed(10, 1000, 300, 1), "the errors of each worker", [10, 1000, 0]);
        check(observed(10, 10, 10, 200_000), "the errors of each worker, and metrics", [10, 10, 0]);
        check(observed(2, 20_000, 10, 1), "workers, and metrics", [2, 0, 0]);
        check(observed(10_000, 1, 10, 1), "workers and components", [0, 0, 0]);
    }
}
