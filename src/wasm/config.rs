//! The section `wasm`: where modules are, and what they may take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::catalog::file::look_at_all;
use crate::config::{Section, defaults};

/// Where modules are, and what they may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder of modules: `NAME.wasm` is the module `NAME`. `filters`.
    pub folder: PathBuf,
    /// The folder in which compiled modules are kept, for this user alone. `waypost` in `$XDG_CACHE_HOME` or `~/.cache`;
    /// none where neither is set, or with `off`.
    pub cache: Option<PathBuf>,
    /// The memory that an instance may have. 64 MiB; 1 MiB to 4 GiB.
    pub memory_limit: u64,
    /// What is kept of a body while a filter waits for the rest of it. 1 MiB; 1 KiB to 1 GiB.
    pub buffer_limit: u64,
    /// How long a filter may hold an exchange. 30 s; 10 ms to 1 h.
    pub pause_timeout: Duration,
}

impl Config {
    /// Reads the section `wasm`.
    pub fn read(section: &mut Section<'_>) -> Config {
        let range = Duration::from_millis(10)..=Duration::from_secs(3_600);
        let cache = section.string("cache", "");
        Config {
            folder: section.string("folder", "filters").into(),
            cache: match cache.as_str() {
                "" => default_cache(),
                "off" => None,
                folder => Some(folder.into()),
            },
            memory_limit: section.bytes("memory_limit", 64 << 20, 1 << 20..=4 << 30),
            buffer_limit: section.bytes("buffer_limit", 1 << 20, 1 << 10..=1 << 30),
            pause_timeout: section.duration("pause_timeout", Duration::from_secs(30), range),
        }
    }

    /// The file of a module; an error in words if there is none.
    ///
    /// # Errors
    ///
    /// If the name is none, or the folder has no such file.
    pub fn file(&self, module: &str) -> Result<PathBuf, String> {
        let file = self.place(module)?;
        match file.metadata() {
            Ok(found) if found.is_file() => Ok(file),
            Ok(_) => Err(format!("{} is no file", file.display())),
            Err(_) => Err(format!("there is no module {}", file.display())),
        }
    }

    /// A number that is another one when a file of a module in the folder changes, comes or goes.
    pub fn files(&self) -> u64 {
        look_at_all(&self.folder)
    }

    /// Where the file of a module belongs.
    pub(super) fn place(&self, module: &str) -> Result<PathBuf, String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if module.is_empty() || module.starts_with('.') || !module.chars().all(is_name) {
            return Err(format!("`{module}` is no name of a module: letters, digits, `_`, `-` and `.` only"));
        }
        if let Some(name) = module.strip_suffix(".wasm") {
            return Err(format!("a module is named without `.wasm`: `{name}`"));
        }
        Ok(self.folder.join(format!("{module}.wasm")))
    }
}

impl Default for Config {
    fn default() -> Self {
        defaults(Config::read)
    }
}

fn default_cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| Path::new(value).is_absolute()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("waypost"))
}

/// A module with the configuration that it is used with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Use {
    /// The module's name.
    pub module: String,
    /// Its configuration.
    pub config: String,
}
