//! Every order of the records of small trees, each record up to twice.
//!
//! Edges are single bits, so no two selections of records collide by chance: what is found here is
//! the algebra's own. A sequence shorter than the longest is a prefix of one of them, so checking
//! after each record of the longest ones checks them all.

use squall::ids::{GENERATION_MOD, RootId, TaskId};
use squall::runtime::acker::{AckRecord, Acker, Outcome};

use crate::suspects::{Flaw, Suspect};
use crate::{Tracker, Violation};

/// A tree by the parent of each edge's tuple: edge `i` was sent by the reader of edge `parents[i]`,
/// or by the spout. Its records are init, then one ack per edge.
type Tree = Vec<Option<usize>>;

const COPIES_MAX: u8 = 2;

fn trees(edges: usize) -> Vec<Tree> {
    let mut trees: Vec<Tree> = vec![vec![]];
    for edge in 0..edges {
        let parents = || std::iter::once(None).chain((0..edge).map(Some));
        trees = trees.iter().flat_map(|tree| parents().map(|p| [&tree[..], &[p]].concat())).collect();
    }
    trees
}

fn records_of(tree: &Tree, root: RootId) -> Vec<AckRecord> {
    let sent_by = |reader| {
        let edges = tree.iter().enumerate().filter(|(_, parent)| **parent == reader);
        edges.fold(0, |xor, (edge, _)| xor ^ (1 << edge))
    };
    let acks = (0..tree.len()).map(|edge| AckRecord::Ack { root, xor: (1 << edge) ^ sent_by(Some(edge)) });
    std::iter::once(AckRecord::Init { root, xor: sent_by(None) }).chain(acks).collect()
}

/// Calls `visit` with every sequence of `kinds` things, each taken up to `COPIES_MAX` times; only
/// with the longest ones if `longest_only`.
fn sequences(kinds: usize, longest_only: bool, visit: &mut impl FnMut(&[usize])) {
    fn extend(
        so_far: &mut Vec<usize>,
        left: &mut [u8],
        longest_only: bool,
        visit: &mut impl FnMut(&[usize]),
    ) {
        if !longest_only || left.iter().all(|&n| n == 0) {
            visit(so_far);
        }
        for kind in 0..left.len() {
            if left[kind] > 0 {
                left[kind] -= 1;
                so_far.push(kind);
                extend(so_far, left, longest_only, visit);
                so_far.pop();
                left[kind] += 1;
            }
        }
    }
    extend(&mut vec![], &mut vec![COPIES_MAX; kinds], longest_only, visit);
}

/// What became of one tree under one sequence of its records.
#[derive(Clone, Copy, Default)]
struct Fate {
    completed: bool,
    falsely: bool,
    everything_arrived: bool,
}

fn deliver(
    tracker: &mut impl Tracker,
    records: &[AckRecord],
    sequence: &[usize],
    links_deduplicate: bool,
) -> Fate {
    let all: u32 = (1 << records.len()) - 1;
    let all_acks = all & !1;
    let mut arrived = 0u32;
    let mut fate = Fate::default();
    for &index in sequence {
        let is_copy = arrived & (1 << index) != 0;
        arrived |= 1 << index;
        if is_copy && links_deduplicate {
            continue;
        }
        if tracker.apply(records[index]).is_some() {
            fate.completed = true;
            fate.falsely |= arrived & all_acks != all_acks;
        }
    }
    fate.everything_arrived = arrived == all;
    fate
}

/// Each sequence gets a generation of its own, so one acker serves them all.
struct Roots(u32);

impl Roots {
    fn next(&mut self) -> RootId {
        self.0 = (self.0 + 1) % GENERATION_MOD;
        RootId::new(TaskId(1), 0, self.0)
    }
}

/// All trees of up to `edges` edges. Without de-duplication only safety is asked for.
fn check_all_trees(
    tracker: &mut impl Tracker,
    edges: usize,
    links_deduplicate: bool,
) -> Result<(), Violation> {
    let mut roots = Roots(0);
    for tree in (1..=edges).flat_map(trees) {
        let mut result = Ok(());
        sequences(tree.len() + 1, true, &mut |sequence| {
            let records = records_of(&tree, roots.next());
            let fate = deliver(tracker, &records, sequence, links_deduplicate);
            if fate.falsely {
                result = Err(Violation::FalseCompletion);
            } else if links_deduplicate && !fate.completed {
                result = Err(Violation::Hang);
            } else if links_deduplicate && tracker.open() != 0 {
                result = Err(Violation::Ghost);
            }
        });
        result?;
    }
    Ok(())
}

#[test]
fn no_order_and_no_copies_complete_a_tree_of_four_edges_falsely() {
    assert_eq!(trees(4).len(), 24);
    assert_eq!(check_all_trees(&mut Acker::new(1), 4, false), Ok(()));
}

#[test]
fn with_links_that_deduplicate_every_tree_completes() {
    assert_eq!(check_all_trees(&mut Acker::new(1), 4, true), Ok(()));
}

struct Tally {
    sequences: usize,
    false_completions: usize,
    hangs: usize,
}

/// The tree spout → a, b; a → c, each record 0 to 2 times in every order.
fn tally_of_three_edges(tracker: &mut impl Tracker) -> Tally {
    let (tree, mut roots) = (vec![None, None, Some(0)], Roots(0));
    let mut tally = Tally { sequences: 0, false_completions: 0, hangs: 0 };
    sequences(tree.len() + 1, false, &mut |sequence| {
        let fate = deliver(tracker, &records_of(&tree, roots.next()), sequence, false);
        tally.sequences += 1;
        tally.false_completions += usize::from(fate.falsely);
        tally.hangs += usize::from(fate.everything_arrived && !fate.completed);
    });
    tally
}

/// Storm XORs every init in, so that an init delivered twice acks a tree of which nothing was
/// processed. Why `Acker::init` ignores the second one.
#[test]
fn storms_rule_completes_falsely_in_1222_of_7365_sequences() {
    let storm = tally_of_three_edges(&mut Suspect::new(Flaw::EveryInitCounts));
    assert_eq!((storm.sequences, storm.false_completions), (7365, 1222));
}

/// Why links have to de-duplicate: an ack that comes twice cancels itself. Only the block's
/// time-out helps then, but nothing is lost.
#[test]
fn without_link_deduplication_4248_of_7365_sequences_hang_and_none_is_false() {
    let ours = tally_of_three_edges(&mut Acker::new(1));
    assert_eq!((ours.sequences, ours.false_completions, ours.hangs), (7365, 0, 4248));
}

/// Two blocks of one edge that use one slot, one after the other: init and ack of each, and the
/// spout's `forget` of the first, all up to twice. The second begins when the first is over for
/// the spout: acked, or forgotten.
fn check_two_generations(new: impl Fn() -> Box<dyn Tracker>) -> Result<(), Violation> {
    let (one, two) = (RootId::new(TaskId(1), 0, GENERATION_MOD - 1), RootId::new(TaskId(1), 0, 0));
    let records = [
        AckRecord::Init { root: one, xor: 1 },
        AckRecord::Ack { root: one, xor: 1 },
        AckRecord::Forget { root: one },
        AckRecord::Init { root: two, xor: 2 },
        AckRecord::Ack { root: two, xor: 2 },
    ];
    let mut result = Ok(());
    sequences(records.len(), true, &mut |sequence| {
        result = result.and(check_one_slot(&mut *new(), &records, sequence));
    });
    result
}

fn check_one_slot(
    tracker: &mut dyn Tracker,
    records: &[AckRecord; 5],
    sequence: &[usize],
) -> Result<(), Violation> {
    let (mut first_over, mut arrived, mut second_complete) = (false, 0u32, false);
    for &index in sequence {
        if arrived & (1 << index) != 0 && index != 0 {
            continue; // A link lets only inits through twice, to prove that they do no harm.
        }
        if index >= 3 && !first_over {
            return Ok(()); // The spout would not have sent it.
        }
        arrived |= 1 << index;
        let outcome = tracker.apply(records[index]);
        first_over |= index == 2;
        match outcome {
            Some(Outcome::Complete(root)) if root.generation() == 0 => {
                if second_complete || arrived >> 3 != 0b11 {
                    return Err(Violation::FalseCompletion);
                }
                second_complete = true;
            }
            Some(_) if first_over => return Err(Violation::Ghost),
            Some(_) if arrived & 0b11 != 0b11 => return Err(Violation::FalseCompletion),
            Some(_) => first_over = true,
            None => {}
        }
        let second_open = arrived >> 3 != 0 && !second_complete;
        if first_over && tracker.open() != usize::from(second_open) {
            return Err(Violation::Ghost);
        }
    }
    if arrived >> 3 == 0b11 && !second_complete { Err(Violation::Hang) } else { Ok(()) }
}

#[test]
fn late_records_of_a_slots_old_block_neither_revive_it_nor_touch_the_new_one() {
    assert_eq!(check_two_generations(|| Box::new(Acker::new(1))), Ok(()));
}

#[test]
fn a_broken_acker_is_found() {
    let first_found = |flaw| {
        check_all_trees(&mut Suspect::new(flaw), 3, false)
            .and_then(|()| check_all_trees(&mut Suspect::new(flaw), 3, true))
            .and_then(|()| check_two_generations(|| Box::new(Suspect::new(flaw))))
            .err()
    };
    assert_eq!(first_found(Flaw::None), None, "or the suspects' own ground is rotten");
    assert_eq!(first_found(Flaw::EveryInitCounts), Some(Violation::FalseCompletion));
    assert_eq!(first_found(Flaw::InitIsNotNeeded), Some(Violation::FalseCompletion));
    assert_eq!(first_found(Flaw::EarlyAcksAreDropped), Some(Violation::Hang));
    assert_eq!(first_found(Flaw::LateAcksOpenEntries), Some(Violation::Ghost));
    assert!(first_found(Flaw::GenerationsAreIgnored).is_some());
}
