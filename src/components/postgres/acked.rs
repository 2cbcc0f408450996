//! `postgres` at least once and at most once: rows are acked when the transaction that they are written in is
//! committed.
//!
//! ```text
//!  execute: make the row, hold ──▶ batch is full, or old enough ──▶ one transaction ──▶ ack those that are written,
//!                                                                        │              fail those that are refused
//!                                                                        └─ server is away: wait, connect, write again
//! ```
//!
//! 1. A row that was acked is in the table. A row that is in the table may come again: if the connection breaks in the
//!    commit, nobody knows whether it was done, and the rows are written once more.
//! 2. While the server is away the calls wait, and with them everything before the bolt. After `give_up` the rows that
//!    are held fail, and are replayed; from then on a batch is tried once, until one is written.
//! 3. A refused row fails with the reason in its dead letter, and no other row with it.
//! 4. Memory is bounded by `batch.rows` and `batch.bytes`.

use std::thread;
use std::time::Duration;

use crate::api::{Bolt, HeldTuple, Input, Outputs, TaskContext, TaskError, Timer};
use crate::clock::{Clock, Time};
use crate::components::postgres::connection::DatabaseError;
use crate::components::postgres::row::RowTemplate;
use crate::components::postgres::session::{Alone, Refusal, Session};
use crate::components::postgres::settings::PostgresSettings;
use crate::metrics::Counter;
use crate::tuple::Value;

/// Waits for so long. The tests move their clock instead.
pub(super) type Wait = fn(&Clock, Duration);

/// The wait of a task that runs on a thread of its own.
pub(super) fn wait(clock: &Clock, pause: Duration) {
    match clock.is_simulated() {
        true => clock.advance(pause),
        false => thread::sleep(pause),
    }
}

/// The bolt `postgres` at least once and at most once. See the [module](self).
pub(super) struct AckedRows {
    settings: PostgresSettings,
    template: RowTemplate,
    session: Session,
    clock: Clock,
    wait: Wait,
    /// When the first row has waited long enough.
    linger: Timer,
    counts: Counts,
    rows: Vec<Vec<Value>>,
    held: Vec<HeldTuple>,
    bytes: u64,
    /// When the first of these rows came.
    since: Time,
    /// Since when the server is away.
    away_since: Option<Time>,
}

/// What the task counts.
#[derive(Clone, Default)]
pub(super) struct Counts {
    pub(super) rows_written: Counter,
    pub(super) rows_refused: Counter,
    pub(super) transactions: Counter,
    pub(super) attempts_failed: Counter,
}

impl Counts {
    /// Whether a refused row is a loss depends on what becomes of it.
    pub(super) fn new(context: &TaskContext, refused: Counter) -> Counts {
        Counts {
            rows_written: context.counter("rows_written"),
            rows_refused: refused,
            transactions: context.counter("transactions"),
            attempts_failed: context.counter("attempts_failed"),
        }
    }
}

impl AckedRows {
    pub(super) fn new(settings: PostgresSettings, template: RowTemplate, session: Session) -> AckedRows {
        AckedRows {
            settings,
            template,
            session,
            clock: Clock::simulated(),
            wait,
            linger: Timer::default(),
            counts: Counts::default(),
            rows: Vec::new(),
            held: Vec::new(),
            bytes: 0,
            since: Time::ZERO,
            away_since: None,
        }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.settings.batch.rows || self.bytes >= self.settings.batch.bytes.0
    }

    fn is_old(&self) -> bool {
        self.clock.now().since(self.since) >= self.settings.batch.linger.0
    }

    /// Writes the batch, and acks or fails its rows. An error that it returns ends the run.
    fn write_batch(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut failures = 0;
        loop {
            let error = match self.session.write(&self.rows, &mut Alone) {
                Ok(refused) => {
                    self.away_since = None;
                    self.settle(&refused, out);
                    return Ok(());
                }
                Err(error) => error,
            };
            self.counts.attempts_failed.add(1);
            failures += 1;
            let now = self.clock.now();
            let away_since = *self.away_since.get_or_insert(now);
            let is_permanent = matches!(error, DatabaseError::Permanent(_));
            if is_permanent || now.since(away_since) >= self.settings.give_up.0 {
                self.fail_all(&error, out);
                let error = error.to_string();
                return match is_permanent {
                    true => Err(TaskError::fatal(error)),
                    false => report(out, error),
                };
            }
            if failures == 1 {
                report(out, format!("{error}; waiting for it"))?;
            }
            self.held.iter().for_each(|held| out.reset_timeout(held));
            (self.wait)(&self.clock, self.settings.reconnect.after(failures));
        }
    }

    /// Acks what is written, and fails what was refused.
    fn settle(&mut self, refused: &[Refusal], out: &mut Outputs<'_>) {
        self.counts.transactions.add(1);
        self.counts.rows_written.add((self.rows.len() - refused.len()) as u64);
        self.counts.rows_refused.add(refused.len() as u64);
        let mut whys: Vec<Option<&str>> = vec![None; self.rows.len()];
        refused.iter().for_each(|refusal| whys[refusal.place] = Some(&refusal.why));
        for (held, why) in self.held.drain(..).zip(whys) {
            match why {
                None => out.ack(held),
                Some(why) => {
                    out.report_error(TaskError::new(format!("a row was refused: {why}")));
                    out.fail_with(held, why);
                }
            }
        }
        self.clear();
    }

    fn fail_all(&mut self, error: &DatabaseError, out: &mut Outputs<'_>) {
        let why = error.to_string();
        self.held.drain(..).for_each(|held| out.fail_with(held, &why));
        self.clear();
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }
}

/// Reports an error that waiting may mend.
fn report(out: &mut Outputs<'_>, message: String) -> Result<(), TaskError> {
    out.report_error(TaskError::new(message));
    Ok(())
}

impl Bolt for AckedRows {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.clock = context.clock().clone();
        self.counts = Counts::new(context, context.counter("rows_refused"));
        self.linger = context.timer("linger")?;
        context.name_keys();
        // A table or a column that is not there, or a wrong password, ends the run before a tuple comes. Nobody needs
        // a server that is away before there are rows.
        match self.session.connect() {
            Err(error @ DatabaseError::Permanent(_)) => Err(TaskError::fatal(error.to_string())),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let row = self.template.row(&input)?;
        self.session.check_row(&row).map_err(TaskError::new)?;
        if self.rows.is_empty() {
            self.since = self.clock.now();
            if !self.settings.batch.linger.0.is_zero() {
                out.set_key([0])?;
                self.linger.set(out, self.settings.batch.linger.0)?;
            }
        }
        self.bytes += row.iter().map(|value| size_of::<Value>() + value.heap_size()).sum::<usize>() as u64;
        self.rows.push(row);
        self.held.push(out.hold(input));
        if self.is_full() {
            // Reported and not returned: a call that fails takes back the acks of rows that are written.
            self.write_batch(out).unwrap_or_else(|error| out.report_error(error));
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.is_old() { self.write_batch(out) } else { Ok(()) }
    }

    fn timer(&mut self, _: Timer, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.write_batch(out).unwrap_or_else(|error| out.report_error(error));
        Ok(())
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.write_batch(out)
    }
}
