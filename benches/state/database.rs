//! Rows into a table of PostgreSQL, by a topology exactly once, and by a plain loop that writes the same batches.
//!
//! A server of the measurement's own is started, as for the tests. First a topology writes for a while, with one task
//! of `postgres`, which writes the rows of each checkpoint in one transaction. Then a loop writes rows of the same kind
//! to an empty table on the same server, by the same statements of 256 rows, and commits as many rows at a time as the
//! topology did on average. What is measured is from the first commit that is seen to the last one: both ways are
//! looked at alike, by another connection that asks for the highest row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use postgres::types::ToSql;
use postgres::{Client, NoTls};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use squall::api::Positions;
use squall::cluster::TopologySource;
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};

use crate::Failure;
use crate::recovery::Document;
use crate::server::Server;

/// Rows of a statement, as `postgres` of squall has them.
const ROWS: usize = 256;
/// How often the table is looked at.
const LOOKS_EACH: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Args)]
pub struct Options {
    /// Milliseconds from checkpoint to checkpoint.
    #[arg(long, default_value_t = 1000)]
    interval_ms: u64,
    /// Seconds before the first measured interval.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Seconds of each way.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// A row: its number, a text, and another number.
fn text_of(n: i64) -> &'static str {
    ["umbrella", "raincoat", "boots", "a tent for two"][n as usize % 4]
}

fn amount_of(n: i64) -> i64 {
    n % 1000
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RowsSettings {}

struct Rows(i64);

impl Spout for Rows {
    fn declare(&self) -> Streams {
        Streams::new(["n", "item", "amount"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        out.emit((self.0, text_of(self.0), amount_of(self.0)))?;
        self.0 += 1;
        Ok(SpoutStatus::Emitted)
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        positions.set("rows", &self.0)
    }
}

/// What was seen of a table.
struct Seen {
    rate: f64,
    /// Rows of a commit.
    batch: f64,
}

/// Looks at a table for so long, after it has had its first rows for the time of the warm-up.
fn look(server: &Server, table: &str, options: &Options) -> Result<Seen, Failure> {
    let mut client = Client::connect(&server.url(), NoTls)?;
    let ask = client.prepare(&format!("SELECT coalesce(max(n), -1) FROM {table}"))?;
    let mut highest = || -> Result<i64, Failure> { Ok(client.query_one(&ask, &[])?.get(0)) };
    let begin = Instant::now();
    while highest()? < 0 {
        if begin.elapsed() > PATIENCE {
            return Err(format!("no row arrives in {table}").into());
        }
        std::thread::sleep(LOOKS_EACH);
    }
    let warm = Instant::now() + Duration::from_secs_f64(options.warmup);
    let end = warm + Duration::from_secs_f64(options.seconds);
    let (mut first, mut last, mut commits) = (None, None, 0);
    let mut before = highest()?;
    // It ends with a commit, so there is one more after the end.
    loop {
        std::thread::sleep(LOOKS_EACH);
        let (rows, now) = (highest()?, Instant::now());
        if rows > before && now > warm {
            match first {
                None => first = Some((now, rows)),
                Some(_) => {
                    commits += 1;
                    last = Some((now, rows));
                }
            }
            if now > end && last.is_some() {
                break;
            }
        }
        if now > end + PATIENCE {
            return Err(format!("no row is committed in {table}").into());
        }
        before = rows;
    }
    let (Some((begin, from)), Some((end, to))) = (first, last) else { return Err("nothing was seen".into()) };
    let rows = (to - from) as f64;
    Ok(Seen { rate: rows / (end - begin).as_secs_f64(), batch: rows / f64::from(commits) })
}

fn make_table(server: &Server, table: &str) {
    server.query(&format!("CREATE TABLE {table} (n bigint PRIMARY KEY, item text, amount bigint)"));
}

pub fn measure(options: &Options) -> Result<Json, Failure> {
    let server = Server::start();
    make_table(&server, "by_squall");
    make_table(&server, "by_loop");
    let squall = by_squall(&server, options)?;
    let plain = by_loop(&server, squall.batch.round().max(1.0) as i64, options)?;
    Ok(json!({
        "peer": "squall", "workload": "postgres",
        "config": {"interval_ms": options.interval_ms},
        "squall_rate": squall.rate.round(), "squall_batch": squall.batch.round(),
        "loop_rate": plain.rate.round(), "loop_batch": plain.batch.round(),
        "ratio": squall.rate / plain.rate,
    }))
}

fn by_squall(server: &Server, options: &Options) -> Result<Seen, Failure> {
    let directory = tempfile::tempdir()?;
    let (url, interval, checkpoints) = (server.url(), options.interval_ms, directory.path().display());
    let document = format!(
        "[topology]\nname = 'rows'\ndelivery = 'exactly-once'\n\
         checkpoint = {{ interval = '{interval}ms', storage = '{checkpoints}' }}\n\
         [spout.rows]\ntype = 'rows'\n\
         [bolt.store]\ntype = 'postgres'\ninputs = ['rows']\n\
         [bolt.store.config]\nurl = '{url}'\ntable = 'by_squall'\ncolumns = ['n', 'item', 'amount']\n"
    );
    let mut registry = Registry::with_standard();
    registry.spout("rows", "rows without end", |_: &RowsSettings| Ok(Rows(0)));
    let (_, topology) = TopologySource::record(&Document(document), "rows.toml", &registry, &[])?;
    let running = RunningTopology::start(topology, LocalOptions::default())?;
    let seen = look(server, "by_squall", options);
    running.kill();
    running.join();
    seen
}

fn by_loop(server: &Server, batch: i64, options: &Options) -> Result<Seen, Failure> {
    let (ends, url) = (Arc::new(AtomicBool::new(false)), server.url());
    let has_ended = Arc::clone(&ends);
    let writer =
        std::thread::spawn(move || write(&url, batch, &has_ended).map_err(|error| error.to_string()));
    let seen = look(server, "by_loop", options);
    ends.store(true, Ordering::Relaxed);
    writer.join().map_err(|_| "the loop panicked")??;
    seen
}

/// What one writes who has rows, and a table.
fn write(url: &str, batch: i64, has_ended: &AtomicBool) -> Result<(), postgres::Error> {
    let mut client = Client::connect(url, NoTls)?;
    let several = client.prepare(&insert(ROWS))?;
    let one = client.prepare(&insert(1))?;
    let mut next = 0;
    while !has_ended.load(Ordering::Relaxed) {
        let rows: Vec<(i64, &str, i64)> =
            (next..next + batch).map(|n| (n, text_of(n), amount_of(n))).collect();
        let mut transaction = client.transaction()?;
        for part in rows.chunks(ROWS) {
            let (statement, parts) =
                if part.len() == ROWS { (&several, part.chunks(ROWS)) } else { (&one, part.chunks(1)) };
            for part in parts {
                let parameters: Vec<&(dyn ToSql + Sync)> = part
                    .iter()
                    .flat_map(|(n, item, amount)| [n as &(dyn ToSql + Sync), item, amount])
                    .collect();
                transaction.execute(statement, &parameters)?;
            }
        }
        transaction.commit()?;
        next += batch;
    }
    Ok(())
}

fn insert(rows: usize) -> String {
    let tuples: Vec<String> =
        (0..rows).map(|row| format!("(${}, ${}, ${})", row * 3 + 1, row * 3 + 2, row * 3 + 3)).collect();
    format!("INSERT INTO by_loop (n, item, amount) VALUES {}", tuples.join(", "))
}
