//! A value that must not be printed by accident.

use std::fmt;

/// A password or token. Prints as `********`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

/// What is printed in place of a secret.
pub(super) const MASK: &str = "********";

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself, for the one who must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
