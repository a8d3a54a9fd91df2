//! The file of a module, as it is looked at again and again.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

pub(super) fn look(file: &Path) -> Option<Look> {
    let found = std::fs::metadata(file).ok()?;
    Some(Look { modified: (found.mtime(), found.mtime_nsec()), size: found.size(), inode: found.ino() })
}
