//! Windows of event time give the rows that a naive model makes of the whole input: with any layout and delivery, in any
//! order within the bound, and however often the run is killed and laid out anew.

use std::collections::{BTreeSet, HashMap};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use squall::Timestamp;
use squall::components::window::{WindowSettings, window};
use squall::topology::effort::Effort;
use squall::tuple::hash::stable_hash;
use squall::window::{Measure, TupleWindow, Windowed, WindowedBolt};

use super::event_time::{BEGIN, Click, Clicks, Layout, SECOND, Same, options, splits};
use super::*;

/// Which windows a test has, in seconds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Time { length: i64, slide: i64, offset: i64 },
    Session { gap: i64 },
}

/// The windows of a test, and what is asked of them.
#[derive(Clone, Copy, Debug)]
struct Spec {
    kind: Kind,
    /// Only what can be subtracted, so that windows that overlap have running totals.
    is_invertible: bool,
}

impl Spec {
    fn draw(random: &mut StdRng) -> Spec {
        Spec { kind: Kind::draw(random), is_invertible: random.random_bool(0.5) }
    }

    fn settings(self) -> WindowSettings {
        let more = if self.is_invertible { "" } else { "max = 'max(at)'\nfirst = 'first(at)'\n" };
        let text = format!(
            "by = ['page']\ntime = 'at'\n{}\n[aggregate]\nclicks = 'count()'\neven = 'count() where unix(at) % 2.0 == 0.0'\n\
             sum = 'sum(unix(at) * 2.0)'\ndistinct = 'distinct(at)'\n{more}",
            self.kind.settings()
        );
        toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn expected(self, splits: &[Vec<Click>], texts: &Texts) -> Vec<i64> {
        let mut rows = Vec::new();
        for page in 0..4 {
            let of_page = splits.iter().flatten().filter(|(of, _)| *of == page);
            let mut clicks: Vec<i64> = of_page.map(|(_, at)| *at).collect();
            clicks.sort_unstable();
            for (start, end, inside) in self.kind.windows(&clicks) {
                let time = |second: i64| Timestamp(BEGIN + second * SECOND).to_string();
                let sum: i64 = inside.iter().map(|at| (BEGIN / SECOND + at) * 2).sum();
                let mut text = format!(
                    "{page} {} {} {} {} {sum} {}",
                    time(start),
                    time(end),
                    inside.len(),
                    inside.iter().filter(|at| (*at + BEGIN / SECOND) % 2 == 0).count(),
                    inside.iter().collect::<BTreeSet<_>>().len(),
                );
                if !self.is_invertible {
                    let max = inside.iter().max().expect("it has clicks");
                    text = format!("{text} {} {}", time(*max), time(inside[0]));
                }
                rows.push(number_of(text, texts));
            }
        }
        rows.sort_unstable();
        rows
    }
}

impl Kind {
    fn draw(random: &mut StdRng) -> Kind {
        let slide = [20, 60, 90, 300][random.random_range(0..4)];
        match random.random_range(0..4) {
            0 => Kind::Session { gap: [5, 20, 60][random.random_range(0..3)] },
            // Without gaps, which overlap, whose length is no multiple of the slide, and with gaps.
            1 => Kind::Time { length: slide, slide, offset: random.random_range(0..slide) },
            2 => Kind::Time {
                length: slide * random.random_range(2..6) + [0, 10][random.random_range(0..2)],
                slide,
                offset: 0,
            },
            _ => Kind::Time { length: slide - 10, slide, offset: 7 },
        }
    }

    fn settings(self) -> String {
        match self {
            Kind::Time { length, slide, offset } => {
                format!("length = '{length}s'\nslide = '{slide}s'\ngaps = true\noffset = '{offset}s'")
            }
            Kind::Session { gap } => format!("session = '{gap}s'"),
        }
    }

    /// The windows of the clicks of a page, each with its clicks.
    fn windows(self, clicks: &[i64]) -> Vec<(i64, i64, Vec<i64>)> {
        match self {
            Kind::Time { length, slide, offset } => {
                // The first window that can have the first of all.
                let origin = BEGIN / SECOND;
                let aligned = (origin - offset).div_euclid(slide) * slide + offset - origin;
                let starts = (-(length / slide) - 1..=4000 / slide).map(|nth| aligned + nth * slide);
                let windows = starts.map(|start| {
                    let inside =
                        clicks.iter().copied().filter(|at| (start..start + length).contains(at)).collect();
                    (start, start + length, inside)
                });
                windows.filter(|(_, _, inside): &(i64, i64, Vec<i64>)| !inside.is_empty()).collect()
            }
            Kind::Session { gap } => {
                let mut sessions: Vec<(i64, i64, Vec<i64>)> = Vec::new();
                for at in clicks {
                    match sessions.last_mut() {
                        Some((_, end, inside)) if at < end => {
                            inside.push(*at);
                            *end = at + gap;
                        }
                        _ => sessions.push((*at, at + gap, vec![*at])),
                    }
                }
                sessions
            }
        }
    }
}

/// A row as a number, which sinks can publish, and as text, to be read where rows differ.
type Texts = Arc<Mutex<HashMap<i64, String>>>;

fn number_of(text: String, texts: &Texts) -> i64 {
    let number = stable_hash(&Value::str(&text)) as i64;
    lock(texts).insert(number, text);
    number
}

/// Makes a number of each row of windows.
struct Numbered(Texts);

impl Bolt for Numbered {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let end = input.timestamp("window_end")?;
        assert!(out.watermark().is_none_or(|watermark| watermark < end), "it is told too late: {end}");
        let values: Vec<String> = input.values().iter().map(ToString::to_string).collect();
        Ok(out.emit([number_of(values.join(" "), &self.0)])?)
    }
}

/// Makes instances of a bolt with windows.
trait WindowsOf<B>: Fn() -> B + Clone + Send + Sync + 'static {}

impl<B, F: Fn() -> B + Clone + Send + Sync + 'static> WindowsOf<B> for F {}

/// The bolt `window`.
fn aggregated(settings: &WindowSettings) -> impl Bolt + use<> {
    window(settings, &Effort::unlimited()).unwrap_or_else(|error| panic!("{error}"))
}

/// Makes of the tuples of a window the row that [`aggregated`] makes of them, where all can be subtracted.
struct Whole {
    length: i64,
}

impl WindowedBolt for Whole {
    fn declare(&self) -> Streams {
        Streams::new(["page", "window_start", "window_end", "clicks", "even", "sum", "distinct"])
    }

    fn execute(&mut self, window: &TupleWindow, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let seconds = window.all().map(|tuple| Ok(tuple.timestamp("at")?.0 / SECOND));
        let seconds = seconds.collect::<Result<Vec<i64>, TaskError>>()?;
        let start = Timestamp(window.end().0 - self.length * SECOND);
        let even = seconds.iter().filter(|second| *second % 2 == 0).count() as i64;
        let sum: i64 = seconds.iter().map(|second| second * 2).sum();
        let distinct = seconds.iter().collect::<BTreeSet<_>>().len() as i64;
        let page = out.key()[0].clone();
        Ok(out.emit((page, start, window.end(), seconds.len() as i64, even, sum, distinct))?)
    }
}

/// A [`WindowedBolt`] over the same windows.
fn whole(length: i64, slide: i64) -> impl WindowsOf<Windowed<Whole>> {
    let span = |seconds: i64| Measure::Time(Duration::from_secs(seconds.unsigned_abs()));
    move || Windowed::new(Whole { length }, span(length), span(slide)).by(["page"]).at("at")
}

fn topology<B: Bolt + 'static>(
    splits: &Arc<Vec<Vec<Click>>>,
    (bolt, layout): (impl WindowsOf<B>, Layout),
    published: &Published,
    texts: &Texts,
) -> TopologyBuilder {
    let mut builder = builder();
    let time = options(&mut builder, layout);
    let all = Arc::clone(splits);
    let spout = builder.spout("clicks", move || Clicks::new(&all));
    spout.event_time(time).parallelism(layout.spout_executors).tasks(layout.spouts);
    let from = match layout.same {
        Some(tasks) => {
            builder.bolt("same", || Same).parallelism(tasks).shuffle("clicks");
            "same"
        }
        None => "clicks",
    };
    let windows = builder.bolt("windows", bolt);
    windows.parallelism(layout.count_executors).tasks(layout.counts).fields(from, ["page"]);
    let texts = Arc::clone(texts);
    builder.bolt("numbered", move || Numbered(Arc::clone(&texts))).shuffle("windows");
    if layout.delivery.is_exactly_once() {
        builder.bolt("sink", published.sink()).shuffle("numbered");
    }
    builder
}

/// Shows what one list of rows has more often than the other, if they differ. Both are in order.
fn assert_same(found: &[i64], expected: &[i64], texts: &Texts, what: &str) {
    let shown = |rows: &[i64], others: &[i64]| -> Vec<String> {
        let mut left = others.to_vec();
        let texts = lock(texts);
        let mut is_missing = |row: &&i64| match left.iter().position(|other| other == *row) {
            Some(at) => {
                left.swap_remove(at);
                false
            }
            None => true,
        };
        rows.iter().filter(|row| is_missing(row)).map(|row| texts[row].clone()).collect()
    };
    assert!(
        found == expected,
        "{what}: too many {:#?}, missing {:#?}",
        shown(found, expected),
        shown(expected, found)
    );
}

#[test]
fn any_windows_layout_and_delivery_give_the_rows_of_the_model() {
    let mut rows_seen = 0;
    for seed in 0..100 {
        let random = &mut StdRng::seed_from_u64(seed);
        let splits = Arc::new(splits(random, 5, 60));
        let delivery = [Delivery::AtMostOnce, Delivery::AtLeastOnce][random.random_range(0..2)];
        let (spec, layout) = (Spec::draw(random), Layout::draw(random, delivery));
        let (published, texts) = (Published::default(), Texts::default());
        let settings = spec.settings();
        let mut builder = topology(&splits, (move || aggregated(&settings), layout), &published, &texts);
        let capture = Capture::new();
        builder.bolt("sink", capture.bolt()).shuffle("numbered");
        let stats = ended(SimulatedTopology::start(built(builder), SimulationOptions::seeded(seed)));
        let mut rows: Vec<i64> = capture.rows().iter().filter_map(|row| row[0].as_i64()).collect();
        rows.sort_unstable();
        let what = format!("seed {seed}, {spec:?}, {layout:?}");
        assert_same(&rows, &spec.expected(&splits, &texts), &texts, &what);
        assert_eq!(stats.components.iter().map(|it| it.restarts).sum::<u64>(), 0, "{what}: {stats:?}");
        rows_seen += rows.len();
    }
    assert!(rows_seen > 5_000, "{rows_seen}");
}

/// Lives and dies with other layouts each time, but for the splits. Returns how often it was restored, and how often rows
/// had been published before it died.
fn lives<B: Bolt + 'static, W: WindowsOf<B>>(
    seed: u64,
    of: impl FnOnce(&mut StdRng) -> (Spec, W),
) -> (u32, u32) {
    let (mut restored, mut before) = (0, 0);
    let random = &mut StdRng::seed_from_u64(seed);
    let splits = Arc::new(splits(random, 5, 200));
    let (spec, bolt) = of(random);
    let (storage, published) = (MemoryStorage::seeded(seed), Published::default());
    let texts = Texts::default();
    let same = random.random_bool(0.5).then_some(2);
    for life in 0.. {
        let layout = Layout { same, ..Layout::draw(random, Delivery::ExactlyOnce) };
        let topology = built(topology(&splits, (bolt.clone(), layout), &published, &texts));
        let options = SimulationOptions::seeded(random.random_range(0..1000)).checkpoints(storage.clone());
        let mut running = SimulatedTopology::start(topology, options);
        if life == 5 {
            let stats = ended(running);
            assert!(!stats.cut_short && stats.stopped.is_none(), "seed {seed}: {stats:?}");
            break;
        }
        for _ in 0..random.random_range(1..12) {
            running.run_steps(random.random_range(1..60));
            running.advance(Duration::from_millis(random.random_range(0..4)));
            if random.random_bool(0.05) {
                running.crash(["clicks", "windows", "sink"][random.random_range(0..3)]);
            }
        }
        let checkpoints = running.stats().checkpoints.expect("it takes checkpoints");
        restored += u32::from(checkpoints.resumed_from.is_some());
        before += u32::from(!published.sorted().is_empty());
        if running.has_ended() {
            break;
        }
        kill(running, &storage);
    }
    let what = format!("seed {seed}, {spec:?}");
    assert_same(&published.sorted(), &spec.expected(&splits, &texts), &texts, &what);
    (restored, before)
}

#[test]
fn kills_and_rescaling_change_no_window() {
    let aggregated = |random: &mut StdRng| {
        let spec = Spec::draw(random);
        let settings = spec.settings();
        (spec, move || aggregated(&settings))
    };
    let all: Vec<(u32, u32)> = (0..60).map(|seed| lives(seed, aggregated)).collect();
    let (restored, before): (Vec<u32>, Vec<u32>) = all.into_iter().unzip();
    assert!(restored.iter().sum::<u32>() > 30 && before.iter().sum::<u32>() > 30, "{restored:?}, {before:?}");
}

#[test]
fn kills_and_rescaling_change_no_window_of_whole_tuples() {
    let whole = |random: &mut StdRng| {
        // Those end at multiples of the slide, these begin there.
        let (length, slide) = [(60, 60), (90, 30), (240, 60)][random.random_range(0..3)];
        let spec = Spec { kind: Kind::Time { length, slide, offset: 0 }, is_invertible: true };
        (spec, whole(length, slide))
    };
    let all: Vec<(u32, u32)> = (0..30).map(|seed| lives(seed, whole)).collect();
    let (restored, before): (Vec<u32>, Vec<u32>) = all.into_iter().unzip();
    assert!(restored.iter().sum::<u32>() > 10 && before.iter().sum::<u32>() > 10, "{restored:?}, {before:?}");
}
