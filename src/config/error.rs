//! What is wrong with a configuration, and where.

use std::fmt;
use std::sync::Arc;

/// Where a value stands. The order is that of reports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file; line and column count from 1.
    Line {
        /// The file's name.
        file: Arc<str>,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// In the file, or rather missing in it.
    File(Arc<str>),
    /// In this environment variable.
    Variable(Arc<str>),
    /// In this argument.
    Argument(Arc<str>),
    /// In no layer.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Place::File(name) | Place::Variable(name) | Place::Argument(name) => f.write_str(name),
            Place::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong. Prints as `file:line:column: key: message`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Error {
    /// Where.
    pub place: Place,
    /// The path of the key, such as `proxy.listen`; empty if the YAML cannot be read.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All that is wrong, never empty, in the order of the file. Prints one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(Vec<Error>);

impl Errors {
    /// `Ok` if there are none; sorted, and each once.
    pub(super) fn check(mut list: Vec<Error>) -> Result<(), Errors> {
        list.sort();
        list.dedup();
        if list.is_empty() { Ok(()) } else { Err(Errors(list)) }
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Errors(vec![error])
    }
}

impl std::ops::Deref for Errors {
    type Target = [Error];

    fn deref(&self) -> &[Error] {
        &self.0
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
