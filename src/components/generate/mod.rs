//! `generate`: makes tuples from templates or from a list of rows, at a rate or as fast as they
//! are taken.
//!
//! * The schedule is open-loop: the n-th tuple is due at start + n / rate, whether or not the ones
//!   before were late, so that a stall shows as latency and not as fewer tuples.
//! * `rate` and `count` are the component's: its tasks share them. `{seq}` counts through all
//!   tasks without a gap or a repetition.
//! * What is random comes from the task's seed and repeats in a simulation.
//! * A row is kept until it is acked, and sent again as it was when it fails.
//! * Exactly once, nothing is kept: a position is the number of tuples that the task has made, and the seed. The
//!   tuples after a position are the same whenever they are made, except for `{now}`. For that the random numbers
//!   begin anew every `BLOCK_LEN` tuples, with a seed made of the task's seed and the number of the block.

mod template;

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::task_split;
use crate::api::{Failure, Positions, Spout, SpoutOutputs, SpoutStatus, Streams, TaskContext, TaskError};
use crate::clock::{Clock, Time};
use crate::components::generate::template::Template;
use crate::components::replay_buffer::ReplayBuffer;
use crate::components::settings::{Ordered, Scalar, spend_names};
use crate::config::Delivery;
use crate::ids::MessageId;
use crate::topology::effort::Effort;
use crate::topology::registry::{Registry, SettingError};
use crate::tuple::{Fields, Value};

/// Tuples of a task that are made with the random numbers of one seed.
const BLOCK_LEN: u64 = 256;

/// Settings of [`Generate`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateSettings {
    /// The fields and their templates, in order: `{ id = "{seq}", user = "user-{random:0..100}" }`.
    /// Placeholders: `{seq}` (from 0), `{random:0..100}` (whole, the end excluded),
    /// `{random:0.0..1.0}`, `{choice:a|b|c}`, `{uuid}`, `{now}`. A template that is one placeholder
    /// has its type (i64, f64, timestamp); any other is text. Either `fields` or `rows` is required.
    #[serde(default)]
    pub fields: Option<Ordered<String>>,
    /// Instead of templates: fixed rows, cycled through. All have the same fields, in the order of
    /// the first; values are text, whole numbers, numbers or bools.
    #[serde(default)]
    pub rows: Vec<Ordered<Scalar>>,
    /// Tuples per second, over all tasks. Default: as fast as they are taken.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Tuples in total, over all tasks; then the spout is exhausted. Default: endless.
    #[serde(default)]
    pub count: Option<u64>,
}

#[derive(Clone, Debug)]
enum Content {
    Templates(Vec<Template>),
    Rows(Vec<Arc<[Value]>>),
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    /// Tuples that it has made.
    made: u64,
    /// The seed of the tuples, also of those that come next.
    seed: u64,
}

/// The spout `generate`.
pub struct Generate {
    fields: Fields,
    content: Content,
    rate: Option<f64>,
    count: Option<u64>,
    clock: Clock,
    seed: u64,
    /// Of the block that the next tuple belongs to.
    rng: StdRng,
    task: u64,
    tasks: u64,
    /// Tuples that this task made.
    made: u64,
    /// When the schedule began, and how many were made then.
    schedule: Option<(Time, u64)>,
    replays: ReplayBuffer<Arc<[Value]>>,
}

impl Generate {
    /// A spout with these settings.
    ///
    /// # Errors
    /// When a template is none, rows differ in their fields, or a number makes no sense.
    pub fn new(settings: &GenerateSettings, effort: &Effort) -> Result<Generate, SettingError> {
        spend_names(effort, "fields", settings.fields.as_ref().map_or(0, |fields| fields.0.len()))?;
        settings.rows.iter().try_for_each(|row| spend_names(effort, "rows", row.0.len()))?;
        let (fields, content) = match (&settings.fields, settings.rows.as_slice()) {
            (Some(fields), []) => templates(fields)?,
            (None, [first, ..]) => rows(first, &settings.rows)?,
            (Some(_), _) => return Err(SettingError::at("rows", "goes without `fields` only")),
            (None, []) => return Err(SettingError::at("fields", "write `fields` or `rows`")),
        };
        if settings.rate.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
            return Err(SettingError::at("rate", "must be more than 0 tuples a second"));
        }
        Ok(Generate {
            fields,
            content,
            rate: settings.rate,
            count: settings.count,
            clock: Clock::simulated(),
            seed: 0,
            rng: StdRng::seed_from_u64(0),
            task: 0,
            tasks: 1,
            made: 0,
            schedule: None,
            replays: ReplayBuffer::new(Delivery::default()),
        })
    }

    /// The number of the next tuple, through all tasks.
    fn next_seq(&self) -> u64 {
        self.task + self.made * self.tasks
    }

    /// How long until the next tuple is due; `None`: it is.
    fn wait(&mut self) -> Option<Duration> {
        let rate = self.rate? / self.tasks as f64;
        let now = self.clock.now();
        let (begin, made_before) = *self.schedule.get_or_insert((now, self.made));
        let offset = Duration::try_from_secs_f64((self.made - made_before) as f64 / rate);
        let due = begin.after(offset.unwrap_or(Duration::MAX));
        (due > now).then(|| due.since(now))
    }

    /// The next tuple.
    fn make(&mut self) -> Arc<[Value]> {
        let seq = self.next_seq();
        let nth = self.made % BLOCK_LEN;
        self.made += 1;
        match &self.content {
            Content::Rows(rows) => Arc::clone(&rows[(seq % rows.len() as u64) as usize]),
            Content::Templates(templates) => {
                if nth == 0 {
                    self.rng = StdRng::seed_from_u64(mixed(self.seed, self.made / BLOCK_LEN));
                }
                let timed = templates.iter().any(Template::is_timed);
                let now = if timed { self.clock.wall_nanos() } else { 0 };
                let rng = &mut self.rng;
                templates.iter().map(|template| template.make(seq, now, rng)).collect()
            }
        }
    }
}

/// The seed of a block (the finalizer of splitmix64, Steele et al., 2014).
fn mixed(seed: u64, block: u64) -> u64 {
    let mut z = seed.wrapping_add((block + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn templates(fields: &Ordered<String>) -> Result<(Fields, Content), SettingError> {
    if fields.0.is_empty() {
        return Err(SettingError::at("fields", "name at least one field"));
    }
    let parse = |(field, source): &(String, String)| {
        Template::parse(source).map_err(|why| SettingError::at("fields", format!("field `{field}`: {why}")))
    };
    let templates = fields.0.iter().map(parse).collect::<Result<_, _>>()?;
    Ok((fields.keys().collect(), Content::Templates(templates)))
}

fn rows(first: &Ordered<Scalar>, all: &[Ordered<Scalar>]) -> Result<(Fields, Content), SettingError> {
    let fields: Fields = first.keys().collect();
    let row = |(nth, row): (usize, &Ordered<Scalar>)| -> Result<Arc<[Value]>, SettingError> {
        let wrong = || SettingError::at("rows", format!("row {} does not have the fields {fields}", nth + 1));
        if row.0.len() != fields.len() {
            return Err(wrong());
        }
        let value =
            |field: &str| row.0.iter().find(|(key, _)| key == field).map(|(_, value)| value.to_value());
        fields.iter().map(|field| value(field).ok_or_else(wrong)).collect()
    };
    let rows = all.iter().enumerate().map(row).collect::<Result<_, _>>()?;
    Ok((fields.clone(), Content::Rows(rows)))
}

impl Spout for Generate {
    fn declare(&self) -> Streams {
        Streams::new(self.fields.clone())
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.clock = context.clock().clone();
        self.seed = context.seed();
        self.task = context.task_index() as u64;
        self.tasks = context.parallelism().max(1) as u64;
        self.replays = ReplayBuffer::new(context.delivery());
        Ok(())
    }

    fn is_bounded(&self) -> bool {
        self.count.is_some()
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if let Some((id, row)) = self.replays.next_replay() {
            out.emit_tracked(&*row, id)?;
            return Ok(SpoutStatus::Emitted);
        }
        let seq = self.next_seq();
        if self.count.is_some_and(|count| seq >= count) {
            return Ok(SpoutStatus::Exhausted);
        }
        if let Some(wait) = self.wait() {
            return Ok(SpoutStatus::IdleFor(wait));
        }
        let row = self.make();
        match self.replays.keep(&row) {
            Some(id) => out.emit_tracked(&*row, id)?,
            None => out.emit(&*row)?,
        }
        Ok(SpoutStatus::Emitted)
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        let split = task_split::name(self.task as usize, self.tasks as usize);
        positions.set(&split, &Position { made: self.made, seed: self.seed })
    }

    /// The tuples before the position in its block are made once more, which brings the random numbers to where
    /// they stood. The schedule begins anew.
    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        let position: Position = task_split::position(positions, self.task as usize, self.tasks as usize)?;
        self.seed = position.seed;
        self.made = position.made - position.made % BLOCK_LEN;
        while self.made < position.made {
            self.make();
        }
        self.schedule = None;
        Ok(())
    }

    fn ack(&mut self, id: MessageId) -> Result<(), TaskError> {
        self.replays.ack(id);
        Ok(())
    }

    fn fail(
        &mut self,
        id: MessageId,
        failure: &Failure,
        _out: &mut SpoutOutputs<'_>,
    ) -> Result<(), TaskError> {
        self.replays.fail(id, failure);
        Ok(())
    }

    /// The schedule begins anew: what was not made while the topology rested is not made up for.
    fn activate(&mut self) -> Result<(), TaskError> {
        self.schedule = None;
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .spout_within("generate", "Makes tuples from templates or rows, at a rate.", |settings: &GenerateSettings, effort| {
            Generate::new(settings, effort)
        })
        .output("default: the keys of `fields`, or of the first row, in their order")
        .example(
            r#"
[spout.orders]
type = "generate"
config = { rate = 1000, count = 60_000, fields = { id = "{seq}", user = "user-{random:0..100}", kind = "{choice:new|old}" } }
"#,
        );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::test_support::{spout, spout_with, texts};
    use crate::testing::conformance::check_registered_spout;
    use crate::testing::{HarnessOptions, SpoutHarness};

    fn refusal(config: &str) -> String {
        let registry = Registry::with_standard();
        let started = SpoutHarness::registered(&registry, "generate", config, &HarnessOptions::default());
        started.err().unwrap_or_else(|| panic!("{config} is taken")).to_string()
    }

    #[test]
    fn it_makes_so_many_and_is_exhausted() {
        let mut generate = spout("generate", "count = 3\nfields = { z = '{seq}', a = 'n{seq}' }");
        assert_eq!(generate.run(10), Some(SpoutStatus::Exhausted));
        assert_eq!(texts(&generate.take_rows("default")), ["0 n0", "1 n1", "2 n2"]);
        let fields = generate.streams().get("default").map(|stream| stream.fields.to_string());
        assert_eq!(fields.as_deref(), Some("z, a"));
    }

    #[test]
    fn a_spout_that_crashes_after_any_row_goes_on_behind_it() {
        for config in [
            "count = 30\nfields = { n = '{seq}' }",
            "count = 70\nrows = [{ a = 1 }, { a = 2 }, { a = 3 }]",
            "count = 10\nrate = 3\nfields = { n = '{seq}' }",
        ] {
            let report = check_registered_spout(&Registry::with_standard(), "generate", config, 1000);
            report.unwrap_or_else(|broken| panic!("{config}: {broken}"));
        }
    }

    #[test]
    fn tasks_share_the_count_without_gap_or_repetition() {
        let of_task = |task_index| {
            let options = HarnessOptions { task_index, parallelism: 3, ..HarnessOptions::default() };
            let mut generate = spout_with("generate", "count = 7\nfields = { n = '{seq}' }", &options);
            let _ = generate.run(100);
            texts(&generate.take_rows("default"))
        };
        assert_eq!(
            (of_task(0), of_task(1), of_task(2)),
            (
                vec!["0".into(), "3".into(), "6".into()],
                vec!["1".into(), "4".into()],
                vec!["2".into(), "5".into()]
            )
        );
    }

    #[test]
    fn the_same_seed_makes_the_same_rows() {
        let rows = |seed| {
            let options = HarnessOptions { seed, ..HarnessOptions::default() };
            let config =
                "count = 20\nfields = { a = '{random:0..1000000}', b = '{uuid}', c = '{choice:x|y}' }";
            let mut generate = spout_with("generate", config, &options);
            let _ = generate.run(100);
            generate.take_rows("default")
        };
        assert_eq!(rows(1), rows(1));
        assert_ne!(rows(1), rows(2));
    }

    #[test]
    fn the_schedule_is_open_loop() {
        let mut generate = spout("generate", "rate = 10\nfields = { n = '{seq}' }");
        assert_eq!(generate.run(100), Some(SpoutStatus::IdleFor(Duration::from_millis(100))));
        assert_eq!(generate.take_rows("default").len(), 1);
        generate.clock().advance(Duration::from_millis(30));
        assert_eq!(generate.next(), Some(SpoutStatus::IdleFor(Duration::from_millis(70))));
        generate.clock().advance(Duration::from_secs(1));
        let _ = generate.run(100);
        assert_eq!(generate.take_rows("default").len(), 10, "it makes up for what came late");
    }

    #[test]
    fn rows_are_cycled_through_with_their_types() {
        let config = "count = 3\nrows = [{ w = 'a', n = 1 }, { n = 2.5, w = true }]";
        let mut generate = spout("generate", config);
        let _ = generate.run(100);
        let rows = generate.take_rows("default");
        assert_eq!(rows[0], ["a".into(), Value::I64(1)]);
        assert_eq!(rows[1], [Value::Bool(true), Value::F64(2.5)]);
        assert_eq!(rows[2], rows[0]);
    }

    #[test]
    fn a_failed_row_comes_again_as_it_was() {
        let mut generate = spout("generate", "count = 2\nfields = { a = '{random:0..1000000}' }");
        let _ = generate.run(100);
        let first = generate.take_emitted();
        generate.fail(MessageId(0));
        assert_eq!(generate.next(), Some(SpoutStatus::Emitted));
        assert_eq!(generate.take_emitted()[..], first[..1]);
        generate.ack(MessageId(0));
        assert_eq!(generate.next(), Some(SpoutStatus::Exhausted));
    }

    const RANDOM: &str = "fields = { n = '{seq}', a = '{random:0..1000000}', b = '{uuid}', c = '{choice:x|y} {random:0.0..1.0}' }";

    fn exactly_once(task_index: usize, parallelism: usize, seed: u64) -> HarnessOptions {
        HarnessOptions {
            task_index,
            parallelism,
            seed,
            delivery: Delivery::ExactlyOnce,
            ..HarnessOptions::default()
        }
    }

    #[test]
    fn after_a_restore_the_rows_after_the_position_come_and_no_others() {
        for (before, after) in [(0, 3), (5, 2000), (255, 10), (256, 300), (700, 1)] {
            let mut first = spout_with("generate", RANDOM, &exactly_once(1, 3, 7));
            let _ = first.run(before);
            first.take_emitted();
            let positions = first.snapshot().expect("it can be rewound");
            let _ = first.run(after);
            let lost = first.take_emitted();
            assert!(lost.iter().all(|row| row.anchors.is_empty()), "nothing is tracked");
            let mut second = spout_with("generate", RANDOM, &exactly_once(1, 3, 8));
            second.restore(&positions).expect("it is of this task");
            assert_eq!(second.snapshot().ok(), Some(positions), "it stands where the first stood");
            let _ = second.run(after);
            assert_eq!(second.take_emitted(), lost, "{after} rows from {before} on");
        }
    }

    #[test]
    fn rows_and_counts_go_on_from_the_position() {
        let config = "count = 7\nrows = [{ w = 'a' }, { w = 'b' }, { w = 'c' }]";
        let mut first = spout_with("generate", config, &exactly_once(0, 2, 0));
        let _ = first.run(2);
        let positions = first.snapshot().expect("it can be rewound");
        let mut second = spout_with("generate", config, &exactly_once(0, 2, 0));
        second.restore(&positions).expect("it is of this task");
        assert_eq!(second.run(10), Some(SpoutStatus::Exhausted));
        assert_eq!(texts(&second.take_rows("default")), ["b", "a"], "the rows 4 and 6 are left");
    }

    #[test]
    fn the_schedule_begins_anew_after_a_restore() {
        let config = "rate = 10\nfields = { n = '{seq}' }";
        let mut first = spout_with("generate", config, &exactly_once(0, 1, 0));
        let _ = first.run(1);
        let positions = first.snapshot().expect("it can be rewound");
        let mut second = spout_with("generate", config, &exactly_once(0, 1, 0));
        second.clock().advance(Duration::from_secs(3600));
        second.restore(&positions).expect("it is of this task");
        assert_eq!(second.run(100), Some(SpoutStatus::IdleFor(Duration::from_millis(100))));
        assert_eq!(texts(&second.take_rows("default")), ["1"], "an hour is not made up for");
    }

    #[test]
    fn positions_of_another_number_of_tasks_are_refused() {
        let mut first = spout_with("generate", RANDOM, &exactly_once(0, 3, 0));
        let positions = first.snapshot().expect("it can be rewound");
        let mut second = spout_with("generate", RANDOM, &exactly_once(0, 2, 0));
        let error = second.restore(&positions).expect_err("it is of another task");
        assert!(error.is_fatal(), "{error}");
        assert!(
            error.to_string().contains("task 0 of 3") && error.to_string().contains("task 0 of 2"),
            "{error}"
        );
    }

    #[test]
    fn wrong_settings_are_refused() {
        for (config, why) in [
            ("", "write `fields` or `rows`"),
            ("fields = {}", "at least one field"),
            ("fields = { a = '{x}' }", "field `a`: `{x}` is no placeholder"),
            ("fields = { a = 'x' }\nrows = [{ a = 1 }]", "goes without `fields`"),
            ("rows = [{ a = 1 }, { b = 1 }]", "row 2 does not have the fields a"),
            ("fields = { a = 'x' }\nrate = 0", "more than 0"),
        ] {
            let refusal = refusal(config);
            assert!(refusal.contains(why), "{config}: {refusal}");
        }
    }
}
