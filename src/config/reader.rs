//! What all sections of one reading share, and the reading itself.

use std::sync::Arc;

use super::effective::{Effective, Tree};
use super::environment::Environment;
use super::error::{Error, Errors, Place};
use super::path;
use super::section::{Frame, Section};
use super::yaml::{self, Entry, Node, Origin, Value};
use super::{Argument, Layers};

/// What all sections of one reading share.
pub(super) struct Reader {
    pub(super) environment: Environment,
    pub(super) errors: Vec<Error>,
    /// Stands for what is missing.
    pub(super) file: Place,
}

/// See [`super::load`].
pub(super) fn load<T>(layers: &Layers, read: impl FnOnce(&mut Section<'_>) -> T) -> Result<(T, Effective), Errors> {
    let name: Option<Arc<str>> = layers.file.as_ref().map(|f| f.name.as_str().into());
    let mut reader = Reader {
        environment: Environment::new(&layers.environment),
        errors: Vec::new(),
        file: name.clone().map_or(Place::Default, Place::File),
    };
    let file = match (&layers.file, name) {
        (Some(file), Some(name)) => yaml::parse(&file.text, &Origin::File(name), &mut reader.errors),
        _ => None,
    };
    // What cannot be parsed would only make every key after it look missing.
    if file.is_none() {
        Errors::check(std::mem::take(&mut reader.errors))?;
    }
    let given = tree(&layers.arguments, Place::Argument, &mut reader.errors);
    // As a file below the file: the environment is stronger.
    let preset = tree(&layers.preset, Place::File, &mut reader.errors);
    let (value, tree) = root(&mut reader, [Some(&given), file.as_ref(), Some(&preset)], read);
    reader.environment.unknown(&mut reader.errors);
    Errors::check(reader.errors)?;
    Ok((value, Effective(tree)))
}

/// See [`super::defaults`].
pub(super) fn defaults<T>(read: impl FnOnce(&mut Section<'_>) -> T) -> T {
    let mut reader = Reader { environment: Environment::default(), errors: Vec::new(), file: Place::Default };
    root(&mut reader, [None; 3], read).0
}

fn root<T>(reader: &mut Reader, layers: [Option<&Node>; 3], read: impl FnOnce(&mut Section<'_>) -> T) -> (T, Tree) {
    let place = reader.file.clone();
    let frame = Frame::new(String::new(), place, layers, &mut reader.errors);
    Section::read(reader, vec![frame], read)
}

/// Values by their paths as a tree like that of a file.
fn tree(arguments: &[Argument], place: fn(Arc<str>) -> Place, errors: &mut Vec<Error>) -> Node {
    let mut root = Node { place: Place::Default, value: Value::Mapping(Vec::new()), plain: true };
    for argument in arguments {
        let place = place(argument.flag.as_str().into());
        let message = match path::split(&argument.key) {
            None => "is not the path of a key; write it like `proxy.listen=127.0.0.1:8400`",
            Some(keys) if insert(&mut root, &keys, &argument.value, &place) => continue,
            Some(_) => "is given as one value and as a section; give one of the two",
        };
        errors.push(Error { place, key: argument.key.clone(), message: message.to_owned() });
    }
    root
}

/// Puts a value at a path. False if there is a value on the way, or a section at its end.
fn insert(node: &mut Node, keys: &[String], value: &str, place: &Place) -> bool {
    let [key, rest @ ..] = keys else {
        return match node.value {
            Value::Mapping(_) | Value::List(_) => false,
            Value::Null | Value::Scalar(_) => {
                *node = Node { place: place.clone(), value: Value::Scalar(value.to_owned()), plain: true };
                true
            }
        };
    };
    if let Value::Null = node.value {
        node.value = Value::Mapping(Vec::new());
    }
    let Value::Mapping(entries) = &mut node.value else {
        return false;
    };
    let at = entries.iter().position(|e| e.key == *key).unwrap_or_else(|| {
        let node = Node { place: place.clone(), value: Value::Null, plain: true };
        entries.push(Entry { key: key.clone(), place: place.clone(), node });
        entries.len() - 1
    });
    // The last of several wins, and is the one to blame.
    entries[at].place = place.clone();
    insert(&mut entries[at].node, rest, value, place)
}
