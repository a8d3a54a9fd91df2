//! Where the tools are that the set-up scripts put there, and folders that go away with the test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A file of the project, or one that a set-up command put there.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A tool under `.tools`. Missing is an error that says how to get it, never a skipped test.
pub fn tool(path: &str, setup: &str) -> PathBuf {
    let path = project(".tools").join(path);
    assert!(path.exists(), "{} is missing: run `make {setup}`", path.display());
    path
}

/// A folder that is removed on drop.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes an empty folder below the system's temporary one.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("waypost-{}-{}-{name}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(unique);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over is in the temporary folder: no reason to fail a test that passed.
        let _ = fs::remove_dir_all(&self.0);
    }
}
