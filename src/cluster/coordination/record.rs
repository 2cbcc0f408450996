//! What is written to nodes: small JSON objects that people can read, and that say what they are.
//!
//! ```text
//! {"kind":"leader","version":1,"epoch":7,"holder":{"id":"nimbus-1-5f0c","address":"10.0.0.5:7070"},"written_by":"…"}
//! ```
//!
//! 1. `kind` and `version` come first, and stay as they are in all versions. The other fields change with the version.
//! 2. What is read is taken as a whole or refused: another kind, a newer version, a field that is not known, missing or
//!    there twice, and what is not JSON in UTF-8. So a record is never misread, and nothing that a newer squall has
//!    written is lost because an older one writes it back.
//! 3. Each kind has a limit of its size, far below that of a node.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::cluster::coordination::error::CoordinationError;
use crate::cluster::coordination::node::Version;
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::service::Coordination;
use crate::text::shown;

/// Something that is written to a node. Its fields are those of a JSON object, without `kind` and `version`.
pub trait Record: Serialize + DeserializeOwned {
    /// What it is.
    const KIND: &'static str;
    /// Which version of it this squall writes and reads.
    const VERSION: u32;
    /// The bytes that it may have.
    const BYTES_MAX: usize = 64 * 1024;
}

/// Why something is not the record that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It has too many bytes.
    #[error("the {kind} record of node `{path}` has {bytes} bytes; it may have {max}")]
    TooLarge {
        /// The node.
        path: NodePath,
        /// What it should be.
        kind: &'static str,
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// It is something else.
    #[error(
        "node `{path}` has no {kind} record: {flaw}. Somebody else has written it; give squall a tree of its own"
    )]
    Foreign {
        /// The node.
        path: NodePath,
        /// What it should be.
        kind: &'static str,
        /// What is wrong.
        flaw: String,
    },
    /// A newer squall has written it.
    #[error(
        "the {kind} record of node `{path}` has version {found}, and this squall reads versions up to {known}: \
         update squall on this host"
    )]
    Newer {
        /// The node.
        path: NodePath,
        /// What it is.
        kind: &'static str,
        /// Its version.
        found: u32,
        /// The newest version that is known here.
        known: u32,
    },
    /// It says that it is such a record, and is none.
    #[error("the {kind} record of node `{path}` cannot be read: {flaw}")]
    Malformed {
        /// The node.
        path: NodePath,
        /// What it should be.
        kind: &'static str,
        /// What is wrong.
        flaw: String,
    },
}

/// Why a record was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordAccessError {
    /// The call failed.
    #[error(transparent)]
    Coordination(#[from] CoordinationError),
    /// It is not such a record.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The bytes of a record. `path` is where it will be.
///
/// # Errors
/// When it is too large, or is no JSON object, or has fields `kind` or `version`.
pub fn encode_record<R: Record>(path: &NodePath, record: &R) -> Result<Vec<u8>, RecordError> {
    let malformed = |flaw: String| RecordError::Malformed { path: path.clone(), kind: R::KIND, flaw };
    let fields = match serde_json::to_value(record) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err(malformed("it is no object with fields".to_owned())),
        Err(error) => return Err(malformed(shown(error))),
    };
    let mut all = Map::new();
    all.insert("kind".to_owned(), R::KIND.into());
    all.insert("version".to_owned(), R::VERSION.into());
    for (name, value) in fields {
        if all.insert(name.clone(), value).is_some() {
            return Err(malformed(format!("it has a field `{name}` of its own")));
        }
    }
    let bytes = Value::Object(all).to_string().into_bytes();
    check_size::<R>(path, &bytes)?;
    Ok(bytes)
}

/// The record that these bytes of a node are.
///
/// # Errors
/// When they are none, or one of another kind or of a newer version.
pub fn decode_record<R: Record>(path: &NodePath, bytes: &[u8]) -> Result<R, RecordError> {
    let foreign = |flaw: String| RecordError::Foreign { path: path.clone(), kind: R::KIND, flaw };
    let malformed = |flaw: String| RecordError::Malformed { path: path.clone(), kind: R::KIND, flaw };
    check_size::<R>(path, bytes)?;
    let text = std::str::from_utf8(bytes).map_err(|_| foreign("it is not UTF-8".to_owned()))?;
    let Fields(mut fields) = serde_json::from_str(text)
        .map_err(|error| foreign(format!("it is no JSON object: {}", shown(error))))?;
    match fields.shift_remove("kind") {
        Some(Value::String(kind)) if kind == R::KIND => {}
        Some(Value::String(kind)) => return Err(foreign(format!("its kind is `{}`", shown(kind)))),
        _ => return Err(foreign("it does not say its `kind`".to_owned())),
    }
    let version = fields.shift_remove("version").as_ref().and_then(Value::as_u64);
    match version.and_then(|version| u32::try_from(version).ok()) {
        Some(found) if found > R::VERSION => {
            Err(RecordError::Newer { path: path.clone(), kind: R::KIND, found, known: R::VERSION })
        }
        Some(found) if found == R::VERSION => {
            let mut unknown = Vec::new();
            let record =
                serde_ignored::deserialize(Value::Object(fields), |field| unknown.push(field.to_string()))
                    .map_err(|error: serde_json::Error| malformed(shown(error)))?;
            match unknown.first() {
                Some(field) => Err(malformed(format!("its field `{}` is not known", shown(field)))),
                None => Ok(record),
            }
        }
        Some(found) => Err(malformed(format!("there was never a version {found} of it"))),
        None => Err(malformed("its `version` is no number".to_owned())),
    }
}

/// Reads the record of a node, with the version that the node has; `None` if there is no node.
///
/// # Errors
/// When the call fails, or the node has another record.
pub fn read_record<R: Record>(
    coordination: &dyn Coordination,
    path: &NodePath,
) -> Result<Option<(R, Version)>, RecordAccessError> {
    let Some(node) = coordination.get(path)? else { return Ok(None) };
    Ok(Some((decode_record(path, &node.data)?, node.version)))
}

fn check_size<R: Record>(path: &NodePath, bytes: &[u8]) -> Result<(), RecordError> {
    let (path, kind, bytes, max) = (path.clone(), R::KIND, bytes.len(), R::BYTES_MAX);
    if bytes > max { Err(RecordError::TooLarge { path, kind, bytes, max }) } else { Ok(()) }
}

/// The fields of an object, each of which is there once.
struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Map::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if fields.insert(name.clone(), value).is_some() {
                return Err(A::Error::custom(format!("the field `{}` is there twice", shown(name))));
            }
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Words {
        words: Vec<String>,
        count: u32,
    }

    impl Record for Words {
        const KIND: &'static str = "words";
        const VERSION: u32 = 3;
        const BYTES_MAX: usize = 100;
    }

    fn path() -> NodePath {
        "/a".parse().expect("a path")
    }

    fn words() -> Words {
        Words { words: vec!["storm".to_owned()], count: 1 }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let bytes = encode_record(&path(), &words()).expect("it is small");
        let text = r#"{"kind":"words","version":3,"words":["storm"],"count":1}"#;
        assert_eq!(String::from_utf8_lossy(&bytes), text);
        assert_eq!(decode_record(&path(), &bytes), Ok(words()));
        assert_eq!(
            decode_record(&path(), br#"{ "count": 1, "words": ["storm"], "version": 3, "kind": "words" }"#),
            Ok(words())
        );
    }

    #[test]
    fn what_is_no_such_record_is_refused_and_says_why() {
        for (bytes, said) in [
            (&b""[..], "node `/a` has no words record: it is no JSON object"),
            (b"\xff\xfe", "it is not UTF-8"),
            (b"storm", "it is no JSON object"),
            (b"[1]", "it is no JSON object"),
            (b"{}", "it does not say its `kind`"),
            (br#"{"kind":7}"#, "it does not say its `kind`"),
            (br#"{"kind":"numbers","version":1}"#, "its kind is `numbers`"),
            (br#"{"kind":"words"}"#, "its `version` is no number"),
            (br#"{"kind":"words","version":-1}"#, "its `version` is no number"),
            (br#"{"kind":"words","version":1e99}"#, "its `version` is no number"),
            (br#"{"kind":"words","version":0}"#, "never a version 0"),
            (
                br#"{"kind":"words","version":4,"new":true}"#,
                "has version 4, and this squall reads versions up to 3",
            ),
            (br#"{"kind":"words","version":3,"count":1}"#, "missing field `words`"),
            (br#"{"kind":"words","version":3,"words":[],"count":-1}"#, "invalid value"),
            (br#"{"kind":"words","version":3,"words":[],"count":1,"new":2}"#, "its field `new` is not known"),
            (
                br#"{"kind":"words","version":3,"words":[],"count":1,"count":2}"#,
                "the field `count` is there twice",
            ),
            (br#"{"kind":"words","version":3,"words":[],"count":1} x"#, "trailing characters"),
        ] {
            let refused =
                decode_record::<Words>(&path(), bytes).expect_err("it is no such record").to_string();
            assert!(refused.contains(said), "{}: {refused}", String::from_utf8_lossy(bytes));
            assert!(refused.contains("`/a`"), "{refused}");
        }
    }

    #[test]
    fn records_have_a_limit_of_their_size() {
        let large = Words { words: vec!["x".repeat(100)], count: 1 };
        let refused = encode_record(&path(), &large).expect_err("it is too large");
        assert!(refused.to_string().ends_with("it may have 100"), "{refused}");
        let refused = decode_record::<Words>(&path(), &[b' '; 101]).expect_err("it is too large");
        assert_eq!(refused, RecordError::TooLarge { path: path(), kind: "words", bytes: 101, max: 100 });
    }

    #[test]
    fn every_cut_and_every_other_byte_is_refused_or_read_and_never_a_panic() {
        let bytes = encode_record(&path(), &words()).expect("it is small");
        for at in 0..bytes.len() {
            assert!(decode_record::<Words>(&path(), &bytes[..at]).is_err(), "cut at {at}");
            for byte in 0..=255 {
                let mut other = bytes.clone();
                other[at] = byte;
                let _ = decode_record::<Words>(&path(), &other);
            }
        }
        let deep = format!("{}{}", "[".repeat(50), "]".repeat(50));
        assert!(decode_record::<Words>(&path(), deep.as_bytes()).is_err());
    }

    #[test]
    fn what_cannot_be_a_record_is_not_written() {
        #[derive(Serialize, Deserialize)]
        struct Sly {
            kind: String,
        }
        impl Record for Sly {
            const KIND: &'static str = "sly";
            const VERSION: u32 = 1;
        }
        #[derive(Serialize, Deserialize)]
        struct Number(u32);
        impl Record for Number {
            const KIND: &'static str = "number";
            const VERSION: u32 = 1;
        }
        let sly = encode_record(&path(), &Sly { kind: "words".to_owned() }).expect_err("it would be misread");
        assert!(sly.to_string().contains("a field `kind` of its own"), "{sly}");
        let number = encode_record(&path(), &Number(7)).expect_err("it has no fields");
        assert!(number.to_string().contains("no object"), "{number}");
    }
}
