//! Anything in any order, from a seed; then everything heals, and nothing may be missing.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use squall::net::{NetCounts, PayloadKind};

use crate::kit::World;

const SEEDS: u64 = 300;

fn any_kind(rng: &mut StdRng) -> PayloadKind {
    match rng.random_range(0..4) {
        0 => PayloadKind::Acks,
        1 => PayloadKind::Outcomes,
        _ => PayloadKind::Data,
    }
}

fn one_thing(world: &mut World, rng: &mut StdRng) {
    let count = world.nodes.len();
    let node = rng.random_range(0..count);
    let pipe = (!world.pipes.is_empty()).then(|| rng.random_range(0..world.pipes.len()));
    match rng.random_range(0..100) {
        0..30 => {
            let to = (node + rng.random_range(1..count)) % count;
            let padding = [0, 40, 3000, 200_000][rng.random_range(0..31) / 10];
            world.send(node, to, any_kind(rng), padding);
        }
        30..60 => world.turn(node, rng.random_range(0..100_000)),
        60..70 => world.step(),
        70..76 => world.now = world.now.after(Duration::from_millis(rng.random_range(0..400))),
        76..82 => world.nodes[node].books.give_back_all(),
        82..86 => {
            let pipe = pipe.filter(|_| rng.random_bool(0.5));
            pipe.into_iter().for_each(|pipe| world.cut(pipe, rng.random_bool(0.5)));
        }
        86..89 => {
            let (end, at) = (rng.random_range(0..2), rng.random_range(0..9999));
            let mask = rng.random_range(1..=255);
            pipe.into_iter().for_each(|pipe| _ = world.flip(pipe, end, at, mask));
        }
        89..92 => {
            let end = rng.random_range(0..2);
            pipe.into_iter().for_each(|pipe| world.pipes[pipe].is_held[end] ^= true);
        }
        92..94 => world.nodes[node].is_stopped ^= true,
        94..95 => world.replace(node),
        95..98 => world.tell(node),
        98 => world.is_apart = rng.random_bool(0.3),
        _ => world.breaks_at = if rng.random_bool(0.5) { u64::MAX } else { rng.random_range(0..5000) },
    }
}

#[test]
fn payloads_come_once_and_in_order_whatever_happens() {
    let mut total = Vec::new();
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(2 + (seed % 3) as usize, seed);
        for _ in 0..rng.random_range(20..400) {
            one_thing(&mut world, &mut rng);
        }
        world.settle();
        total.extend(world.past.iter().cloned());
        total.extend(world.nodes.iter().map(|node| node.mesh.counts().clone()));
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
        (0..300).for_each(|_| one_thing(&mut world, &mut rng));
        let downs: Vec<_> = world.nodes.iter().map(|node| node.books.downs.clone()).collect();
        (world.now, downs, world.nodes.iter().map(|node| node.mesh.counts().clone()).collect::<Vec<_>>())
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed));
    }
}
