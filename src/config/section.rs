//! A mapping of the configuration being read.

mod values;

use std::collections::{BTreeMap, BTreeSet};

use super::effective::{Leaf, Text, Tree};
use super::error::{Error, Place};
use super::nearest::nearest;
use super::path::join;
use super::reader::Reader;
use super::yaml::{self, Node, Origin, Value};

/// A mapping of the configuration being read: hands out the value of each key, from the strongest layer that has it,
/// and collects errors instead of returning them. What is wrong yields the default, so that reading goes on and every
/// error is found. Keys that nobody asked for are errors too; so ask for each key, always.
pub struct Section<'a> {
    reader: &'a mut Reader,
    /// This section, and behind it the one that it takes its defaults from.
    frames: Vec<Frame<'a>>,
    known: Vec<String>,
    record: Vec<(String, Tree)>,
}

/// One section of the configuration in the layers that have it.
#[derive(Clone)]
pub(super) struct Frame<'a> {
    path: String,
    place: Place,
    /// Mappings, strongest first.
    nodes: Vec<&'a Node>,
}

/// A value that some layer has.
struct Found<'a> {
    path: String,
    place: Place,
    value: Raw<'a>,
    inherited: bool,
}

enum Raw<'a> {
    /// From an argument, a variable or the file.
    Text(String),
    /// From the file: anything but a scalar.
    Node(&'a Node),
}

impl<'a> Frame<'a> {
    /// The frame of the nodes that there are. One that is no mapping is an error.
    pub(super) fn new(
        path: String,
        place: Place,
        nodes: impl IntoIterator<Item = Option<&'a Node>>,
        errors: &mut Vec<Error>,
    ) -> Self {
        let mut mappings = Vec::new();
        for node in nodes.into_iter().flatten() {
            match &node.value {
                Value::Mapping(_) => mappings.push(node),
                Value::Null => {}
                Value::Scalar(_) | Value::List(_) => {
                    let message = "must be a section: keys with values, one per line and indented".to_owned();
                    errors.push(Error { place: node.place.clone(), key: path.clone(), message });
                }
            }
        }
        Frame { path, place, nodes: mappings }
    }

    /// Each value of `key`, strongest first, and where the key stands.
    fn get(&self, key: &str) -> impl Iterator<Item = (&'a Place, &'a Node)> {
        self.nodes.iter().filter_map(move |node| entry(node, key))
    }

    /// The section of that key.
    fn child(&self, key: &str, errors: &mut Vec<Error>) -> Frame<'a> {
        let place = self.get(key).last().map_or(&self.place, |(place, _)| place).clone();
        Frame::new(join(&self.path, key), place, self.get(key).map(|(_, node)| Some(node)), errors)
    }

    fn keys(&self) -> impl Iterator<Item = (&'a str, &'a Place)> {
        self.nodes
            .iter()
            .flat_map(|node| match &node.value {
                Value::Mapping(entries) => entries.as_slice(),
                _ => &[],
            })
            .map(|entry| (entry.key.as_str(), &entry.place))
    }
}

fn entry<'a>(node: &'a Node, key: &str) -> Option<(&'a Place, &'a Node)> {
    match &node.value {
        Value::Mapping(entries) => entries.iter().find(|e| e.key == key).map(|e| (&e.place, &e.node)),
        _ => None,
    }
}

impl<'a> Section<'a> {
    /// Runs `read` over a section, then reports the keys that it did not ask for.
    pub(super) fn read<T>(
        reader: &mut Reader,
        frames: Vec<Frame<'_>>,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> (T, Tree) {
        let mut section = Section { reader, frames, known: Vec::new(), record: Vec::new() };
        let value = read(&mut section);
        section.report_unknown();
        (value, Tree::Section(section.record))
    }

    /// A section of the section; an absent one reads as an empty one.
    pub fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let frames = self.children(key);
        self.read_child(key, frames, read)
    }

    /// Sections under names that the user chose.
    pub fn map<T>(&mut self, key: &str, read: impl FnMut(&str, &mut Section<'_>) -> T) -> BTreeMap<String, T> {
        self.read_map(key, None, read)
    }

    /// Like [`map`](Section::map), and what a named section lacks it takes from the section `base` beside it.
    pub fn map_over<T>(
        &mut self,
        key: &str,
        base: &str,
        read: impl FnMut(&str, &mut Section<'_>) -> T,
    ) -> BTreeMap<String, T> {
        self.read_map(key, Some(base), read)
    }

    /// A list of sections. As an argument or a variable it is written as YAML: `[{prefix: /services/}]`.
    pub fn list<T>(&mut self, key: &str, read: impl FnMut(&mut Section<'_>) -> T) -> Vec<T> {
        self.read_list(key, &[], read)
    }

    /// Like [`list`](Section::list), and an absent or empty one reads as a list of one empty section.
    pub fn list_of_one<T>(&mut self, key: &str, read: impl FnMut(&mut Section<'_>) -> T) -> Vec<T> {
        let empty = Node { place: self.reader.file.clone(), value: Value::Null, plain: true };
        self.read_list(key, &[empty], read)
    }

    /// Passes over a key and all below it, which are somebody else's to read.
    pub fn skip(&mut self, key: &str) {
        self.known.push(key.to_owned());
        let path = join(&self.frames[0].path, key);
        self.reader.environment.skip(&path);
    }

    /// Whether a layer has this key, here or in the section that the defaults are taken from.
    pub fn has(&mut self, key: &str) -> bool {
        let known = self.known.len();
        let found = self.find(key).is_some();
        self.known.truncate(known);
        found
    }

    /// Whether a layer has any of the values that were asked for so far, in this section itself.
    pub fn has_any(&self) -> bool {
        let given = |leaf: &Leaf| !leaf.inherited && !matches!(leaf.place, Place::Default);
        self.record.iter().any(|(_, tree)| matches!(tree, Tree::Leaf(leaf) if given(leaf)))
    }

    /// Notes an error of the caller's own at this key, or at the section if it has no such key or `key` is empty.
    pub fn error(&mut self, key: &str, message: impl Into<String>) {
        let message = message.into();
        let known = self.known.len();
        match self.find(key) {
            Some(found) => self.report(&found, message),
            None => {
                let frame = &self.frames[0];
                // A section that only arguments or nobody gave has no place in the file.
                let place = match &self.frames[0].child(key, &mut Vec::new()).place {
                    Place::Default => self.reader.file.clone(),
                    place => place.clone(),
                };
                let key = join(&frame.path, key);
                self.reader.errors.push(Error { place, key, message });
            }
        }
        self.known.truncate(known);
    }

    /// Notes an error at a value that was read before, by its whole path.
    pub fn error_at(&mut self, path: &str, message: impl Into<String>) {
        let here = &self.frames[0].path;
        let leaf = self.record.iter().find_map(|(key, tree)| tree.leaf(&join(here, key), path));
        let place = leaf.map_or_else(|| self.reader.file.clone(), |leaf| leaf.place.clone());
        self.reader.errors.push(Error { place, key: path.to_owned(), message: message.into() });
    }

    /// The value of `key` from the strongest layer that has it.
    fn find(&mut self, key: &str) -> Option<Found<'a>> {
        self.known.push(key.to_owned());
        for (i, frame) in self.frames.iter().enumerate() {
            let path = join(&frame.path, key);
            let inherited = i > 0;
            let in_node = |(place, node): (&Place, &'a Node)| match &node.value {
                Value::Scalar(text) => (place.clone(), Raw::Text(text.clone())),
                _ => (place.clone(), Raw::Node(node)),
            };
            let mut nodes = frame.get(key);
            let first = nodes.next();
            let variable = self.reader.environment.get(&path);
            let (place, value) = match (first, variable) {
                (Some((place @ Place::Argument(_), node)), _) => in_node((place, node)),
                (_, Some((name, text))) => (Place::Variable(name.into()), Raw::Text(text)),
                (Some(found), None) => in_node(found),
                (None, None) => continue,
            };
            return Some(Found { path, place, value, inherited });
        }
        None
    }

    fn children(&mut self, key: &str) -> Vec<Frame<'a>> {
        self.known.push(key.to_owned());
        let errors = &mut self.reader.errors;
        self.frames.iter().map(|frame| frame.child(key, errors)).collect()
    }

    fn read_child<T>(&mut self, key: &str, frames: Vec<Frame<'_>>, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let (value, tree) = Section::read(self.reader, frames, read);
        self.record.push((key.to_owned(), tree));
        value
    }

    fn read_list<T>(&mut self, key: &str, absent: &[Node], mut read: impl FnMut(&mut Section<'_>) -> T) -> Vec<T> {
        let found = self.find(key);
        let parsed;
        let node = match &found {
            Some(Found { value: Raw::Node(node), .. }) => Some(*node),
            Some(Found { value: Raw::Text(text), place, .. }) => {
                parsed = yaml::parse(text, &Origin::Value(place.clone()), &mut self.reader.errors);
                parsed.as_ref()
            }
            None => None,
        };
        let items = match (node.map(|n| &n.value), &found) {
            (Some(Value::List(items)), _) if !items.is_empty() => items.as_slice(),
            (Some(Value::Scalar(_) | Value::Mapping(_)), Some(found)) => {
                self.report(found, "must be a list of sections: each starts with `- `");
                absent
            }
            _ => absent,
        };
        let path = found.map_or_else(|| join(&self.frames[0].path, key), |found| found.path);
        let mut values = Vec::new();
        let mut trees = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let frame = Frame::new(format!("{path}[{i}]"), item.place.clone(), [Some(item)], &mut self.reader.errors);
            let (value, tree) = Section::read(self.reader, vec![frame], &mut read);
            values.push(value);
            trees.push(tree);
        }
        self.record.push((key.to_owned(), Tree::List(trees)));
        values
    }

    fn read_map<T>(
        &mut self,
        key: &str,
        base: Option<&str>,
        mut read: impl FnMut(&str, &mut Section<'_>) -> T,
    ) -> BTreeMap<String, T> {
        let base = base.map(|base| self.frames[0].child(base, &mut Vec::new()));
        let frames = self.children(key);
        let (values, tree) = Section::read(self.reader, frames, |section| {
            let names: BTreeSet<String> = section.frames[0].keys().map(|(name, _)| name.to_owned()).collect();
            let each = names.into_iter().map(|name| {
                section.known.push(name.clone());
                let own = section.frames[0].child(&name, &mut section.reader.errors);
                let frames = std::iter::once(own).chain(base.clone()).collect();
                let value = section.read_child(&name, frames, |section| read(&name, section));
                (name, value)
            });
            each.collect()
        });
        let tree = match tree {
            Tree::Section(entries) => Tree::Map(entries),
            tree => tree,
        };
        self.record.push((key.to_owned(), tree));
        values
    }

    /// Notes an error at a value.
    fn report(&mut self, found: &Found<'_>, message: impl Into<String>) {
        let error = Error { place: found.place.clone(), key: found.path.clone(), message: message.into() };
        self.reader.errors.push(error);
    }

    /// Records what is handed out.
    fn record(&mut self, key: &str, found: Option<&Found<'_>>, text: Text) {
        let leaf = match found {
            Some(found) => Leaf { text, place: found.place.clone(), inherited: found.inherited },
            None => Leaf { text, place: Place::Default, inherited: self.frames.len() > 1 },
        };
        self.record.push((key.to_owned(), Tree::Leaf(leaf)));
    }

    fn report_unknown(&mut self) {
        for (key, place) in self.frames[0].keys() {
            if self.known.iter().any(|k| k == key) {
                continue;
            }
            let known = || self.known.iter().map(String::as_str);
            let message = match nearest(key, known()) {
                Some(near) => format!("unknown key; did you mean `{near}`?"),
                None => format!("unknown key; known here are {}", known().collect::<Vec<_>>().join(", ")),
            };
            let key = join(&self.frames[0].path, key);
            self.reader.errors.push(Error { place: place.clone(), key, message });
        }
    }
}
