//! YAML as a tree that knows where each key stands. Scalars stay text: the reader of a key knows what it should be, so
//! `1.10` is a version where a string is asked for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::error::{Error, Place};
use super::path::join;

/// Deeper than any configuration, shallow enough for recursion over the tree.
const MAX_DEPTH: usize = 32;
/// Nodes that aliases may add, so that a small file cannot grow without end.
const MAX_ALIASED: usize = 10_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    /// A scalar without quotes: `true` and `1` mean what they look like where JSON is wanted.
    pub(super) plain: bool,
}

/// What stands there.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key, where it stands, and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// Where a text comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// A file of this name: places have lines.
    File(Arc<str>),
    /// One value: all of it stands at one place.
    Value(Place),
}

impl Origin {
    fn place(&self, at: Marker) -> Place {
        match self {
            Origin::File(file) => Place::Line { file: file.clone(), line: at.line(), column: at.col() + 1 },
            Origin::Value(place) => place.clone(),
        }
    }
}

impl Node {
    /// As JSON. Plain scalars that are `true`, `false` or numbers there are so here.
    pub(super) fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Scalar(text) => match serde_json::from_str(text) {
                Ok(value @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) if self.plain => value,
                _ => serde_json::Value::String(text.clone()),
            },
            Value::List(items) => items.iter().map(Node::json).collect(),
            Value::Mapping(entries) => entries.iter().map(|e| (e.key.clone(), e.node.json())).collect(),
        }
    }

    /// How many nodes it is made of.
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Node::size).sum(),
            Value::Mapping(entries) => entries.iter().map(|e| e.node.size()).sum(),
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Mapping(entries) => entries.iter().map(|e| e.node.depth()).max().unwrap_or(0),
        }
    }
}

/// Reads a text. `None` if it is empty. Errors go to `errors`; what could be read before one is returned.
pub(super) fn parse(text: &str, origin: &Origin, errors: &mut Vec<Error>) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { origin, errors, open: Vec::new(), anchors: HashMap::new(), aliased: 0, root: None };
    for event in Parser::<StrInput<'_>>::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => builder.event(event, span.start),
            Err(error) => Err(error),
        };
        if let Err(error) = step {
            let place = origin.place(*error.marker());
            let message = format!("cannot read the YAML: {}", error.info());
            builder.errors.push(Error { place, key: String::new(), message });
            return None;
        }
    }
    builder.root
}

/// A list or mapping whose end has not come.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<(String, Place)>,
}

struct Builder<'a> {
    origin: &'a Origin,
    errors: &'a mut Vec<Error>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    /// Takes the next event. What it gives back ends the reading; lesser errors are only noted.
    fn event(&mut self, event: Event<'_>, at: Marker) -> Result<(), ScanError> {
        let place = self.origin.place(at);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(ScanError::new_str(at, "a second document starts here; put all into one"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at)?;
                if self.wants_key() {
                    return self.take_key(text, place, at);
                }
                let plain = style == ScalarStyle::Plain;
                let value = match text.as_ref() {
                    "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
                    text => Value::Scalar(text.to_owned()),
                };
                self.put(Node { place, value, plain }, anchor);
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => self.begin(Value::List(Vec::new()), anchor, tag.as_deref(), at),
            Event::MappingStart(anchor, tag) => self.begin(Value::Mapping(Vec::new()), anchor, tag.as_deref(), at),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.put(open.node, open.anchor);
                }
                Ok(())
            }
            Event::Alias(anchor) => {
                if self.wants_key() {
                    return Err(ScanError::new_str(at, "a key must be plain text, not an alias"));
                }
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(ScanError::new_str(at, "an alias may not stand inside its own anchor"));
                };
                self.aliased += node.size();
                if self.aliased > MAX_ALIASED || self.open.len() + node.depth() > MAX_DEPTH {
                    return Err(ScanError::new_str(at, "the aliases expand to too much; write the values out"));
                }
                let node = node.clone();
                self.put(node, 0);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a mapping is open and its next key is due.
    fn wants_key(&self) -> bool {
        self.open.last().is_some_and(|o| o.key.is_none() && matches!(o.node.value, Value::Mapping(_)))
    }

    fn take_key(&mut self, text: Cow<'_, str>, place: Place, at: Marker) -> Result<(), ScanError> {
        let Some(Open { node: Node { value: Value::Mapping(entries), .. }, key, .. }) = self.open.last_mut() else {
            return Ok(());
        };
        if text == "<<" {
            return Err(ScanError::new_str(at, "merge keys (`<<`) are not supported; write the keys out"));
        }
        let first = entries.iter().find(|e| e.key == text).map(|e| e.place.clone());
        *key = Some((text.into_owned(), place.clone()));
        if let Some(first) = first {
            let message = format!("this key was already given at {first}; remove one of the two");
            self.errors.push(Error { place, key: self.path(), message });
        }
        Ok(())
    }

    fn begin(&mut self, value: Value, anchor: usize, tag: Option<&Tag>, at: Marker) -> Result<(), ScanError> {
        self.refuse_tag(tag, at)?;
        if self.wants_key() {
            return Err(ScanError::new_str(at, "a key must be plain text, not a list or mapping"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(ScanError::new(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let node = Node { place: self.origin.place(at), value, plain: false };
        self.open.push(Open { node, anchor, key: None });
        Ok(())
    }

    fn refuse_tag(&self, tag: Option<&Tag>, at: Marker) -> Result<(), ScanError> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema() => {
                Err(ScanError::new(at, format!("tags are not supported; remove `{tag}`")))
            }
            _ => Ok(()),
        }
    }

    /// The path of the key that was read last.
    fn path(&self) -> String {
        self.open.iter().fold(String::new(), |path, open| match (&open.key, &open.node.value) {
            (Some((key, _)), _) => join(&path, key),
            (None, Value::List(items)) => format!("{path}[{}]", items.len()),
            (None, _) => path,
        })
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(open) => match &mut open.node.value {
                Value::List(items) => items.push(node),
                Value::Mapping(entries) => {
                    if let Some((key, place)) = open.key.take()
                        && entries.iter().all(|e| e.key != key)
                    {
                        entries.push(Entry { key, place, node });
                    }
                }
                Value::Null | Value::Scalar(_) => {}
            },
        }
    }
}
