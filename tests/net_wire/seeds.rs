//! Anything in any order, from a seed; then everything heals, and nothing may be missing.
//!
//! `SQUALL_SEEDS` says how many seeds, `SQUALL_SEED` which is the first; a failure shows the last:
//! `SQUALL_SEED=17 SQUALL_SEEDS=1 cargo test --test net_wire seeds`.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use squall::net::NetCounts;

use crate::kit::World;
use crate::kit::operation::{Kind, Operation};

/// Enough for every kind of recovery to be met.
const SEEDS: u64 = 300;

fn from_environment(key: &str, default: u64) -> u64 {
    std::env::var(key).map_or(default, |value| value.parse().expect("a number of seeds"))
}

fn any_operation(rng: &mut StdRng) -> Operation {
    let node = rng.random();
    let pipe = rng.random();
    match rng.random_range(0..100) {
        0..30 => {
            let kinds = [Kind::Acks, Kind::Outcomes, Kind::Data, Kind::Data];
            let padding = [0, 40, 3000, 60_000][rng.random_range(0..31) / 10];
            Operation::Send { from: node, to: rng.random(), kind: kinds[rng.random_range(0..4)], padding }
        }
        30..60 => Operation::Turn { node, bytes: rng.random() },
        60..68 => Operation::Step,
        68..70 => Operation::Status { node },
        70..76 => Operation::Wait { millis: rng.random() },
        76..82 => Operation::GiveBack { node },
        82..84 => Operation::Cut { pipe, arrives: rng.random() },
        84..87 => {
            Operation::Flip { pipe, end: rng.random(), at: rng.random(), mask: rng.random_range(1..=255) }
        }
        87..91 => Operation::Hold { pipe, end: rng.random() },
        91..93 => Operation::Stop { node },
        93..94 => Operation::Replace { node, stays_alive: rng.random() },
        94..97 => Operation::SetMembers { node },
        97..98 => Operation::Apart { is_apart: rng.random_bool(0.3) },
        _ => Operation::BreakAt { bytes: rng.random_bool(0.5).then(|| rng.random_range(0..5000)) },
    }
}

#[test]
fn payloads_come_once_and_in_order_whatever_happens() {
    let mut total = Vec::new();
    let (first, count) = (from_environment("SQUALL_SEED", 0), from_environment("SQUALL_SEEDS", SEEDS));
    for seed in first..first + count {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(2 + (seed % 3) as usize, seed);
        for _ in 0..rng.random_range(20..400) {
            world.apply(any_operation(&mut rng));
        }
        world.settle();
        total.extend(world.past.iter().cloned());
        total.extend(world.nodes.iter().map(|node| node.mesh.counts().clone()));
    }
    if count < SEEDS {
        println!("fewer than {SEEDS} seeds: not held against what many of them have to meet");
        return;
    }
    let hit = |what: &str, of: fn(&NetCounts) -> u64| {
        assert!(total.iter().map(of).sum::<u64>() > 0, "no seed had any {what}");
    };
    hit("resent frames", |counts| counts.resent);
    hit("lost frames", |counts| counts.lost);
    hit("silence", |counts| counts.silences);
    hit("superseded connection", |counts| counts.superseded);
    hit("reconnect", |counts| counts.reconnects);
    hit("wrong checksum", |counts| counts.bad_frames.get("checksum").copied().unwrap_or_default());
    hit("wrong header", |counts| counts.bad_frames.get("header").copied().unwrap_or_default());
    for refusal in ["not-yet", "fenced", "wrong-worker", "timed-out"] {
        let of = |counts: &NetCounts| counts.refused.get(refusal).copied().unwrap_or_default();
        assert!(total.iter().map(of).sum::<u64>() > 0, "no seed had a refusal {refusal}");
    }
}

#[test]
fn a_seed_repeats_exactly() {
    let run = |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(3, seed);
        (0..300).for_each(|_| world.apply(any_operation(&mut rng)));
        let downs: Vec<_> = world.nodes.iter().map(|node| node.books.downs.clone()).collect();
        (world.now, downs, world.nodes.iter().map(|node| node.mesh.counts().clone()).collect::<Vec<_>>())
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed));
        assert_ne!(run(seed), run(seed + 1), "a seed decides");
    }
}
