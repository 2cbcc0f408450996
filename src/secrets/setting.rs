//! A setting that is a secret: in a document a text, or `{ secret = "name" }`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::secrets::name::SecretName;

/// The keyword of a JSON schema that marks the table `{ secret = "name" }`. By it the secrets that a document names are
/// found.
pub const SECRET_MARK: &str = "x-squall-secret";

/// A setting that is a secret: the name of one, or the text itself. A component has it in its settings, and reads the
/// text by [`TaskContext::secret`](crate::api::TaskContext::secret) when it is opened, and again whenever it connects
/// anew. Neither is shown: `Debug` does not show the text, and there is no `Display`.
///
/// In a document the setting is `{ secret = "name" }`, or a text. A text is part of the document, so it goes wherever
/// the document goes, with the variables that it was made of.
///
/// # Examples
/// A bolt whose password may be a secret:
/// ```
/// use squall::prelude::*;
/// use squall::secrets::{Secret, SecretDirectory};
/// use squall::testing::HarnessOptions;
/// use squall::topology::declare::parse_str;
///
/// #[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct NotifySettings {
///     /// Who may send.
///     token: Secret,
/// }
///
/// struct Notify {
///     settings: NotifySettings,
///     header: String,
/// }
///
/// impl Bolt for Notify {
///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
///         let token = context.secret(&self.settings.token)?;
///         self.header = format!("Authorization: Bearer {}", token.reveal());
///         Ok(())
///     }
///
///     fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         Ok(())
///     }
/// }
///
/// let mut registry = Registry::with_standard();
/// registry.bolt("notify", "Sends what it gets to somebody.", |settings: &NotifySettings| {
///     Ok(Notify { settings: settings.clone(), header: String::new() })
/// });
/// let document = r#"
///     topology.name = "alerts"
///     spout.alerts = { type = "generate", config.fields.text = "{seq}" }
///     bolt.notify = { type = "notify", inputs = ["alerts"], config.token = { secret = "pager" } }
/// "#;
/// let topology = parse_str("alerts.toml", document, &registry)?;
/// assert_eq!(topology.secrets().map(|name| name.as_str()).collect::<Vec<_>>(), ["pager"]);
///
/// // A test of the bolt by itself:
/// let directory = tempfile::tempdir()?;
/// let secrets = SecretDirectory::new(directory.path());
/// secrets.set(&"pager".parse()?, b"hush\n")?;
/// let options = HarnessOptions::default();
/// options.resources.set_secrets(secrets);
/// let settings = NotifySettings { token: Secret::named("pager".parse()?) };
/// let mut bolt = Notify { settings, header: String::new() };
/// bolt.prepare(&options.task_context()).expect("it has the secret");
/// assert_eq!(bolt.header, "Authorization: Bearer hush");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Text(String),
    Named(SecretName),
}

impl Secret {
    /// The secret of this name.
    pub fn named(name: SecretName) -> Secret {
        Secret(Kind::Named(name))
    }

    /// Its name. `None`: the setting is the text itself.
    pub fn name(&self) -> Option<&SecretName> {
        match &self.0 {
            Kind::Named(name) => Some(name),
            Kind::Text(_) => None,
        }
    }

    /// The text, if the setting is the text itself. The text of a named secret is known where it is opened.
    pub fn text(&self) -> Option<&str> {
        match &self.0 {
            Kind::Named(_) => None,
            Kind::Text(text) => Some(text),
        }
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(Kind::Text(text))
    }
}

impl fmt::Debug for Secret {
    /// The name is no secret, the text is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Text(_) => f.write_str("Secret(..)"),
            Kind::Named(name) => write!(f, "Secret({name})"),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// The one key of the table.
const KEY: &str = "secret";

struct SecretVisitor;

/// What is found in place of a secret is not quoted: it may be one.
fn misfit<E: Error>(found: &'static str) -> E {
    E::invalid_type(Unexpected::Other(found), &SecretVisitor)
}

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes, or `{ secret = \"name\" }`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::from(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Secret, E> {
        Ok(Secret::from(text))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
        Err(misfit("a number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
        Err(misfit("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
        Err(misfit("a number"))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Secret, M::Error> {
        let mut name: Option<SecretName> = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != KEY {
                return Err(M::Error::unknown_field(&key, &[KEY]));
            }
            // As a secret, so that what is no text is not quoted.
            let text: Secret = map.next_value()?;
            let text = text.text().ok_or_else(|| misfit::<M::Error>("a table"))?;
            name = Some(text.parse().map_err(M::Error::custom)?);
        }
        name.map(Secret::named).ok_or_else(|| M::Error::missing_field(KEY))
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        KEY: {
                            "type": "string",
                            "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$",
                            "description": "The name of a secret, whose value is on the hosts that run the component.",
                        },
                    },
                    "required": [KEY],
                    "additionalProperties": false,
                    SECRET_MARK: true,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Settings {
        url: Secret,
    }

    fn read(text: &str) -> Result<Secret, String> {
        toml::from_str::<Settings>(text).map(|read| read.url).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn it_is_a_text_or_a_name() {
        assert_eq!(read("url = 'postgres://db'").unwrap().text(), Some("postgres://db"));
        let named = read("url = { secret = 'orders-db' }").unwrap();
        assert_eq!((named.name().map(SecretName::as_str), named.text()), (Some("orders-db"), None));
    }

    #[test]
    fn nothing_else_fits_and_nothing_is_quoted() {
        let expected = "expected a text in quotes, or `{ secret = \"name\" }`";
        let check = |text: &str, expected: &str| {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("4711"), "{text}: {error}");
        };
        check("url = 4711", expected);
        check("url = 4711.0", expected);
        check("url = -4711", expected);
        check("url = ['4711']", expected);
        check("url = { secret = '../4711' }", "is not the name of a secret");
        check("url = { secret = 4711 }", expected);
        check("url = { secret = { secret = '4711' } }", expected);
        check("url = {}", "missing field `secret`");
        check("url = { sekret = 'a' }", "unknown field `sekret`, expected `secret`");
        check("url = { secret = 'a', file = 'b' }", "unknown field `file`");
    }

    #[test]
    fn a_text_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::from("hush".to_owned())), "Secret(..)");
        assert_eq!(format!("{:?}", read("url = { secret = 'a' }").unwrap()), "Secret(a)");
    }
}
