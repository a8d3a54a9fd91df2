//! The actions by their names.

use serde::Deserialize;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum Act {
    Drain,
    Healthy,
    Unhealthy,
    Weight,
    Restore,
    Revoke,
    Release,
    Reload,
    Aside,
}

impl Act {
    pub(super) fn word(self) -> &'static str {
        match self {
            Act::Drain => "drain",
            Act::Healthy => "healthy",
            Act::Unhealthy => "unhealthy",
            Act::Weight => "weight",
            Act::Restore => "restore",
            Act::Revoke => "revoke",
            Act::Release => "release",
            Act::Reload => "reload",
            Act::Aside => "aside",
        }
    }

    pub(super) fn verb(self) -> &'static str {
        match self {
            Act::Drain => "Drain",
            Act::Healthy => "Hold to be healthy",
            Act::Unhealthy => "Hold to be unhealthy",
            Act::Weight => "Set the weight",
            Act::Restore => "Take the order back",
            Act::Revoke => "Revoke the lease",
            Act::Release => "Release the lock",
            Act::Reload => "Reload the module",
            Act::Aside => "Set the module aside",
        }
    }

    pub(super) fn undo(self) -> &'static str {
        match self {
            Act::Restore => "Give the order again.",
            Act::Revoke | Act::Release => "It cannot be undone: whoever had it must take it again.",
            Act::Reload => "Put the file there that was there before, and reload again.",
            Act::Aside => "Reload the module: its file must be there and good, or it stays set aside.",
            _ => "Take the order back, or wait until its time is over.",
        }
    }

    /// Whether it holds for a time.
    pub(super) fn lasts(self) -> bool {
        matches!(self, Act::Drain | Act::Healthy | Act::Unhealthy | Act::Weight)
    }

    /// Whether it is about a module.
    pub(super) fn is_of_modules(self) -> bool {
        matches!(self, Act::Reload | Act::Aside)
    }
}
