//! What the kernel refused, in words, and what to do about it.
//!
//! Lives here: errors of connecting, listening and accepting, each with the remedy that fits. Never here: the attempt itself.

use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use slackwater::load::Place;

const NOBODY: &str = "is something listening there?";

/// Why no connection to `to` came about.
pub(crate) fn connecting(to: &Place, error: &io::Error) -> String {
    let remedy = match (error.kind(), errno(error)) {
        (ErrorKind::ConnectionRefused | ErrorKind::NotFound, _) => Some(NOBODY.to_owned()),
        (ErrorKind::TimedOut, _) => Some(format!("{NOBODY} And does a firewall let it through?")),
        (ErrorKind::PermissionDenied, _) => Some(permission(to).to_owned()),
        (_, Errno::EADDRNOTAVAIL) => Some(
            "no port of ours may be left (`sysctl net.ipv4.ip_local_port_range`): choose fewer --connections"
                .to_owned(),
        ),
        _ => shortage(error),
    };
    with(format!("cannot connect to {to}: {error}"), remedy)
}

fn permission(to: &Place) -> &'static str {
    match to {
        Place::Unix(_) | Place::Unixgram(_) => {
            "who connects must be allowed to write to the socket, and to enter the folders above it (`ls -l`)"
        }
        Place::Tcp(_) | Place::Udp(_) => "a rule of this machine's firewall forbids it",
    }
}

/// Why nothing can listen at `at`.
pub(crate) fn listening(at: &Place, error: &io::Error) -> String {
    let remedy = match (error.kind(), at) {
        (ErrorKind::AddrInUse, Place::Unix(path) | Place::Unixgram(path)) => Some(in_use(path).to_owned()),
        (ErrorKind::AddrInUse, Place::Tcp(_) | Place::Udp(_)) => Some(
            "stop the program that has the port (`ss -ltunp` names it), or choose another with --listen"
                .to_owned(),
        ),
        _ => shortage(error),
    };
    with(format!("cannot listen on {at}: {error}"), remedy)
}

fn in_use(path: &Path) -> &'static str {
    let is_socket = path.symlink_metadata().is_ok_and(|there| there.file_type().is_socket());
    match (is_socket, is_stale(path)) {
        (true, true) => {
            "the file is stale, nobody listens there any more, as after kill -9: it may be removed (`rm`)"
        }
        (true, false) => "stop the program that listens there (`ss -lxp` names it), or choose another path",
        (false, _) => "what is there is no socket: choose another path",
    }
}

/// Whether the socket at `path` has no owner any more (unix(7)). A datagram socket asks: it is no connection to whoever listens.
fn is_stale(path: &Path) -> bool {
    let asked = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    asked.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Why connections wait, and what that does to the figures.
pub(crate) fn accepting(error: &io::Error) -> String {
    let text = format!(
        "cannot accept every connection: {error}; those that wait are read late, which their latency shows"
    );
    with(text, shortage(error))
}

/// Why the generator could not begin.
pub(crate) fn starting(text: String, error: &io::Error) -> String {
    with(text, shortage(error))
}

/// What to do where it is descriptors that are missing.
fn shortage(error: &io::Error) -> Option<String> {
    match errno(error) {
        Errno::EMFILE => {
            let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
            Some(format!("raise the limit of open files, which is {limit} (`ulimit -n`)"))
        }
        Errno::ENFILE => Some("raise the system's limit of open files (`sysctl fs.file-max`)".to_owned()),
        _ => None,
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn with(text: String, remedy: Option<String>) -> String {
    match remedy {
        Some(remedy) => text + "\nremedy: " + &remedy,
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn each_refusal_is_told_with_the_remedy_that_fits() {
        let (tcp, unix) = (Place::loopback(), Place::Unix("/run/x".into()));
        for (errno, to, text, remedy) in [
            (Errno::ECONNREFUSED, &tcp, "Connection refused", NOBODY),
            (Errno::ENOENT, &unix, "No such file", NOBODY),
            (Errno::EACCES, &unix, "Permission denied", "allowed to write to the socket"),
            (Errno::EMFILE, &tcp, "Too many open files", "`ulimit -n`"),
            (Errno::ENFILE, &tcp, "Too many open files in system", "fs.file-max"),
            (Errno::EADDRNOTAVAIL, &tcp, "Cannot assign requested address", "fewer --connections"),
        ] {
            let told = connecting(to, &errno.into());
            assert!(told.contains(text) && told.contains(remedy), "{told}");
            assert_eq!(told.contains(NOBODY), remedy == NOBODY, "{told}");
        }
        assert!(!connecting(&tcp, &Errno::EIO.into()).contains("remedy"));
    }

    #[test]
    fn a_stale_socket_is_told_from_one_that_lives_and_from_what_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sink.sock");
        let told = || listening(&Place::Unix(path.clone()), &Errno::EADDRINUSE.into());
        let live = UnixListener::bind(&path).unwrap();
        assert!(told().contains("stop the program"), "{}", told());
        live.set_nonblocking(true).unwrap();
        assert!(live.accept().is_err(), "who listens was not bothered");
        drop(live);
        assert!(told().contains("stale") && told().contains("may be removed"), "{}", told());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(told().contains("no socket"), "{}", told());
    }
}
