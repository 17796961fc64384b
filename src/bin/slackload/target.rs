//! The address that a user wrote.
//!
//! Lives here: `HOST:PORT` and `tcp://HOST:PORT?framing=…`, and resolving their names. Never here: connecting, listening.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use clap::ValueEnum;
use slackwater::message::Framing;
use url::Url;

use crate::Failure;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FramingName {
    /// Messages end with LF
    Line,
    /// RFC 6587 octet counting
    Octet,
}

impl From<FramingName> for Framing {
    fn from(name: FramingName) -> Self {
        match name {
            FramingName::Line => Self::Line,
            FramingName::Octet => Self::Octet,
        }
    }
}

/// A host, a port, and how messages there are framed if that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// `HOST:PORT`, IPv6 addresses in brackets.
    address: String,
    framing: Option<Framing>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return from_url(text);
        }
        let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) => Ok(Self { address: text.to_owned(), framing: None }),
            Some(Err(_)) | None => Err("write HOST:PORT or tcp://HOST:PORT".to_owned()),
        }
    }
}

fn from_url(text: &str) -> Result<Target, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.scheme() != "tcp" {
        return Err(format!("only tcp:// is supported, not {}://", url.scheme()));
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port()) else {
        return Err("write tcp://HOST:PORT".to_owned());
    };
    let mut target = Target { address: format!("{host}:{port}"), framing: None };
    for (key, value) in url.query_pairs() {
        if key != "framing" {
            return Err(format!("unknown parameter {key:?}: only framing is known"));
        }
        target.framing = Some(FramingName::from_str(&value, false)?.into());
    }
    Ok(target)
}

impl Target {
    /// The framing that option and address agree on; lines if neither says.
    pub(crate) fn framing(&self, option: Option<FramingName>) -> Result<Framing, Failure> {
        let option = option.map(Framing::from);
        match (option, self.framing) {
            (Some(option), Some(address)) if option != address => {
                Err(Failure::usage("--framing and the address's framing differ: give one of them"))
            }
            (option, address) => Ok(option.or(address).unwrap_or(Framing::Line)),
        }
    }

    /// The first address that the host has.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, Failure> {
        let fail = |reason: &dyn std::fmt::Display| Failure::run(format!("{}: {reason}", self.address));
        let mut found = self.address.to_socket_addrs().map_err(|error| fail(&error))?;
        found.next().ok_or_else(|| fail(&"the name has no address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_the_same() {
        let plain: Target = "[::1]:514".parse().unwrap();
        let url: Target = "tcp://[::1]:514?framing=octet".parse().unwrap();
        assert_eq!(plain.address, url.address);
        assert_eq!(url.framing, Some(Framing::Octet));
        assert_eq!(plain.resolve().unwrap().port(), 514);
    }

    #[test]
    fn mistakes_are_refused() {
        for text in
            ["host", "host:x", "udp://h:1", "tcp://h", "tcp://h:1?frame=line", "tcp://h:1?framing=lines"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn contradicting_framings_are_refused() {
        let target: Target = "tcp://h:1?framing=octet".parse().unwrap();
        assert_eq!(target.framing(None).unwrap(), Framing::Octet);
        assert!(target.framing(Some(FramingName::Line)).is_err());
    }
}
