//! Every message with which a start can fail, as the user reads it.
//!
//! Lives here: a snapshot of them all. Never here: anything that ships.

use std::io;

use nix::errno::Errno;

use super::bring_up::StartError;
use super::placement::PlacementError;
use crate::config::plan::HostPort;
use crate::ring::SetupError;
use crate::socket::address::AddressError;
use crate::socket::socket_file::SocketFileError;

fn os(errno: Errno) -> io::Error {
    errno.into()
}

fn cannot_listen(errno: Errno) -> StartError {
    let address = ([127, 0, 0, 1], 514).into();
    AddressError::CannotListen { address, error: os(errno) }.into()
}

fn rings() -> Vec<SetupError> {
    vec![
        SetupError::DisabledBySysctl(2),
        SetupError::DisabledBySysctl(1),
        SetupError::Forbidden,
        SetupError::Missing("6.1.0".to_owned()),
        SetupError::MemoryLock("0 KiB".to_owned()),
        SetupError::Descriptors(Errno::EMFILE),
        SetupError::TooOld("5.15.0".to_owned()),
        SetupError::Lacks {
            feature: "provided buffer rings (kernel 5.19)",
            error: os(Errno::EINVAL),
            release: "6.1.0".to_owned(),
        },
    ]
}

fn all() -> Vec<StartError> {
    let host = HostPort { host: "relay.example".to_owned(), port: 514 };
    let unresolved =
        AddressError::Unresolved { host: host.host, error: io::Error::other("the name has no address") };
    let path = || "/run/relay.sock".into();
    let mut all: Vec<StartError> = rings().into_iter().map(StartError::from).collect();
    all.extend([
        StartError::Signals(Errno::EMFILE),
        unresolved.into(),
        cannot_listen(Errno::EADDRINUSE),
        cannot_listen(Errno::EACCES),
        cannot_listen(Errno::EADDRNOTAVAIL),
        cannot_listen(Errno::EMFILE),
        cannot_listen(Errno::ENOBUFS),
        SocketFileError::Live(path()).into(),
        SocketFileError::NoSocket(path()).into(),
        SocketFileError::Refused { path: path(), error: os(Errno::EACCES) }.into(),
        PlacementError::NotAllowed { core: 7, allowed: vec![0, 1] }.into(),
        PlacementError::Unknown(Errno::EINVAL).into(),
        StartError::File {
            path: "/var/log/relay.log".into(),
            error: os(Errno::EACCES),
            remedy: "name a file in a folder that exists and may be written to",
        },
        StartError::Ledger { path: "/books.json".into(), error: os(Errno::EROFS) },
        StartError::System(os(Errno::ENFILE)),
        StartError::Descriptors(16),
    ]);
    all
}

#[test]
fn each_says_what_is_wrong_and_what_mends_it() {
    let shown: Vec<String> = all().iter().map(|error| format!("{error}\n")).collect();
    insta::assert_snapshot!(shown.join("\n"));
}
