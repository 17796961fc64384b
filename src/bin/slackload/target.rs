//! The address that a user wrote.
//!
//! Lives here: `HOST:PORT` and `SCHEME:…?framing=…`, and resolving their names. Never here: connecting, listening.

use std::fmt::Display;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use slackwater::load::{Place, SendError};
use slackwater::message::Framing;

use crate::Failure;

const FORMS: &str = "write HOST:PORT, tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or unixgram:PATH";

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FramingName {
    /// Messages end with LF
    Line,
    /// RFC 6587 octet counting
    Octet,
    /// A big-endian length of four bytes before each message
    U32,
    /// Messages end with NUL
    Nul,
    /// A datagram each, without anything else
    Datagram,
}

impl From<FramingName> for Framing {
    fn from(name: FramingName) -> Self {
        match name {
            FramingName::Line => Self::Line,
            FramingName::Octet => Self::Octet,
            FramingName::U32 => Self::U32,
            FramingName::Nul => Self::Nul,
            FramingName::Datagram => Self::Datagram,
        }
    }
}

/// A place, and how messages there are framed if that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    unresolved: Unresolved,
    framing: Option<Framing>,
}

/// `HOST:PORT` with IPv6 addresses in brackets, or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unresolved {
    Tcp(String),
    Udp(String),
    Unix(PathBuf),
    Unixgram(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, query) =
            text.split_once('?').map_or((text, None), |(address, query)| (address, Some(query)));
        let framing = query.map(framing_in).transpose()?;
        let path = |rest: &str| PathBuf::from(rest.strip_prefix("//").unwrap_or(rest));
        let unresolved = match address.split_once(':') {
            Some(("tcp", rest)) => Unresolved::Tcp(host_and_port(rest.strip_prefix("//").ok_or(FORMS)?)?),
            Some(("udp", rest)) => Unresolved::Udp(host_and_port(rest.strip_prefix("//").ok_or(FORMS)?)?),
            Some(("unix", rest)) if !rest.is_empty() => Unresolved::Unix(path(rest)),
            Some(("unixgram", rest)) if !rest.is_empty() => Unresolved::Unixgram(path(rest)),
            _ if address.contains('/') => return Err(FORMS.to_owned()),
            _ => Unresolved::Tcp(host_and_port(address)?),
        };
        Ok(Self { unresolved, framing })
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(_)) => Ok(text.to_owned()),
        Some(Err(_)) | None => Err(FORMS.to_owned()),
    }
}

fn framing_in(query: &str) -> Result<Framing, String> {
    match query.split_once('=') {
        Some(("framing", value)) => {
            let named = FramingName::from_str(value, false);
            named.map(Framing::from).map_err(|_| format!("unknown framing {value:?}: choose {}", framings()))
        }
        Some((key, _)) => Err(format!("unknown parameter {key:?}: only framing is known")),
        None => Err(format!("unknown parameter {query:?}: only framing is known")),
    }
}

/// The names of all framings, as text.
fn framings() -> String {
    let values = FramingName::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let names: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

impl Target {
    /// The framing that option and address agree on; if neither says, lines in a stream, and a message a datagram.
    pub(crate) fn framing(&self, option: Option<FramingName>) -> Result<Framing, Failure> {
        let (is_stream, default) = match self.unresolved {
            Unresolved::Tcp(_) | Unresolved::Unix(_) => (true, Framing::Line),
            Unresolved::Udp(_) | Unresolved::Unixgram(_) => (false, Framing::Datagram),
        };
        match (option.map(Framing::from), self.framing) {
            (Some(option), Some(address)) if option != address => {
                Err(Failure::usage("--framing and the address's framing differ: give one of them"))
            }
            (Some(Framing::Datagram), _) | (_, Some(Framing::Datagram)) if is_stream => {
                Err(Failure::usage(SendError::Stream.to_string()))
            }
            (option, address) => Ok(option.or(address).unwrap_or(default)),
        }
    }

    /// Where that is: the first address that a host has.
    pub(crate) fn resolve(&self) -> Result<Place, Failure> {
        match &self.unresolved {
            Unresolved::Tcp(address) => resolved(address).map(Place::Tcp),
            Unresolved::Udp(address) => resolved(address).map(Place::Udp),
            Unresolved::Unix(path) => Ok(Place::Unix(path.clone())),
            Unresolved::Unixgram(path) => Ok(Place::Unixgram(path.clone())),
        }
    }
}

fn resolved(address: &str) -> Result<SocketAddr, Failure> {
    let fail = |reason: &dyn Display| Failure::run(format!("{address}: {reason}"));
    let mut found = address.to_socket_addrs().map_err(|error| fail(&error))?;
    found.next().ok_or_else(|| fail(&"the name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_the_same() {
        let plain: Target = "[::1]:514".parse().unwrap();
        let url: Target = "tcp://[::1]:514?framing=octet".parse().unwrap();
        assert_eq!(plain.unresolved, url.unresolved);
        assert_eq!(url.framing, Some(Framing::Octet));
        assert_eq!(plain.resolve().unwrap(), Place::Tcp("[::1]:514".parse().unwrap()));
    }

    #[test]
    fn every_place_has_a_form_and_its_usual_framing() {
        for (text, framing) in [
            ("tcp://127.0.0.1:1", Framing::Line),
            ("udp://127.0.0.1:1", Framing::Datagram),
            ("unix:/run/x", Framing::Line),
            ("unixgram:run/x", Framing::Datagram),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.resolve().unwrap().to_string(), text);
            assert_eq!(target.framing(None).unwrap(), framing);
        }
        assert_eq!("unix:///a".parse::<Target>(), "unix:/a".parse::<Target>());
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "host",
            "host:x",
            "http://h:1",
            "tcp://h",
            "tcp:h:1",
            "unix:",
            "tcp://h:1?frame=line",
            "tcp://h:1?framing=lines",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn contradicting_framings_are_refused() {
        let target: Target = "tcp://h:1?framing=octet".parse().unwrap();
        assert_eq!(target.framing(None).unwrap(), Framing::Octet);
        assert!(target.framing(Some(FramingName::Line)).is_err());
    }

    #[test]
    fn whole_datagrams_are_refused_on_a_stream_however_they_are_asked_for() {
        let refusals = [("tcp://h:1", Some(FramingName::Datagram)), ("unix:x?framing=datagram", None)];
        for (text, option) in refusals {
            let refusal = text.parse::<Target>().unwrap().framing(option).unwrap_err();
            assert_eq!((refusal.code, refusal.message), (2, SendError::Stream.to_string()), "{text}");
        }
        let udp: Target = "udp://h:1?framing=datagram".parse().unwrap();
        assert_eq!(udp.framing(None).unwrap(), Framing::Datagram);
    }

    #[test]
    fn an_unknown_framing_is_told_with_those_that_there_are() {
        let refusal = "tcp://h:1?framing=foo".parse::<Target>().unwrap_err();
        assert_eq!(refusal, "unknown framing \"foo\": choose line, octet, u32, nul or datagram");
    }
}
