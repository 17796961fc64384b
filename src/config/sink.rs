//! A sink, from its URLs and its settings.
//!
//! Lives here: a sink's options, their defaults, and which kind of sink has which. Never here: how a single value is read.

use super::address::hosts_and_ports;
use super::endpoint::{Endpoint, Role, Scheme};
use super::error::{ConfigError, Mistake};
use super::names::Names;
use super::paths;
use super::plan::{Balance, Confirm, Key, Sink, Target};
use super::service::{self, owner_of};
use super::services::Protocol;
use super::settings::{Item, Known, Settings};
use super::values::{Rule, balance, byte, confirm, confirm_locally, count, framing, pattern};
use super::word::Word;
use crate::kernel::Medium;
use crate::limits::{SINK_CONNECTIONS_MAX, SINK_ENDPOINTS_MAX};
use crate::message::Framing;

const STREAM_KEYS: [&str; 8] =
    ["framing", "confirm", "connections", "balance", "key_until", "key_regex", "dead_letter", "name"];
const DATAGRAM_KEYS: [&str; 7] =
    ["framing", "confirm", "balance", "key_until", "key_regex", "dead_letter", "name"];
const LOCAL_KEYS: [&str; 4] = ["framing", "confirm", "dead_letter", "name"];

/// A sink, and the name of the one that takes its dead letters, which is looked up once all are known.
pub(super) struct Draft<'a> {
    pub(super) place: Word<'a>,
    pub(super) sink: Sink,
    pub(super) dead_letter: Option<Item<'a>>,
}

/// Reads one sink. In a file `settings` are its table, of which `send` holds the URLs; behind a flag there is one, and no settings.
/// `place` is where the sink as a whole stands.
pub(super) fn sink<'a>(
    place: Word<'a>,
    urls: &[Word<'a>],
    mut settings: Settings<'a>,
    names: &mut Names,
) -> Result<Draft<'a>, ConfigError> {
    let endpoints = urls.iter().map(|url| Endpoint::read(*url, Role::Sink)).collect::<Result<Vec<_>, _>>()?;
    let first = endpoints[0];
    if let Some(other) = endpoints.iter().find(|other| other.scheme != first.scheme) {
        let mistake =
            Mistake::new(format!("a {} endpoint among {} ones", other.scheme.name(), first.scheme.name()));
        return Err(other
            .name
            .wrong(mistake.hint("a sink's endpoints are of one kind; make another sink of it")));
    }
    endpoints.iter().try_for_each(|endpoint| settings.add_query(endpoint.query))?;
    let sink = match first.scheme {
        Scheme::Service(protocol, tls) => of_service(place, &endpoints, (protocol, tls), &settings, names)?,
        local_or_peer => {
            settings.check(known(local_or_peer, place.is_in_file()))?;
            match local_or_peer {
                Scheme::Peer(medium) => remote(place, medium, &endpoints, &settings, names)?,
                Scheme::Stdout => stdout(&endpoints, &settings, names)?,
                Scheme::File | Scheme::Service(..) => file(&endpoints, &settings, names)?,
            }
        }
    };
    Ok(Draft { place, sink, dead_letter: settings.item("dead_letter")? })
}

fn of_service(
    place: Word<'_>,
    endpoints: &[Endpoint<'_>],
    (protocol, tls): (Protocol, bool),
    settings: &Settings<'_>,
    names: &mut Names,
) -> Result<Sink, ConfigError> {
    let mut keys = service::sink_keys(protocol);
    if place.is_in_file() {
        keys.push("send");
    }
    settings.check(Known { owner: &owner_of(protocol, tls, "sink"), keys: &keys })?;
    let push = service::push(endpoints, (protocol, tls), settings)?;
    let default_name = match protocol {
        Protocol::Http => format!("http-{}", push.service.hosts[0].port),
        Protocol::Redis | Protocol::RedisList | Protocol::Nats | Protocol::Amqp => push.service.path.clone(),
    };
    Ok(Sink {
        name: names.choose(settings, &default_name)?,
        target: Target::Service(Box::new(push)),
        // Each message is taken out of its frame when it is sent.
        framing: Some(Framing::Datagram),
        confirm: Confirm::Replied,
        connections: 1,
        balance: Balance::Spread,
        dead_letter: None,
    })
}

fn known(scheme: Scheme, in_file: bool) -> Known<'static> {
    const FILE_STREAM_KEYS: [&str; 9] = with_send(STREAM_KEYS);
    const FILE_DATAGRAM_KEYS: [&str; 8] = with_send(DATAGRAM_KEYS);
    const FILE_LOCAL_KEYS: [&str; 5] = with_send(LOCAL_KEYS);
    let (owner, in_url, in_table): (_, &[&str], &[&str]) = match scheme {
        Scheme::Peer(Medium::Tcp) => ("a tcp sink", &STREAM_KEYS, &FILE_STREAM_KEYS),
        Scheme::Peer(Medium::Unix) => ("a unix sink", &STREAM_KEYS, &FILE_STREAM_KEYS),
        Scheme::Peer(Medium::Udp) => ("a udp sink", &DATAGRAM_KEYS, &FILE_DATAGRAM_KEYS),
        Scheme::Peer(Medium::Unixgram) => ("a unixgram sink", &DATAGRAM_KEYS, &FILE_DATAGRAM_KEYS),
        Scheme::Stdout => ("stdout", &LOCAL_KEYS, &FILE_LOCAL_KEYS),
        Scheme::File | Scheme::Service(..) => ("a file", &LOCAL_KEYS, &FILE_LOCAL_KEYS),
    };
    Known { owner, keys: if in_file { in_table } else { in_url } }
}

/// In a file the URL is an option like the others.
const fn with_send<const N: usize, const M: usize>(keys: [&'static str; N]) -> [&'static str; M] {
    let mut all = ["send"; M];
    let mut place = 0;
    while place < N {
        all[place + 1] = keys[place];
        place += 1;
    }
    all
}

fn remote<'a>(
    place: Word<'a>,
    medium: Medium,
    endpoints: &[Endpoint<'a>],
    settings: &Settings<'a>,
    names: &mut Names,
) -> Result<Sink, ConfigError> {
    let (target, default_name, count) = target(medium, endpoints)?;
    let balance = balance_of(place, settings, count)?;
    let is_stream = !medium.is_datagrams();
    let framing_given = settings.get("framing", |text| sink_framing(text, is_stream))?;
    let given = match medium {
        Medium::Tcp => settings.get("confirm", confirm)?,
        Medium::Udp | Medium::Unix | Medium::Unixgram => settings.get("confirm", confirm_locally)?,
    };
    let default = if medium == Medium::Tcp { Confirm::Acked } else { Confirm::Written };
    Ok(Sink {
        name: names.choose(settings, &default_name)?,
        target,
        framing: framing_given.or((!is_stream).then_some(Framing::Datagram)),
        confirm: given.unwrap_or(default),
        connections: connections(settings, &balance)?,
        balance,
        dead_letter: None,
    })
}

fn sink_framing(text: &str, is_stream: bool) -> Result<Framing, Mistake> {
    match framing(text)? {
        Framing::Datagram if is_stream => {
            Err(Mistake::new("no datagrams in a stream: `datagram`").hint("line, octet, u32 or nul"))
        }
        framing => Ok(framing),
    }
}

/// With its default name, and how many endpoints it has.
fn target<'a>(medium: Medium, endpoints: &[Endpoint<'a>]) -> Result<(Target, String, usize), ConfigError> {
    let on_network = || distinct(endpoints, |endpoint| hosts_and_ports(endpoint));
    let on_disk = || distinct(endpoints, |endpoint| paths::sockets(endpoint));
    Ok(match medium {
        Medium::Tcp | Medium::Udp => {
            let hosts = on_network()?;
            let (name, count) = (hosts[0].to_string(), hosts.len());
            (if medium == Medium::Tcp { Target::Tcp(hosts) } else { Target::Udp(hosts) }, name, count)
        }
        Medium::Unix | Medium::Unixgram => {
            let paths = on_disk()?;
            let name = paths[0].file_name().unwrap_or_default().to_string_lossy().into_owned();
            let count = paths.len();
            (if medium == Medium::Unix { Target::Unix(paths) } else { Target::Unixgram(paths) }, name, count)
        }
    })
}

fn distinct<'a, T: PartialEq>(
    endpoints: &[Endpoint<'a>],
    read: impl Fn(Endpoint<'a>) -> Result<Vec<(Word<'a>, T)>, ConfigError>,
) -> Result<Vec<T>, ConfigError> {
    let mut all = Vec::new();
    for endpoint in endpoints {
        for (word, one) in read(*endpoint)? {
            if all.contains(&one) {
                return Err(word.wrong(Mistake::new("the same endpoint twice").hint("name it once")));
            }
            if all.len() == SINK_ENDPOINTS_MAX {
                let mistake = Mistake::new("too many endpoints")
                    .hint(format!("a sink has at most {SINK_ENDPOINTS_MAX}"));
                return Err(word.wrong(mistake));
            }
            all.push(one);
        }
    }
    Ok(all)
}

fn balance_of(place: Word<'_>, settings: &Settings<'_>, endpoints: usize) -> Result<Balance, ConfigError> {
    let rule = settings.get("balance", |text| match balance(text)? {
        Rule::Spread => Ok(Rule::Spread),
        _ if endpoints < 2 => Err(Mistake::new(format!("one endpoint for `{text}`"))
            .hint("it takes two or more: name them in `send`, or divided by commas after --to")),
        rule => Ok(rule),
    })?;
    let until = settings.get("key_until", byte)?.map(Key::Until);
    let regex = settings.get("key_regex", pattern)?.map(Key::Pattern);
    let key_word = settings.key("key_regex").or(settings.key("key_until")).unwrap_or(place);
    match (rule.unwrap_or(Rule::Spread), until, regex) {
        (_, Some(_), Some(_)) => {
            Err(key_word.wrong(Mistake::new("two keys").hint("key_until or key_regex, not both")))
        }
        (Rule::Hash, until, regex) => Ok(Balance::Hash(until.or(regex).unwrap_or(Key::Message))),
        (_, Some(_), None) | (_, None, Some(_)) => {
            Err(key_word.wrong(Mistake::new("a key without a hash").hint("it goes with balance = hash")))
        }
        (Rule::Spread, None, None) => Ok(Balance::Spread),
        (Rule::Failover, None, None) => Ok(Balance::Failover),
        (Rule::Copy, None, None) => Ok(Balance::Copy),
    }
}

fn connections(settings: &Settings<'_>, balance: &Balance) -> Result<usize, ConfigError> {
    let given =
        settings.get("connections", |text| match (count(text, 1..=SINK_CONNECTIONS_MAX)?, balance) {
            (2.., Balance::Hash(_)) => Err(Mistake::new(format!("`{text}` connections for a hash"))
                .hint("it has one for each pair of endpoints")),
            (connections, _) => Ok(connections),
        })?;
    Ok(given.unwrap_or(1))
}

fn stdout(
    endpoints: &[Endpoint<'_>],
    settings: &Settings<'_>,
    names: &mut Names,
) -> Result<Sink, ConfigError> {
    let endpoint = only(endpoints)?;
    if !matches!(endpoint.rest.text(), "" | "//") {
        let mistake = Mistake::new("something behind `stdout:`").hint("it takes only ?PARAMETERS");
        return Err(endpoint.rest.wrong(mistake));
    }
    local(Target::Stdout, settings, "stdout", names)
}

fn file(endpoints: &[Endpoint<'_>], settings: &Settings<'_>, names: &mut Names) -> Result<Sink, ConfigError> {
    let path = paths::file(only(endpoints)?)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    local(Target::File(path), settings, &name, names)
}

fn only<'a>(endpoints: &[Endpoint<'a>]) -> Result<Endpoint<'a>, ConfigError> {
    match endpoints {
        [endpoint] => Ok(*endpoint),
        [_, second, ..] => {
            let mistake = Mistake::new(format!("a second {}", second.scheme.name()));
            Err(second.name.wrong(mistake.hint("such a sink has one endpoint; make another sink of it")))
        }
        [] => unreachable!("a sink has a URL"),
    }
}

fn local(
    target: Target,
    settings: &Settings<'_>,
    default_name: &str,
    names: &mut Names,
) -> Result<Sink, ConfigError> {
    Ok(Sink {
        name: names.choose(settings, default_name)?,
        target,
        framing: settings.get("framing", |text| sink_framing(text, true))?,
        confirm: settings.get("confirm", confirm_locally)?.unwrap_or(Confirm::Written),
        connections: 1,
        balance: Balance::Spread,
        dead_letter: None,
    })
}
