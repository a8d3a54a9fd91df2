//! What was read in the end, and from where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::error::{Error, Errors, Place};
use super::path::join;
use super::secret::MASK;

/// Every value that was handed out, with its source. Prints as YAML, secrets masked, with a comment at each value that
/// is not the default.
#[derive(Clone, Default)]
pub struct Effective(pub(super) Tree);

/// A value, or what stands around values.
#[derive(Clone)]
pub(super) enum Tree {
    Leaf(Leaf),
    Section(Vec<(String, Tree)>),
    /// Sections under names that the user chose, each printed even if nothing is in it.
    Map(Vec<(String, Tree)>),
    List(Vec<Tree>),
}

/// A value as text.
#[derive(Clone, PartialEq)]
pub(super) struct Leaf {
    pub(super) text: Text,
    pub(super) place: Place,
    /// It stands in another section, which this one takes its defaults from.
    pub(super) inherited: bool,
}

/// How a value is written.
#[derive(Clone, PartialEq)]
pub(super) enum Text {
    /// As it is: a number, a word.
    Plain(String),
    /// Quoted where YAML needs it.
    String(String),
    Strings(Vec<String>),
    Secret(String),
}

impl Default for Tree {
    fn default() -> Self {
        Tree::Section(Vec::new())
    }
}

impl Effective {
    /// Errors that were found out after reading: at these keys, what is wrong. None if there are none.
    pub fn errors(&self, wrong: impl IntoIterator<Item = (String, String)>) -> Option<Errors> {
        let error = |(key, message): (String, String)| {
            let place = self.0.leaf("", &key).map_or(Place::Default, |leaf| leaf.place.clone());
            Error { place, key, message }
        };
        Errors::check(wrong.into_iter().map(error).collect()).err()
    }

    /// The paths of the keys whose values differ, a key that only one of both has included.
    pub fn changed(&self, other: &Effective) -> Vec<String> {
        let (mine, theirs) = (self.0.leaves(), other.0.leaves());
        let all: BTreeSet<_> = mine.keys().chain(theirs.keys()).collect();
        all.into_iter().filter(|path| mine.get(*path) != theirs.get(*path)).cloned().collect()
    }
}

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, 0, "")
    }
}

impl Tree {
    fn leaves(&self) -> BTreeMap<String, &Text> {
        let mut leaves = BTreeMap::new();
        self.collect(String::new(), &mut leaves);
        leaves
    }

    /// The value of a key, where `here` is the path of this tree.
    pub(super) fn leaf(&self, here: &str, wanted: &str) -> Option<&Leaf> {
        match self {
            Tree::Leaf(leaf) => (here == wanted).then_some(leaf),
            Tree::Section(entries) | Tree::Map(entries) => {
                entries.iter().find_map(|(key, tree)| tree.leaf(&join(here, key), wanted))
            }
            Tree::List(items) => {
                items.iter().enumerate().find_map(|(i, tree)| tree.leaf(&format!("{here}[{i}]"), wanted))
            }
        }
    }

    fn collect<'a>(&'a self, path: String, leaves: &mut BTreeMap<String, &'a Text>) {
        match self {
            Tree::Leaf(leaf) => drop(leaves.insert(path, &leaf.text)),
            Tree::Section(entries) | Tree::Map(entries) => {
                entries.iter().for_each(|(key, tree)| tree.collect(join(&path, key), leaves));
            }
            Tree::List(items) => {
                items.iter().enumerate().for_each(|(i, tree)| tree.collect(format!("{path}[{i}]"), leaves));
            }
        }
    }

    /// Whether there is nothing in it to print.
    fn is_silent(&self) -> bool {
        match self {
            Tree::Leaf(leaf) => leaf.inherited,
            Tree::Section(entries) => entries.iter().all(|(_, tree)| tree.is_silent()),
            Tree::Map(entries) => entries.is_empty(),
            Tree::List(_) => false,
        }
    }

    /// Writes the lines of a section or list; `first` stands in place of the first line's indentation.
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize, first: &str) -> fmt::Result {
        match self {
            Tree::Leaf(leaf) => leaf.write(f),
            Tree::Section(entries) | Tree::Map(entries) => {
                let all = matches!(self, Tree::Map(_));
                let mut indent = first.to_owned();
                for (key, tree) in entries.iter().filter(|(_, tree)| all || !tree.is_silent()) {
                    write!(f, "{indent}{}:", quoted(key))?;
                    tree.write_value(f, depth)?;
                    indent = "  ".repeat(depth);
                }
                Ok(())
            }
            Tree::List(items) => {
                for item in items {
                    let dash = format!("{}- ", "  ".repeat(depth));
                    if item.is_silent() {
                        writeln!(f, "{dash}{{}}")?;
                    } else {
                        item.write(f, depth + 1, &dash)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Writes what follows a key.
    fn write_value(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        match self {
            Tree::Leaf(leaf) => leaf.write(f),
            Tree::List(items) if items.is_empty() => writeln!(f, " []"),
            tree if tree.is_silent() => writeln!(f, " {{}}"),
            tree => {
                writeln!(f)?;
                tree.write(f, depth + 1, &"  ".repeat(depth + 1))
            }
        }
    }
}

impl Leaf {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Text::Plain(text) => write!(f, " {text}")?,
            Text::String(text) => write!(f, " {}", quoted(text))?,
            Text::Secret(_) => write!(f, " \"{MASK}\"")?,
            Text::Strings(items) => {
                let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
                write!(f, " [{}]", items.join(", "))?;
            }
        }
        match &self.place {
            Place::Default | Place::File(_) => writeln!(f),
            Place::Line { file, line, .. } => writeln!(f, "  # {file}:{line}"),
            place => writeln!(f, "  # {place}"),
        }
    }
}

/// A string as a YAML scalar that reads as the same string, in a block and in a flow list.
fn quoted(text: &str) -> String {
    let mut chars = text.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_'))
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '@' | '+' | '='))
        && !text.ends_with(':')
        && !matches!(text.to_ascii_lowercase().as_str(), "null" | "true" | "false" | "yes" | "no" | "on" | "off");
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
