//! Unix sockets in the file system: one that was left behind is replaced, one that lives is an error, ours is removed at the end.
//!
//! Lives here: making and removing them. Never here: what comes in through them. Source: unix(7).

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};
use nix::sys::stat::{Mode, umask};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::address::set_receive_buffer;
use crate::config::plan::SocketFile;
use crate::limits::{BACKLOG, BIND_PATIENCE, BIND_RETRY};

/// Why a socket file cannot be made.
#[derive(Debug, Error)]
pub enum SocketFileError {
    /// Somebody listens there.
    #[error(
        "cannot listen on {path}: another program does\n\
         remedy: stop it (`ss -lxp` names it), or choose another path with --from",
        path = .0.display()
    )]
    Live(PathBuf),
    /// What is there is no socket, and nobody's to remove.
    #[error(
        "cannot listen on {path}: there is something that is no socket\nremedy: remove it, or choose another path with --from",
        path = .0.display()
    )]
    NoSocket(PathBuf),
    /// The file system or the kernel refuses.
    #[error(
        "cannot listen on {path}: {error}\nremedy: name a file in a folder that exists and may be written to",
        path = .path.display()
    )]
    Refused {
        /// Where it was to be made.
        path: PathBuf,
        /// What bind(2), listen(2) or unlink(2) said.
        error: io::Error,
    },
}

/// A socket file of ours. It is removed on drop, unless somebody else has put theirs in its place.
#[derive(Debug)]
pub struct Owned {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Owned {
    fn new(path: &Path) -> Owned {
        let identity = path.symlink_metadata().ok().as_ref().map(identity);
        Owned { path: path.to_owned(), identity }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let there = self.path.symlink_metadata().ok().as_ref().map(identity);
        if there.is_some() && there == self.identity {
            // What cannot be removed is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// A listening socket in the file system.
///
/// # Errors
/// [`SocketFileError`].
pub fn listen(file: &SocketFile) -> Result<(OwnedFd, Owned), SocketFileError> {
    make(file, Type::STREAM, None)
}

/// A socket for datagrams in the file system.
///
/// # Errors
/// [`SocketFileError`].
pub fn bind_datagrams(
    file: &SocketFile,
    receive_buffer: Option<usize>,
) -> Result<(OwnedFd, Owned), SocketFileError> {
    make(file, Type::DGRAM, receive_buffer)
}

fn make(
    file: &SocketFile,
    kind: Type,
    receive_buffer: Option<usize>,
) -> Result<(OwnedFd, Owned), SocketFileError> {
    let refused = |error| SocketFileError::Refused { path: file.path.clone(), error };
    patiently(|| remove_stale(&file.path, kind))?;
    let socket = Socket::new(Domain::UNIX, kind, None).map_err(refused)?;
    if let Some(bytes) = receive_buffer {
        set_receive_buffer(&socket, bytes).map_err(refused)?;
    }
    bind(&socket, file).map_err(|error| match error.raw_os_error() {
        // Another program made it a moment ago.
        Some(libc::EADDRINUSE) => SocketFileError::Live(file.path.clone()),
        _ => refused(error),
    })?;
    let owned = Owned::new(&file.path);
    if kind == Type::STREAM {
        socket.listen(BACKLOG).map_err(refused)?;
    }
    Ok((socket.into(), owned))
}

/// With its permissions from the first moment on: bind(2) heeds the umask.
fn bind(socket: &Socket, file: &SocketFile) -> io::Result<()> {
    let address = SockAddr::unix(&file.path)?;
    let Some(mode) = file.mode else { return socket.bind(&address) };
    let before = umask(Mode::from_bits_truncate(!mode & 0o777));
    let bound = socket.bind(&address);
    umask(before);
    bound
}

/// Removes what a relay left behind that was killed: a socket to which nobody listens.
fn remove_stale(path: &Path, kind: Type) -> Result<(), SocketFileError> {
    let refused = |error| SocketFileError::Refused { path: path.to_owned(), error };
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(error)),
        Ok(there) if !there.file_type().is_socket() => Err(SocketFileError::NoSocket(path.to_owned())),
        Ok(_) => match connect(path, kind) {
            Err(error) if error.raw_os_error() == Some(Errno::ECONNREFUSED as i32) => {
                fs::remove_file(path).map_err(refused)
            }
            Err(error) if error.raw_os_error() == Some(Errno::EACCES as i32) => Err(refused(error)),
            // Connected, or too busy to be, or of another kind: somebody is there.
            Ok(()) | Err(_) => Err(SocketFileError::Live(path.to_owned())),
        },
    }
}

/// Once what a killed relay left to the kernel is gone, as a port is waited for ([`BIND_PATIENCE`]).
fn patiently(mut attempt: impl FnMut() -> Result<(), SocketFileError>) -> Result<(), SocketFileError> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(SocketFileError::Live(_)) if began.elapsed() < BIND_PATIENCE => {
                // An interrupted wait only tries once more.
                let _ = poll(&mut [], PollTimeout::try_from(BIND_RETRY).unwrap_or(PollTimeout::ZERO));
            }
            done => return done,
        }
    }
}

fn connect(path: &Path, kind: Type) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    fn file(folder: &tempfile::TempDir, mode: Option<u32>) -> SocketFile {
        SocketFile { path: folder.path().join("relay.sock"), mode }
    }

    #[test]
    fn it_is_there_with_its_permissions_and_gone_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder, Some(0o640));
        let (_listener, owned) = listen(&file).unwrap();
        assert_eq!(file.path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        UnixStream::connect(&file.path).unwrap();
        drop(owned);
        assert!(!file.path.exists());
    }

    #[test]
    fn one_that_was_left_behind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder, None);
        drop(UnixListener::bind(&file.path).unwrap());
        let (_listener, owned) = listen(&file).unwrap();
        UnixStream::connect(&file.path).unwrap();
        drop(owned);
        drop(UnixDatagram::bind(&file.path).unwrap());
        let (_socket, _owned) = bind_datagrams(&file, None).unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"x", &file.path).unwrap();
    }

    #[test]
    fn one_that_lives_is_an_error_whatever_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder, None);
        let _live = UnixListener::bind(&file.path).unwrap();
        assert!(matches!(listen(&file), Err(SocketFileError::Live(_))));
        assert!(matches!(bind_datagrams(&file, None), Err(SocketFileError::Live(_))));
        UnixStream::connect(&file.path).unwrap();
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder, None);
        fs::write(&file.path, "precious").unwrap();
        assert!(matches!(listen(&file), Err(SocketFileError::NoSocket(_))));
        assert_eq!(fs::read(&file.path).unwrap(), b"precious");
    }

    #[test]
    fn what_another_program_put_in_its_place_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder, None);
        let (_listener, owned) = listen(&file).unwrap();
        fs::remove_file(&file.path).unwrap();
        let _theirs = UnixListener::bind(&file.path).unwrap();
        drop(owned);
        assert!(file.path.exists());
    }
}
