//! Paths within URLs: of files, and of unix sockets.
//!
//! Lives here: `///absolute/path` and `relative/path`, percent-decoded, and not resolved against anything, so that `..` stays what it
//! is. Never here: a look at the file system.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::endpoint::Endpoint;
use super::error::{ConfigError, Mistake};
use super::word::Word;

/// Longest path of a socket, in bytes without its end (`sun_path`, unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// The path of a file.
pub(super) fn file(endpoint: Endpoint<'_>) -> Result<PathBuf, ConfigError> {
    path(without_slashes(endpoint)?, "file:///var/log/relay.log")
}

/// The path of a unix socket.
pub(super) fn socket(endpoint: Endpoint<'_>) -> Result<PathBuf, ConfigError> {
    socket_path(without_slashes(endpoint)?, endpoint.scheme.name())
}

/// The paths of several, divided by commas, each with its place.
pub(super) fn sockets<'a>(endpoint: Endpoint<'a>) -> Result<Vec<(Word<'a>, PathBuf)>, ConfigError> {
    let words = without_slashes(endpoint)?.split(',');
    words.map(|word| Ok((word, socket_path(word, endpoint.scheme.name())?))).collect()
}

fn socket_path(word: Word<'_>, scheme: &str) -> Result<PathBuf, ConfigError> {
    let path = path(word, &format!("{scheme}:/run/relay.sock"))?;
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        let mistake = Mistake::new("too long for the path of a socket");
        return Err(word.wrong(mistake.hint(format!("at most {SOCKET_PATH_MAX} bytes"))));
    }
    Ok(path)
}

fn without_slashes(endpoint: Endpoint<'_>) -> Result<Word<'_>, ConfigError> {
    match endpoint.rest.strip_prefix("//") {
        Some(after) if !after.text().starts_with('/') => Err(host_before_path(after, endpoint.scheme.name())),
        Some(after) => Ok(after),
        None => Ok(endpoint.rest),
    }
}

fn path(word: Word<'_>, example: &str) -> Result<PathBuf, ConfigError> {
    let bytes: Vec<u8> = percent_decode_str(word.text()).collect();
    if bytes.contains(&0) {
        return Err(word.wrong(Mistake::new("a zero byte").hint("no path holds one")));
    }
    let path = PathBuf::from(OsString::from_vec(bytes));
    if word.text().ends_with('/') || path.file_name().is_none() {
        return Err(word.wrong(Mistake::new("no file name").hint(format!("like {example}"))));
    }
    Ok(path)
}

fn host_before_path(after: Word<'_>, scheme: &str) -> ConfigError {
    let (host, _) = after.split_once('/');
    let hint = format!("did you mean `{scheme}:///{0}` or `{scheme}:{0}`?", after.text());
    host.wrong(Mistake::new("a host before a file's path").hint(hint))
}
