//! The key of a call, whatever its shape.

use super::tests::States;
use crate::state::{StateError, ValueCells};
use crate::tuple::Value;

#[test]
fn a_call_shows_its_key_whatever_its_shape() {
    let mut states = States::new();
    let keys: [Vec<Value>; 5] = [
        vec![7.into()],
        vec![8.into()],
        vec!["storm".into()],
        vec![9.into()],
        vec![7.into(), "storm".into()],
    ];
    // The second time, all have a place.
    for time in 0..2 {
        states.state.begin_call(1 + time);
        for key in &keys {
            states.state.set_key_of(key, &(0..key.len()).collect::<Vec<_>>());
            assert_eq!(states.state.key(), key);
            states.write_plain(Some(1));
            assert_eq!(states.state.key(), key);
        }
        states.state.commit();
        for (call, key) in (10..).zip(keys.iter().rev()) {
            states.state.begin_call(call);
            assert!(states.state.key().is_empty());
            states.state.set_key_of(key, &(0..key.len()).collect::<Vec<_>>());
            assert_eq!((states.state.key(), states.state.key()), (&**key, &**key));
        }
    }
    let (mut walk, mut key) = (states.state.walk().expect("it can be read"), Vec::new());
    let mut walked = Vec::new();
    while states.state.next_key(&mut walk, &mut key).expect("it can be read").is_some() {
        assert!(states.state.key().is_empty());
        walked.push(key.clone());
    }
    assert_eq!(walked, keys);
}

#[test]
fn a_call_without_a_key_is_refused() {
    let mut states = States::new();
    states.state.begin_call(1);
    assert_eq!(states.state.place_to_change(states.map), Err(StateError::NoKey { state: "map".into() }));
    assert_eq!(states.state.place(70), Err(StateError::Unregistered));
    assert!(states.state.column::<ValueCells<String>>(states.value).is_err(), "another type");
}
