//! Finding the file.

use std::path::{Path, PathBuf};

/// The names that are looked for, in this order.
pub(super) const NAMES: [&str; 6] = [
    "etcd-config.json",
    "etcd-config.yaml",
    "etcd-config.yml",
    "config/etcd.json",
    "config/etcd.yaml",
    "config/etcd.yml",
];

/// The first file of these names below a folder.
pub(super) fn find(folder: &Path) -> Option<PathBuf> {
    NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}
