//! The files that a service's login names: secrets, credentials, certificates.
//!
//! Lives here: reading one, when it is needed. Never here: keeping one, or showing it.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::config::services::Secret;

/// All of a file. A pipe is read as far as it is filled: nobody may write to it, and a reactor waits for nothing.
///
/// # Errors
/// As open(2) and read(2); `WouldBlock` of a pipe that has a writer and holds nothing, or not yet all.
pub(super) fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    file?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a secret says: the first line of its file, or its variable.
///
/// # Errors
/// What is missing, and where; nothing of the secret.
pub(super) fn secret(secret: &Secret) -> Result<String, String> {
    let text = match secret {
        Secret::File(path) => contents(path)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8")))
            .map_err(|error| format!("cannot read the secret in {}: {error}", path.display()))?,
        Secret::Environment(name) => std::env::var(name)
            .map_err(|_| format!("the environment variable {name} is not set, or not UTF-8"))?,
    };
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(format!("the secret in {secret} is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let in_pipe = Secret::File(path.clone());
        assert!(secret(&in_pipe).unwrap_err().contains("is empty"), "nobody writes to it");
        let mut both = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        assert!(secret(&in_pipe).unwrap_err().contains("cannot read"), "somebody may");
        io::Write::write_all(&mut both, b"a word\n").unwrap();
        drop(both);
        std::fs::write(folder.path().join("file"), "a word\nanother\n").unwrap();
        assert_eq!(secret(&Secret::File(folder.path().join("file"))).unwrap(), "a word");
    }
}
