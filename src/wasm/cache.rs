//! The folder of compiled modules. What lies there is run as machine code, so it is used only if nobody else may write there.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use wasmtime::{Cache, CacheConfig};

/// The mode of what is made here: for this user alone.
const PRIVATE: u32 = 0o700;
/// Where wasmtime keeps a folder for each of its versions.
const MODULES: &str = "modules";

/// Why a folder is no place for compiled modules.
#[derive(Debug, thiserror::Error)]
#[error(
    "modules are compiled without a cache, for {} {why}: remove it if you do not know who wrote there, or see to its owner and \
     rights, or name another folder, or `off`, as wasm.cache", .path.display()
)]
pub(super) struct CacheError {
    path: PathBuf,
    why: String,
}

/// The cache in this folder, which is made if it is not there. The rights of what is there are never changed.
pub(super) fn open(folder: &Path) -> Result<Cache, CacheError> {
    let absolute = std::path::absolute(folder).map_err(|e| unusable(folder, &e))?;
    make(&absolute)?;
    // A link may lead elsewhere later: what is looked at now is what is used.
    let folder = absolute.canonicalize().map_err(|e| unusable(&absolute, &e))?;
    is_ours(&folder)?;
    let modules = folder.join(MODULES);
    make(&modules)?;
    is_ours(&modules)?;
    for version in entries(&modules)? {
        if std::fs::metadata(&version).map_err(|e| unusable(&version, &e))?.is_dir() {
            is_ours(&version)?;
            entries(&version)?.iter().try_for_each(|file| is_our_file(file))?;
        }
    }
    let mut config = CacheConfig::new();
    config.with_directory(&folder);
    Cache::new(config).map_err(|error| CacheError { path: folder, why: format!("cannot be used: {error:#}") })
}

/// Has wasmtime make the folder of its version, which it does with whatever rights the process gives by default, and keeps
/// that for this user.
pub(super) fn settle(engine: &wasmtime::Engine, cache: &Path) {
    let modules = cache.join(MODULES);
    let before: BTreeSet<_> = entries(&modules).unwrap_or_default().into_iter().collect();
    drop(wasmtime::Module::from_binary(engine, b"\0asm\x01\0\0\0"));
    let made = entries(&modules).unwrap_or_default().into_iter().filter(|path| !before.contains(path));
    for path in made {
        if let Err(error) = std::fs::set_permissions(&path, Permissions::from_mode(PRIVATE)) {
            tracing::warn!(path = %path.display(), %error, "cannot keep compiled modules to this user");
        }
    }
}

fn unusable(path: &Path, error: &io::Error) -> CacheError {
    CacheError { path: path.to_owned(), why: format!("cannot be used: {error}") }
}

fn make(folder: &Path) -> Result<(), CacheError> {
    DirBuilder::new().recursive(true).mode(PRIVATE).create(folder).map_err(|e| unusable(folder, &e))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let list = || -> io::Result<Vec<PathBuf>> { std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    list().map_err(|e| unusable(folder, &e))
}

/// Whether this user alone may write in a folder, wherever a link leads.
fn is_ours(folder: &Path) -> Result<(), CacheError> {
    let found = std::fs::metadata(folder).map_err(|e| unusable(folder, &e))?;
    let refuse = |why: String| Err(CacheError { path: folder.to_owned(), why });
    match (found.uid(), user()) {
        (owner, us) if owner != us => refuse(format!("belongs to user {owner}, and this is user {us}")),
        _ if found.mode() & 0o022 != 0 => {
            refuse(format!("can be written by others than its owner (mode {:o})", found.mode() & 0o7777))
        }
        _ => Ok(()),
    }
}

/// Whether this user wrote a file: it may have been put there when others still could.
fn is_our_file(file: &Path) -> Result<(), CacheError> {
    let found = match std::fs::symlink_metadata(file) {
        // Others of ours clean up.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|e| unusable(file, &e))?,
    };
    let refuse = |why: String| Err(CacheError { path: file.to_owned(), why });
    match (found.uid(), user()) {
        (owner, us) if owner != us => refuse(format!("belongs to user {owner}, and this is user {us}")),
        _ if found.is_symlink() => refuse("is a link, and not what is kept there".to_owned()),
        _ => Ok(()),
    }
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::engine::Engine;

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("waypost-cache-{}-{name}", std::process::id()));
            make(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_this_user_alone() {
        let folder = Folder::new("made");
        let cache = folder.0.join("some/where");
        Engine::new(Some(&cache)).unwrap();
        let versions = entries(&cache.join(MODULES)).unwrap();
        assert_eq!(versions.len(), 1, "wasmtime keeps its modules there: {versions:?}");
        for path in [&cache, &cache.join(MODULES), &versions[0]] {
            assert_eq!(mode(path), PRIVATE, "{path:?}");
        }
        open(&cache).unwrap();
    }

    #[test]
    fn where_others_may_write_nothing_is_kept_and_nothing_changed() {
        for (n, place) in ["", MODULES, "modules/wasmtime-1"].into_iter().enumerate() {
            for others in [0o770, 0o707, 0o722] {
                let folder = Folder::new(&format!("open-{n}-{others:o}"));
                let cache = folder.0.join("cache");
                make(&cache.join("modules/wasmtime-1")).unwrap();
                open(&cache).unwrap();
                let path = cache.join(place);
                std::fs::set_permissions(&path, Permissions::from_mode(others)).unwrap();
                let error = open(&cache).unwrap_err();
                assert_eq!(error.path.canonicalize().unwrap(), path.canonicalize().unwrap());
                assert!(error.to_string().contains("can be written by others than its owner"), "{error}");
                assert_eq!(mode(&path), others);
                Engine::new(Some(&cache)).expect("it goes on without a cache");
            }
        }
    }

    #[test]
    fn links_are_followed() {
        let folder = Folder::new("links");
        let (cache, foreign) = (folder.0.join("cache"), folder.0.join("foreign"));
        make(&cache.join(MODULES)).unwrap();
        make(&foreign).unwrap();
        std::os::unix::fs::symlink(&foreign, cache.join("modules/wasmtime-1")).unwrap();
        std::os::unix::fs::symlink(&cache, folder.0.join("link")).unwrap();
        open(&folder.0.join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", foreign.join("planted")).unwrap();
        let error = open(&cache).unwrap_err();
        assert!(error.to_string().contains("is a link"), "{error}");
        std::fs::remove_file(foreign.join("planted")).unwrap();
        std::fs::set_permissions(&foreign, Permissions::from_mode(0o777)).unwrap();
        open(&folder.0.join("link")).unwrap_err();
    }
}
