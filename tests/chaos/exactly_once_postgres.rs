//! `squall run` of an exactly-once topology that writes to PostgreSQL, while both are struck: the run is killed with -9 and
//! continued, its workers are killed, and the server is killed as by a power cut, or stopped in order, and started
//! again. In the end the tables have what a run writes that nothing happens to.
//!
//! Behind the feature `server-tests`, because it needs the packages of PostgreSQL: see `scripts/test-servers.sh`.

use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::exactly_once::{KILLS_OF_ROUND, WORDS, document, start, strike_worker, wait_for_progress};
use crate::figures::record;
use crate::round::fresh_dir;
use crate::server::Server;
use crate::{first_seed, from_environment, turn};

/// Words a second.
const RATE: u64 = 8_000;

/// Each count of each word into one table, by inserts, and how often each has come into another, by upserts.
fn sinks(url: &str) -> String {
    format!(
        r#"
        [bolt.store]
        type = "postgres"
        parallelism = 2
        inputs = ["count"]
        config = {{ url = "{url}", table = "counts", columns = ["word", "count"] }}

        [bolt.latest]
        type = "postgres"
        inputs = [{{ from = "count", fields = ["word"] }}]
        config = {{ url = "{url}", table = "latest", columns = ["word", "count"], mode = "upsert", key = ["word"] }}
        "#
    )
}

/// What is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strike {
    /// The run is killed, and continued.
    Run,
    /// A worker of the run is killed or stopped; where it has none, the run is killed.
    Worker,
    /// The server is killed, and started again after a while.
    ServerKilled,
    /// The server is stopped in order, and started again after a while.
    ServerStopped,
    /// The server is killed, then the run. The run is continued before the server is there again.
    Both,
}

/// By turns, so that each of them comes in any round of five.
const STRIKES: [Strike; 5] =
    [Strike::Run, Strike::ServerKilled, Strike::Both, Strike::ServerStopped, Strike::Worker];

/// If it fails, a kill of the run or of the server loses rows, or leaves some in the table twice.
#[test]
fn an_exactly_once_run_and_its_server_are_struck() {
    let _turn = turn();
    let wanted = from_environment("SQUALL_CHAOS_KILLS", STRIKES.len() as u64);
    let (mut struck, mut seed, mut rounds) = (0, first_seed(), 0);
    let mut times = [0_u64; STRIKES.len()];
    while struck < wanted {
        let of_round = (wanted - struck).min(KILLS_OF_ROUND);
        let random = &mut StdRng::seed_from_u64(seed);
        let dir = fresh_dir(&format!("exactly-once-postgres-{seed}"));
        let mut server = Server::start();
        server.query("CREATE TABLE counts (word text, count bigint)");
        server.query("CREATE TABLE latest (word text PRIMARY KEY, count bigint)");
        // A server that was killed is away for a second or more, and the run goes on meanwhile.
        let words = (RATE * of_round + 20_000) / WORDS.len() as u64 * WORDS.len() as u64;
        let document = document(&dir, (RATE, words), &sinks(&server.url()));
        let mut workers = (rounds % 2 == 1).then_some(2);
        let mut run = start(&dir, &document, workers);
        for _ in 0..of_round {
            if !wait_for_progress(&dir, &mut run, random) {
                break;
            }
            let kind = struck as usize % STRIKES.len();
            let mut strike = STRIKES[kind];
            if strike == Strike::Worker && workers.is_none() {
                strike = Strike::Run;
            }
            struck += 1;
            times[kind] += 1;
            let away = Duration::from_millis(random.random_range(0..600));
            match strike {
                Strike::ServerKilled | Strike::Both => server.kill(),
                Strike::ServerStopped => server.stop(),
                Strike::Worker => strike_worker(&run, random),
                Strike::Run => {}
            }
            if matches!(strike, Strike::Run | Strike::Both) {
                run.kill().expect("it is a child");
                run.wait().expect("it is a child");
                workers = [None, None, Some(2)][random.random_range(0..3)];
                run = start(&dir, &document, workers);
            }
            if matches!(strike, Strike::ServerKilled | Strike::ServerStopped | Strike::Both) {
                thread::sleep(away);
                server.restart();
            }
        }
        let status = run.wait().expect("it is a child");
        assert!(status.success(), "seed {seed}: {status}, see {}", dir.display());
        let each = words / WORDS.len() as u64;
        let found = server.query(
            "SELECT word, count(*), count(DISTINCT count), min(count), max(count) FROM counts \
             GROUP BY word ORDER BY word",
        );
        let mut expected: Vec<String> =
            WORDS.iter().map(|word| format!("{word}|{each}|{each}|1|{each}")).collect();
        expected.sort();
        assert_eq!(found, expected, "seed {seed}: the table `counts`, see {}", dir.display());
        let found = server.query("SELECT word, count FROM latest ORDER BY word");
        let mut expected: Vec<String> = WORDS.iter().map(|word| format!("{word}|{each}")).collect();
        expected.sort();
        assert_eq!(found, expected, "seed {seed}: the table `latest`, see {}", dir.display());
        rounds += 1;
        seed += 1;
    }
    let kinds: Vec<String> =
        STRIKES.iter().zip(times).map(|(strike, times)| format!("{strike:?} {times}")).collect();
    println!(
        "exactly-once-postgres: {struck} strikes in {rounds} runs ({}), each row there once",
        kinds.join(", ")
    );
    let line = serde_json::json!({
        "kind": "exactly-once-postgres", "struck": struck, "rounds": rounds, "machine": crate::figures::machine()
    });
    record("exactly-once.jsonl", &line);
}
