//! The rules of transactions for one value. A transaction that is behind that of the value is refused by both.

use crate::api::Stored;
use crate::tuple::Value;

/// A transaction comes after a later one, so nobody can tell what it has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transaction {txid} is behind transaction {stored}, which the state has already")]
pub struct BehindError {
    /// The transaction.
    pub txid: u64,
    /// That of the value.
    pub stored: u64,
}

/// A value, and the last transaction that changed it. A transaction that comes again changes nothing, so each must have
/// the same tuples when it comes again.
///
/// # Examples
/// ```
/// use squall::Value;
/// use squall::trident::TransactionalValue;
///
/// let man = TransactionalValue { txid: 1, value: Value::from(3) };
/// let count = |txid, more: i64| {
///     move |man: &TransactionalValue| man.update(txid, |n| Ok::<_, ()>(Value::from(n.as_i64().unwrap() + more)))
/// };
/// assert_eq!(count(3, 2)(&man).unwrap().unwrap(), TransactionalValue { txid: 3, value: Value::from(5) });
/// assert_eq!(count(1, 2)(&man).unwrap().unwrap(), man, "it was counted");
/// assert!(count(0, 2)(&man).is_err(), "it is behind");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionalValue {
    /// The last transaction that changed the value.
    pub txid: u64,
    /// The value.
    pub value: Value,
}

impl TransactionalValue {
    /// What the value is after a transaction. `change` is called if it has not come before.
    ///
    /// # Errors
    /// When the transaction is behind that of the value. The inner error is that of `change`.
    pub fn update<E>(
        &self,
        txid: u64,
        change: impl FnOnce(&Value) -> Result<Value, E>,
    ) -> Result<Result<TransactionalValue, E>, BehindError> {
        match txid.cmp(&self.txid) {
            std::cmp::Ordering::Less => Err(BehindError { txid, stored: self.txid }),
            std::cmp::Ordering::Equal => Ok(Ok(self.clone())),
            std::cmp::Ordering::Greater => {
                Ok(change(&self.value).map(|value| TransactionalValue { txid, value }))
            }
        }
    }
}

impl From<TransactionalValue> for Stored {
    fn from(TransactionalValue { txid, value }: TransactionalValue) -> Stored {
        Stored { value, prev: Value::Null, txid: Some(txid) }
    }
}

/// A value, the last transaction that changed it, and the value before that. A transaction that comes again is counted
/// anew from there, so it may have other tuples then.
///
/// # Examples
/// The example of Storm's documentation:
/// ```
/// use squall::Value;
/// use squall::trident::OpaqueValue;
///
/// let stored = OpaqueValue { txid: 2, value: Value::from(4), prev: Value::from(1) };
/// let plus_two = |txid| {
///     let now = stored.get(Some(txid))?.as_i64().unwrap();
///     stored.update(Some(txid), Value::from(now + 2))
/// };
/// assert_eq!(plus_two(3)?, OpaqueValue { txid: 3, value: Value::from(6), prev: Value::from(4) });
/// assert_eq!(plus_two(2)?, OpaqueValue { txid: 2, value: Value::from(3), prev: Value::from(1) });
/// assert!(plus_two(1).is_err());
/// # Ok::<(), squall::trident::BehindError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OpaqueValue {
    /// The last transaction that changed the value.
    pub txid: u64,
    /// The value.
    pub value: Value,
    /// The value before that transaction. Null: there was none.
    pub prev: Value,
}

impl OpaqueValue {
    /// What a transaction begins with. Without a transaction: the value.
    ///
    /// # Errors
    /// When the transaction is behind that of the value.
    pub fn get(&self, txid: Option<u64>) -> Result<&Value, BehindError> {
        match txid {
            Some(txid) if txid == self.txid => Ok(&self.prev),
            Some(txid) if txid < self.txid => Err(BehindError { txid, stored: self.txid }),
            _ => Ok(&self.value),
        }
    }

    /// What is stored when a transaction has changed the value to this one. Without a transaction, that of the value
    /// stays, and the next one counts from the new value.
    ///
    /// # Errors
    /// When the transaction is behind that of the value.
    pub fn update(&self, txid: Option<u64>, value: Value) -> Result<OpaqueValue, BehindError> {
        let prev = self.get(txid)?.clone();
        Ok(OpaqueValue { txid: txid.unwrap_or(self.txid), value, prev })
    }
}

impl From<OpaqueValue> for Stored {
    fn from(OpaqueValue { txid, value, prev }: OpaqueValue) -> Stored {
        Stored { value, prev, txid: Some(txid) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `OpaqueValueTest` of Storm.
    #[test]
    fn an_opaque_value_is_what_storms_is() {
        let stored = OpaqueValue { txid: 8, value: Value::from("v1"), prev: Value::from("v0") };
        for txid in [None, Some(9), Some(100)] {
            assert_eq!(stored.get(txid), Ok(&Value::from("v1")), "{txid:?}");
        }
        assert_eq!(stored.get(Some(8)), Ok(&Value::from("v0")));
        assert_eq!(stored.get(Some(7)), Err(BehindError { txid: 7, stored: 8 }));
        let update = |txid| stored.update(Some(txid), Value::from("v2"));
        let expected =
            |txid, prev: &str| Ok(OpaqueValue { txid, value: Value::from("v2"), prev: Value::from(prev) });
        assert_eq!(update(8), expected(8, "v0"));
        assert_eq!(update(9), expected(9, "v1"));
        assert!(update(7).is_err());
    }
}
