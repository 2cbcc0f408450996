//! The spanned tree of a document, moved to its place among the texts.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::topology::declare::texts::Span;

/// A key with its place.
pub(super) type Key<'t> = Spanned<DeString<'t>>;
/// A value with its place.
pub(super) type Node<'t> = Spanned<DeValue<'t>>;

/// Owns the texts that trees borrow from. Texts are added while trees of earlier ones are alive,
/// as includes are found; there is room for a number known beforehand.
pub(super) struct Shelf {
    cells: Vec<OnceCell<String>>,
    used: Cell<usize>,
}

impl Shelf {
    /// Room for so many texts.
    pub fn new(room: usize) -> Shelf {
        Shelf { cells: vec![OnceCell::new(); room], used: Cell::new(0) }
    }

    /// Keeps a text.
    ///
    /// # Panics
    /// When there is no room left.
    pub fn keep(&self, text: String) -> &str {
        let at = self.used.replace(self.used.get() + 1);
        self.cells.get(at).expect("the caller reserved room").get_or_init(|| text)
    }
}

/// The table with its spans moved by `base`.
pub(super) fn moved_table(table: DeTable<'_>, base: usize) -> DeTable<'_> {
    table.into_iter().map(|(key, value)| (moved_spanned(key, base), moved(value, base))).collect()
}

/// The value with its spans moved by `base`. The depth was bounded before.
pub(super) fn moved(node: Node<'_>, base: usize) -> Node<'_> {
    let node = moved_spanned(node, base);
    let span = node.span();
    let value = match node.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved_table(table, base)),
        DeValue::Array(array) => DeValue::Array(array.into_iter().map(|item| moved(item, base)).collect()),
        scalar => scalar,
    };
    Spanned::new(span, value)
}

fn moved_spanned<T>(spanned: Spanned<T>, base: usize) -> Spanned<T> {
    let span = spanned.span();
    Spanned::new(span.start + base..span.end + base, spanned.into_inner())
}

/// The entries of a table in the order of the text.
pub(super) fn in_order<'a, 't>(table: &'a DeTable<'t>) -> Vec<(&'a Key<'t>, &'a Node<'t>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// An empty table that stands for one that was not written, at the place of what should hold it.
pub(super) fn empty_table(span: Span) -> Node<'static> {
    Spanned::new(span, DeValue::Table(DeTable::new()))
}

/// A key that was written at this place.
pub(super) fn key(name: String, span: Span) -> Key<'static> {
    Spanned::new(span, Cow::Owned(name))
}

/// The node at a path of table keys and array positions, as far down as the path can be followed.
pub(super) fn follow<'a, 't>(node: &'a Node<'t>, path: &str) -> Followed<'a, 't> {
    let mut followed = Followed { key: None, node };
    let mut rest = path;
    while !rest.is_empty() {
        let (mut step, mut after) = rest.split_once('.').unwrap_or((rest, ""));
        let next = match followed.node.get_ref() {
            DeValue::Table(table) => {
                // A key may have dots itself.
                if table.contains_key(rest) {
                    (step, after) = (rest, "");
                }
                table.get_key_value(step).map(|(key, node)| Followed { key: Some(key), node })
            }
            DeValue::Array(array) => {
                let item = step.parse().ok().and_then(|at: usize| array.get(at));
                item.map(|node| Followed { key: None, node })
            }
            _ => None,
        };
        match next {
            Some(next) => (followed, rest) = (next, after),
            None => break,
        }
    }
    followed
}

/// Where a path led.
pub(super) struct Followed<'a, 't> {
    /// The key under which the node stands, if it stands under one.
    pub key: Option<&'a Key<'t>>,
    pub node: &'a Node<'t>,
}

/// An article and the name of a value's type, as in "must be a string, not an integer".
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
