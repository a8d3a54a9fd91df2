//! Reading the configuration: layers, positions, and every error at once. What a key means belongs to the module that
//! uses it: each has a `read` that takes its [`Section`].
//!
//! Four layers, the first that has a key wins: arguments, environment, file, defaults, of which a program may have its
//! own. The variable of a key is
//! `WAYPOST_` and its path in capitals: `WAYPOST_PROXY_LISTEN` for `proxy.listen`; an empty variable counts as not
//! set. Nothing here reads the disk or the process's environment: both come in as [`Layers`].

mod effective;
mod environment;
mod error;
mod nearest;
mod path;
mod reader;
mod secret;
mod section;
mod units;
mod yaml;

use std::io;

pub use effective::Effective;
pub use error::{Error, Errors, Place};
pub use nearest::nearest;
pub use path::join;
pub use secret::Secret;
pub use section::Section;
pub use units::{parse_duration, parse_listen, show_duration};

/// Where values come from, strongest first. Not `Debug`, for it may hold secrets in the clear.
#[derive(Clone, Default)]
pub struct Layers {
    /// Values given on the command line. Of two for one key, the later wins.
    pub arguments: Vec<Argument>,
    /// Environment variables; those that do not start with `WAYPOST_` are passed over.
    pub environment: Vec<(String, String)>,
    /// The file, if there is one.
    pub file: Option<File>,
    /// Values that a program was made with, in the place of defaults.
    pub preset: Vec<Argument>,
}

/// One value from the command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Argument {
    /// As typed, for errors: `--listen`, `--set`.
    pub flag: String,
    /// The path of the key, such as `proxy.listen`; a name that has dots is put in double quotes.
    pub key: String,
    /// The value as in the file; a list of strings with commas between, another list as YAML.
    pub value: String,
}

/// A configuration file that has been read from disk.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Its name, for errors.
    pub name: String,
    /// Its text, YAML.
    pub text: String,
}

impl File {
    /// A file from what reading it gave.
    ///
    /// # Errors
    ///
    /// That it could not be read, or is not UTF-8, and where.
    pub fn decode(name: &str, content: io::Result<Vec<u8>>) -> Result<Self, Error> {
        let bytes = content.map_err(|error| Error {
            place: Place::File(name.into()),
            key: String::new(),
            message: format!("cannot be read: {error}"),
        })?;
        String::from_utf8(bytes).map(|text| File { name: name.to_owned(), text }).map_err(|error| {
            let read = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + read.iter().filter(|&&b| b == b'\n').count();
            let column = 1 + String::from_utf8_lossy(read).chars().rev().take_while(|&c| c != '\n').count();
            let place = Place::Line { file: name.into(), line, column };
            Error { place, key: String::new(), message: "is not UTF-8; save the file in that encoding".to_owned() }
        })
    }
}

/// Reads all layers through `read`, the root of the configuration.
///
/// # Errors
///
/// Everything that is wrong, in the order of the file, then of variables and arguments.
pub fn load<T>(layers: &Layers, read: impl FnOnce(&mut Section<'_>) -> T) -> Result<(T, Effective), Errors> {
    reader::load(layers, read)
}

/// Reads a text alone: no arguments, no environment. Errors name the file `config`.
///
/// # Errors
///
/// As [`load`].
pub fn parse<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> Result<T, Errors> {
    let file = File { name: "config".to_owned(), text: text.to_owned() };
    load(&Layers { file: Some(file), ..Layers::default() }, read).map(|(value, _)| value)
}

/// What `read` makes of an empty section: how a module's `Config` gets its `Default`.
pub fn defaults<T>(read: impl FnOnce(&mut Section<'_>) -> T) -> T {
    reader::defaults(read)
}

#[cfg(test)]
mod tests;
