//! The file of a module, as it is looked at again and again.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::wasm::module::{LARGEST, LoadError};

/// What tells one state of a file from another. What is there in its place is something too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Look {
    modified: (i64, i64),
    /// Nobody can set it back, as one can the other.
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

pub(super) fn look(file: &Path) -> Option<Look> {
    let found = std::fs::metadata(file).ok()?;
    let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    Some(Look { modified, changed, size: found.size(), inode: found.ino() })
}

/// All files of modules in a folder, as one number that is another one when any of them changes, comes or goes.
pub(in crate::wasm) fn look_at_all(folder: &Path) -> u64 {
    let paths = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let modules = paths.filter(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    let all: BTreeSet<_> = modules.map(|path| (look(&path), path)).collect();
    let mut hasher = DefaultHasher::new();
    all.hash(&mut hasher);
    hasher.finish()
}

/// Reads a module's file. Never waits, whatever stands in its place: a pipe would keep us for ever.
pub(in crate::wasm) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let error = |why: String| LoadError::Read { path: path.display().to_string(), why };
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(|why| match why.kind() {
        ErrorKind::NotFound => {
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            LoadError::Missing { file, folder: whole.parent().unwrap_or(path).to_owned() }
        }
        _ => error(why.to_string()),
    })?;
    let found = file.metadata().map_err(|e| error(e.to_string()))?;
    if !found.is_file() {
        let what = if found.is_dir() { "a folder" } else { "a pipe or a device" };
        return Err(error(format!("it is {what}, and no file")));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| error(e.to_string()))?;
    match bytes.len() as u64 {
        size if size > LARGEST => Err(LoadError::TooLarge(found.len().max(size))),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_in_place_is_seen_whatever_its_time_and_size() {
        let path = std::env::temp_dir().join(format!("waypost-look-{}", std::process::id()));
        std::fs::write(&path, "one").unwrap();
        let (first, time) = (look(&path).unwrap(), path.metadata().unwrap().modified().unwrap());
        let begin = tokio::time::Instant::now();
        let now = loop {
            std::fs::write(&path, "two").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            // The clock of files may stand still for some milliseconds.
            match look(&path).unwrap() {
                now if now == first && begin.elapsed().as_secs() < 5 => {}
                now => break now,
            }
        };
        std::fs::remove_file(&path).unwrap();
        assert_eq!((now.modified, now.size, now.inode), (first.modified, first.size, first.inode));
        assert_ne!(now, first);
    }
}
