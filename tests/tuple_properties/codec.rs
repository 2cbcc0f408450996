use proptest::collection::vec;
use proptest::prelude::*;
use squall::tuple::TupleBatch;
use squall::tuple::codec::{CodecError, decode, decode_value, encode, encode_value};

use crate::values::{any_batch, any_value};

fn bytes_of(batch: &TupleBatch) -> Vec<u8> {
    let mut bytes = vec![];
    encode(batch, &mut bytes).expect("the batch keeps the rules");
    bytes
}

proptest! {
    #[test]
    fn values_return(value in any_value()) {
        let mut bytes = vec![];
        encode_value(&value, &mut bytes).expect("it is not too deep");
        prop_assert_eq!(decode_value(&bytes), Ok(value));
    }

    #[test]
    fn batches_return(batch in any_batch()) {
        let back = decode(&bytes_of(&batch)).expect("it was written");
        prop_assert_eq!(back.rows.values(), batch.rows.values());
        prop_assert_eq!((back.arity, back.len, back.heap), (batch.arity, batch.len, batch.heap));
        prop_assert_eq!((back.runs, back.msgs, back.extras), (batch.runs, batch.msgs, batch.extras));
    }

    #[test]
    fn a_truncation_is_an_error(batch in any_batch(), end in any::<prop::sample::Index>()) {
        let bytes = bytes_of(&batch);
        let end = end.index(bytes.len());
        prop_assert_eq!(decode(&bytes[..end]).map(|_| ()), Err(CodecError::Truncated));
    }

    /// One byte changed: an error, or another batch that has exactly these bytes. The first byte stays: it is
    /// the version, and older versions are read, too, but never written.
    #[test]
    fn there_is_one_form_only(batch in any_batch(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = bytes_of(&batch);
        *at.get_mut(&mut bytes[1..]) = byte;
        if let Ok(other) = decode(&bytes) {
            prop_assert_eq!(bytes_of(&other), bytes);
        }
    }

    #[test]
    fn random_bytes_do_no_harm(mut bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        bytes.insert(0, 1);
        let _ = decode(&bytes);
        if let Ok(value) = decode_value(&bytes) {
            let mut again = vec![];
            encode_value(&value, &mut again).expect("it was not too deep");
            prop_assert_eq!(again, bytes);
        }
    }
}
