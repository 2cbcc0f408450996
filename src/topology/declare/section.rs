//! Tables read by their list of keys: unknown keys, wrong types, units.

use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::config::AutoOr;
use crate::config::units::{parse_duration, parse_size};
use crate::topology::declare::keys::{Key, LATER, OTHER_NAMES, Shape};
use crate::topology::declare::texts::{Finding, Report, Span};
use crate::topology::declare::tree::{Node, in_order, type_name};
use crate::topology::suggest::{self, shown};

/// Reads the values of keys into an `O`.
pub(super) struct Section<'a> {
    pub report: &'a mut Report,
    /// What the keys are of, as a message names it: ` of bolt `count`` or nothing.
    pub of: String,
}

impl Section<'_> {
    /// Reads one value. Special keys are the caller's.
    pub fn read<O>(&mut self, key: &Key<O>, node: &Node<'_>, options: &mut O) {
        match key.shape {
            Shape::Switch(set) => self.switch(key.path, node).into_iter().for_each(|v| set(options, v)),
            Shape::Count(min, max, set) => {
                self.count(key.path, node, min, max).into_iter().for_each(|v| set(options, v));
            }
            Shape::CountOrOff(min, max, set) => match node.get_ref().as_str() {
                Some("off") => set(options, None),
                _ => self.count(key.path, node, min, max).into_iter().for_each(|v| set(options, Some(v))),
            },
            Shape::AutoOrCount(min, max, set) => {
                self.auto_or_count(key.path, node, min, max).into_iter().for_each(|v| set(options, v));
            }
            Shape::Period(set) => {
                self.measure(key.path, node, "a duration, as \"30s\"", parse_duration)
                    .into_iter()
                    .for_each(|v| set(options, v));
            }
            Shape::PeriodOrOff(set) => match node.get_ref().as_str() {
                Some("off") => set(options, None),
                _ => self
                    .measure(key.path, node, "a duration, as \"30s\", or \"off\"", parse_duration)
                    .into_iter()
                    .for_each(|v| set(options, Some(v))),
            },
            Shape::Size(set) => {
                self.measure(key.path, node, "a size, as \"64MiB\"", parse_size)
                    .into_iter()
                    .for_each(|v| set(options, v));
            }
            Shape::AutoOrSize(set) => match node.get_ref().as_str() {
                Some("auto") => set(options, AutoOr::Auto),
                _ => self
                    .measure(key.path, node, "a size, as \"64MiB\", or \"auto\"", parse_size)
                    .into_iter()
                    .for_each(|v| set(options, AutoOr::Fixed(v))),
            },
            Shape::Text(expected, set) => match node.get_ref().as_str().map(|text| set(options, text)) {
                None => self.wrong_type(key.path, node, expected),
                Some(Ok(())) => {}
                Some(Err(message)) => {
                    let message = format!("`{}`{}: {message}", key.path, self.of);
                    self.report
                        .push(Finding::at(place(node), message).help(Some(format!("it is {expected}"))));
                }
            },
            Shape::Names(set) => self.names(key.path, node).into_iter().for_each(|v| set(options, v)),
            Shape::OneOf(words, set) => match node.get_ref().as_str() {
                Some(word) if words.contains(&word) => set(options, word),
                Some(other) => {
                    let of = &self.of;
                    let message =
                        format!("`{}`{of} must be {}, not \"{}\"", key.path, any_of(words), shown(other));
                    self.report.push(Finding::at(place(node), message));
                }
                None => self.wrong_type(key.path, node, &any_of(words)),
            },
            Shape::Decimal(max, set) => {
                self.decimal(key.path, node, max).into_iter().for_each(|v| set(options, v));
            }
            Shape::Groups(set) => self.groups(key.path, node).into_iter().for_each(|v| set(options, v)),
            Shape::Free(set) => self.free(key.path, node).into_iter().for_each(|v| set(options, v)),
            Shape::Nested(inner) => self.nested(key.path, inner, node, options),
            Shape::Special => {}
        }
    }

    /// Reads a table of keys.
    fn nested<O>(&mut self, path: &str, keys: &'static [Key<O>], node: &Node<'_>, options: &mut O) {
        let Some(table) = self.table(path, node) else { return };
        let names: Vec<&'static str> = keys.iter().map(Key::name).collect();
        for (name, _, value) in self.known(path, table, &names) {
            let key = keys.iter().find(|key| key.name() == name).expect("it is a known name");
            self.read(key, value, options);
        }
    }

    /// A table, if it is one.
    pub fn table<'n, 't>(&mut self, path: &str, node: &'n Node<'t>) -> Option<&'n DeTable<'t>> {
        let table = node.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(path, node, "a table");
        }
        table
    }

    /// A string, if it is one.
    pub fn text<'n>(&mut self, path: &str, node: &'n Node<'_>) -> Option<&'n str> {
        let text = node.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(path, node, "a string");
        }
        text
    }

    fn names(&mut self, path: &str, node: &Node<'_>) -> Option<Vec<String>> {
        let expected = "an array of names, as [\"a\", \"b\"]";
        let names = node.get_ref().as_array().and_then(|items| {
            items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        if names.is_none() {
            self.wrong_type(path, node, expected);
        }
        names
    }

    /// `true` or `false`.
    pub fn switch(&mut self, path: &str, node: &Node<'_>) -> Option<bool> {
        let value = node.get_ref().as_bool();
        if value.is_none() {
            self.wrong_type(path, node, "`true` or `false`");
        }
        value
    }

    /// Reports that a value is not what it should be.
    pub fn wrong_type(&mut self, path: &str, node: &Node<'_>, expected: &str) {
        let found = type_name(node.get_ref());
        let message = format!("`{path}`{} must be {expected}, not {found}", self.of);
        self.report.push(Finding::at(place(node), message).label(Some(found.to_owned())));
    }

    fn count(&mut self, path: &str, node: &Node<'_>, min: u32, max: u32) -> Option<u32> {
        let Some(integer) = node.get_ref().as_integer() else {
            self.wrong_type(path, node, "a whole number");
            return None;
        };
        let value = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let value = value.and_then(|value| u32::try_from(value).ok());
        // Other bounds are the validator's; this number could not even be handed to it.
        if value.is_none() {
            let message = format!("`{path}`{} must be between {min} and {max}", self.of);
            self.report.push(Finding::at(place(node), message));
        }
        value
    }

    fn auto_or_count(&mut self, path: &str, node: &Node<'_>, min: u32, max: u32) -> Option<AutoOr<u32>> {
        match node.get_ref() {
            DeValue::String(text) if text == "auto" => Some(AutoOr::Auto),
            DeValue::Integer(_) => self.count(path, node, min, max).map(AutoOr::Fixed),
            _ => {
                self.wrong_type(path, node, "a whole number or \"auto\"");
                None
            }
        }
    }

    fn decimal(&mut self, path: &str, node: &Node<'_>, max: f64) -> Option<f64> {
        let value = match node.get_ref() {
            DeValue::Integer(number) => {
                i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number as f64)
            }
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => {
                self.wrong_type(path, node, "a number");
                return None;
            }
        };
        let within = value.filter(|value: &f64| (0.0..=max).contains(value));
        if within.is_none() {
            let message = format!("`{path}`{} must be between 0 and {max}", self.of);
            // Storm counts processor time in points.
            let points = value.filter(|value| path.ends_with("cpu") && value.is_finite() && *value > max);
            let help = points
                .map(|points| format!("it is a number of cores: {} if {points} are points", points / 100.0));
            self.report.push(Finding::at(place(node), message).help(help));
        }
        within
    }

    fn groups(&mut self, path: &str, node: &Node<'_>) -> Option<Vec<Vec<String>>> {
        let Some(items) = node.get_ref().as_array() else {
            self.wrong_type(path, node, "an array of groups, as [[\"a\", \"b\"]]");
            return None;
        };
        items.iter().map(|item| self.names(path, item)).collect()
    }

    fn measure<T>(
        &mut self,
        path: &str,
        node: &Node<'_>,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match node.get_ref() {
            DeValue::String(text) => match parse(&shown(text)) {
                Ok(value) => Some(value),
                Err(message) => {
                    let message = format!("`{path}`{}: {message}", self.of);
                    self.report.push(Finding::at(place(node), message));
                    None
                }
            },
            DeValue::Integer(number) => {
                let message = format!("`{path}`{} has no unit: it must be {expected}", self.of);
                let finding = Finding::at(place(node), message);
                self.report.push(finding.label(Some(format!("{number} of what?"))));
                None
            }
            _ => {
                self.wrong_type(path, node, expected);
                None
            }
        }
    }

    fn free(&mut self, path: &str, node: &Node<'_>) -> Option<toml::Table> {
        self.table(path, node)?;
        match serde::Deserialize::deserialize(ValueDeserializer::from(node.clone())) {
            Ok(table) => Some(table),
            Err(error) => {
                let span = error.span().unwrap_or(place(node));
                let message = format!("`{path}`{}: {}", self.of, error.message());
                self.report.push(Finding::at(span, message));
                None
            }
        }
    }

    /// The known entries of a table, in order; the others are reported. `prefix` is the path of
    /// the table.
    pub fn known<'n, 't>(
        &mut self,
        prefix: &str,
        table: &'n DeTable<'t>,
        known: &[&'static str],
    ) -> Vec<(&'static str, Span, &'n Node<'t>)> {
        let mut entries = Vec::new();
        for (key, node) in in_order(table) {
            match known.iter().find(|name| *name == key.get_ref()) {
                Some(name) => entries.push((*name, key.span(), node)),
                None => self.unknown(prefix, key.get_ref(), key.span(), known),
            }
        }
        entries
    }

    fn unknown(&mut self, prefix: &str, name: &str, span: Span, known: &[&'static str]) {
        if self.report.is_full() {
            return self.report.omit(1);
        }
        let path = if prefix.is_empty() { shown(name) } else { format!("{prefix}.{}", shown(name)) };
        let finding = if LATER.contains(&name) {
            let message = format!("`{path}`{} is not available in this version of squall", self.of);
            Finding::at(span, message)
        } else {
            Finding::at(span, format!("unknown key `{path}`{}", self.of))
                .label(Some("unknown key".to_owned()))
                .help(other_name(name, known).or_else(|| suggest::help(name, known.iter().copied(), "keys")))
        };
        self.report.push(finding);
    }
}

/// `"auto" or "off"`, or `"a", "b" or "c"`.
fn any_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// What another system's name for a key is called here.
fn other_name(name: &str, known: &[&'static str]) -> Option<String> {
    let known = |ours: &str| known.contains(&ours);
    let (_, ours) = OTHER_NAMES.iter().find(|(other, ours)| *other == name && known(ours))?;
    Some(format!("did you mean `{ours}`?"))
}

/// The place of a value.
pub(super) fn place(node: &Node<'_>) -> Span {
    node.span()
}
