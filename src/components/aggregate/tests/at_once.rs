//! At least once and at most once: what is acked is in its total.

use super::store::TestStore;
use super::{MODES, begin, count, options_of, settings, totals};
use crate::components::aggregate::{Aggregate, Function};
use crate::config::{Delivery, StateMode};
use crate::testing::{BoltHarness, Emitted, HarnessOptions, TestTuple};
use crate::tuple::Value;

fn options(delivery: Delivery, store: &TestStore) -> HarnessOptions {
    HarnessOptions { delivery, ..options_of(StateMode::NonTransactional, store.clone()) }
}

fn execute(bolt: &mut BoltHarness, words: &str) {
    bolt.execute_all(words.split(' ').map(|word| TestTuple::new([word]).fields(["word"])));
}

#[test]
fn tuples_are_acked_when_they_are_in_their_totals_and_new_totals_are_emitted() {
    for delivery in [Delivery::AtLeastOnce, Delivery::AtMostOnce] {
        let store = TestStore::plain();
        let mut bolt = begin(&options(delivery, &store));
        execute(&mut bolt, "a b a");
        assert_eq!((store.totals(), bolt.acked()), (totals(&[]), &[][..]), "{delivery}: they are held");
        bolt.flush();
        assert_eq!(store.totals(), totals(&[("a", 2), ("b", 1)]), "{delivery}");
        let rows = bolt.take_rows("default");
        assert_eq!(rows, [("a", 2), ("b", 1)].map(|(word, n)| vec![Value::from(word), Value::from(n)]));
        execute(&mut bolt, "a");
        bolt.finish();
        assert_eq!(store.totals(), totals(&[("a", 3), ("b", 1)]), "{delivery}");
        if delivery == Delivery::AtLeastOnce {
            assert_eq!(bolt.acked(), [0, 1, 2, 3]);
        }
        assert_eq!((bolt.counter("batches"), bolt.counter("keys_put")), (2, 3));
        assert_eq!(bolt.errors(), [""; 0]);
    }
}

/// A total that is lost on its way is made again.
#[test]
fn a_new_total_is_anchored_to_the_last_tuple_of_its_key() {
    let mut bolt = begin(&options(Delivery::AtLeastOnce, &TestStore::plain()));
    execute(&mut bolt, "a b a");
    bolt.flush();
    let anchors: Vec<Vec<u64>> =
        bolt.take_emitted().into_iter().map(|Emitted { anchors, .. }| anchors).collect();
    assert_eq!(anchors, [vec![2], vec![1]]);
}

/// Nobody knows whether they are in the store, so they are replayed, and may count twice.
#[test]
fn tuples_fail_while_the_store_is_away() {
    let store = TestStore::plain();
    let mut bolt = begin(&options(Delivery::AtLeastOnce, &store));
    execute(&mut bolt, "a b");
    store.lock().is_away = true;
    bolt.flush();
    assert_eq!(
        (bolt.acked(), bolt.failed().len(), bolt.errors()),
        (&[][..], 2, &["the store is away".to_owned()][..])
    );
    store.lock().is_away = false;
    execute(&mut bolt, "a");
    bolt.flush();
    assert_eq!((store.totals(), bolt.acked()), (totals(&[("a", 1)]), &[2][..]));
}

#[test]
fn so_many_tuples_are_held_at_most() {
    let store = TestStore::plain();
    let mut bolt = begin(&options(Delivery::AtLeastOnce, &store));
    execute(&mut bolt, &vec!["a"; 1001].join(" "));
    assert_eq!((store.totals(), bolt.held().len()), (totals(&[("a", 1000)]), 1));
}

#[test]
fn a_tuple_that_does_not_fit_fails_alone() {
    let options = options(Delivery::AtLeastOnce, &TestStore::plain());
    let sum = Aggregate::new(settings(Function::Sum, Some("n"))).unwrap_or_else(|error| panic!("{error}"));
    let mut bolt = BoltHarness::start(Box::new(sum), &options).unwrap_or_else(|error| panic!("{error}"));
    for n in [i64::MAX, 1, -1] {
        bolt.execute(TestTuple::new(vec![Value::from("a"), Value::from(n)]).fields(["word", "n"]));
    }
    bolt.flush();
    assert_eq!((bolt.acked(), bolt.failed().len()), (&[0, 2][..], 1));
    assert!(bolt.errors()[0].contains("would not fit an i64"), "{:?}", bolt.errors());
}

/// Whoever builds a topology without validation.
#[test]
fn other_modes_are_refused() {
    for mode in MODES {
        let options =
            HarnessOptions { delivery: Delivery::AtLeastOnce, ..options_of(mode, TestStore::plain()) };
        let error = BoltHarness::start(count(), &options).err().expect("there are no batches");
        assert!(
            error.is_fatal() && error.to_string().contains("goes with `delivery = \"exactly-once\"` only")
        );
    }
}
