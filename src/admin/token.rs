//! The token that actions need. It is made at the first start, in a file that only its owner can read.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Random bytes of a token, a session, a mark against forged forms.
const BYTES: usize = 32;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no place for it.
    #[error("neither HOME nor XDG_STATE_HOME is set; name a file in admin.token_file")]
    NoPlace,
    /// It cannot be read or written.
    #[error("the token file `{}` cannot be used: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Others than its owner may read it.
    #[error("the token file `{}` can be read by others (mode {mode:o}); run chmod 600 on it, or delete it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds too little.
    #[error("the token file `{}` holds no token; delete it, and the next start makes one", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Where the token is: as configured, else where programs keep what they must remember.
///
/// # Errors
///
/// If nothing says where the user's files are.
pub fn path(configured: Option<&str>) -> Result<PathBuf, TokenError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = || variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
    let own = || Some(state()?.join("waypost/token"));
    configured.map(PathBuf::from).or_else(own).ok_or(TokenError::NoPlace)
}

/// Reads the token.
///
/// # Errors
///
/// If there is none, or others can read it.
pub fn read(path: &Path) -> Result<String, TokenError> {
    let failed = |source| TokenError::File { path: path.to_owned(), source };
    let mut file = fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokenError::Open { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let token = text.trim();
    if token.len() < 2 * BYTES {
        return Err(TokenError::Empty { path: path.to_owned() });
    }
    Ok(token.to_owned())
}

/// Reads the token, or makes one if there is no file.
///
/// # Errors
///
/// As [`read`], and if the file cannot be made.
pub fn read_or_make(path: &Path) -> Result<String, TokenError> {
    match read(path) {
        Err(TokenError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    let token = random()?;
    let failed = |source| TokenError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => file.write_all(format!("{token}\n").as_bytes()).map_err(failed)?,
        // Another proxy that starts at the same moment was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return read(path),
        Err(error) => return Err(failed(error)),
    }
    Ok(token)
}

/// Something that nobody can guess, in hex.
pub(super) fn random() -> Result<String, TokenError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_owner_alone() {
        let folder = std::env::temp_dir().join(format!("waypost-token-{}", std::process::id()));
        let path = folder.join("below/token");
        assert!(matches!(read(&path), Err(TokenError::File { .. })));
        let token = read_or_make(&path).unwrap();
        assert_eq!((token.len(), fs::metadata(&path).unwrap().mode() & 0o777), (64, 0o600));
        assert_eq!(read_or_make(&path).unwrap(), token);
        assert_ne!(random().unwrap(), token);

        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let error = read_or_make(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains(&token), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
