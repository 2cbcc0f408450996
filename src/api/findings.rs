//! What a check of a component shows and finds: its inputs, and what it refuses, claims and uses.

use smol_str::SmolStr;

use crate::tuple::Fields;

/// One input of the component that is checked.
///
/// # Examples
/// ```
/// use squall::api::CheckInput;
///
/// let fields = Some(["status", "path"].into());
/// let input = CheckInput { component: "parse".into(), stream: "default".into(), fields, key: None };
/// assert!(input.fields.is_some_and(|fields| fields.position("path") == Some(1)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckInput {
    /// The component it comes from.
    pub component: SmolStr,
    /// Its stream.
    pub stream: SmolStr,
    /// The fields of that stream; `None` where they are not known because of another error.
    pub fields: Option<Fields>,
    /// The fields that it is grouped by, with the grouping `fields`.
    pub key: Option<Fields>,
}

/// One thing that a component refuses.
///
/// # Examples
/// ```
/// use squall::api::Check;
///
/// let mut check = Check::new(&[], None, 1);
/// check.refuse("period", "must be shorter than a day");
/// let (refusals, _) = check.into_parts();
/// assert_eq!(refusals[0].key.as_deref(), Some("period"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The key of the settings that is wrong; the error shows its place.
    pub key: Option<String>,
    /// What is wrong, and what to write instead.
    pub message: String,
    /// A name in the settings that does not exist, and the names that do; the error suggests one of them.
    pub choice: Option<Choice>,
}

/// A name that does not exist, among those that do.
///
/// # Examples
/// ```
/// use squall::api::{Check, CheckInput};
///
/// let fields = Some(["status"].into());
/// let inputs = [CheckInput { component: "parse".into(), stream: "default".into(), fields, key: None }];
/// let mut check = Check::new(&inputs, None, 1);
/// check.require_field("keep", "statuss");
/// let (refusals, _) = check.into_parts();
/// let choice = refusals[0].choice.as_ref().expect("there are other names");
/// assert_eq!((choice.written.as_str(), choice.names.to_string().as_str()), ("statuss", "status"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The name in the settings.
    pub written: SmolStr,
    /// The names that exist.
    pub names: Fields,
}

/// The resource by which a component claims the standard input of the process.
///
/// # Examples
/// ```
/// use squall::api::{Check, STANDARD_INPUT};
///
/// let mut check = Check::new(&[], None, 1);
/// check.claim("path", STANDARD_INPUT);
/// let (_, claims) = check.into_parts();
/// assert_eq!(claims[0].resource, "standard input");
/// ```
pub const STANDARD_INPUT: &str = "standard input";

/// A resource of the process that only one component can use, such as standard input.
///
/// # Examples
/// ```
/// use squall::api::Check;
///
/// let mut check = Check::new(&[], None, 1);
/// check.claim("device", "/dev/ttyUSB0");
/// let (_, claims) = check.into_parts();
/// assert_eq!((claims[0].key.as_str(), claims[0].resource.as_str()), ("device", "/dev/ttyUSB0"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The key of the settings that asks for the resource.
    pub key: String,
    /// The name of the resource in errors, such as [`STANDARD_INPUT`].
    pub resource: String,
}

/// A state that a component uses.
#[derive(Debug)]
pub(crate) struct StateUse {
    /// The key of the settings that has its name.
    pub(crate) key: String,
    pub(crate) name: String,
    /// The fields of its keys.
    pub(crate) fields: Vec<SmolStr>,
    /// Whether batches are put into it that are checkpoints.
    pub(crate) in_batches: bool,
}
