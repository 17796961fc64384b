//! From all that was written to the plan.
//!
//! Lives here: defaults of the whole, and the rules that hold between one source or sink and another. Never here: how a URL is
//! read.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::cores::{cores, cores_of};
use super::endpoint::Role;
use super::error::{ConfigError, Mistake};
use super::file::{ConfigFile, Document};
use super::flags::RunArgs;
use super::names::Names;
use super::nearest::did_you_mean;
use super::plan::{Cores, Listen, Plan, Sink, Source, Target};
use super::settings::{Item, Settings};
use super::sink::{Draft as SinkDraft, sink};
use super::source::{Draft, source};
use super::values::{duration, size};
use super::word::Word;
use crate::limits::{
    DRAIN_TIMEOUT_DEFAULT, DRAIN_TIMEOUT_MAX, GATHER_MAX, MAX_IN_FLIGHT_DEFAULT, MAX_IN_FLIGHT_MAX,
    MAX_IN_FLIGHT_MIN,
};

/// On loopback: nobody else reaches a relay that was only tried out.
const FROM_DEFAULT: [&str; 2] = ["tcp://127.0.0.1:5140", "udp://127.0.0.1:5140"];
const TO_DEFAULT: [&str; 1] = ["stdout"];

/// What is decided for the whole relay.
struct Whole<'a> {
    cores: Cores,
    /// Where they are asked for, if they are.
    cores_word: Option<Word<'a>>,
    drain_timeout: Duration,
    max_in_flight: usize,
    gather: Option<Duration>,
    ledger_file: Option<PathBuf>,
}

impl RunArgs {
    /// What the relay runs on, by the flags alone; every value decided and within its bounds. Opens and resolves nothing.
    ///
    /// # Errors
    ///
    /// The first mistake, with its place.
    pub fn plan(&self) -> Result<Plan, ConfigError> {
        let whole = self.whole(&Settings::of_table(Vec::new()))?;
        let mut names = Names::default();
        let typed = |text| Word::typed(Role::Sink.flag(), text);
        let sinks = or_default(&self.to, &TO_DEFAULT)
            .map(typed)
            .map(|word| sink(word, &[word], Settings::of_table(Vec::new()), &mut names));
        let sinks = sinks.collect::<Result<Vec<_>, ConfigError>>()?;
        let sinks = with_dead_letters(sinks, &mut names)?;
        let mut names = Names::default();
        let typed = |text| Word::typed(Role::Source.flag(), text);
        let sources = or_default(&self.from, &FROM_DEFAULT).map(typed).map(|word| {
            let draft = source(word, Settings::of_table(Vec::new()), whole.max_in_flight, &mut names)?;
            Ok((word, draft))
        });
        let sources = sources.collect::<Result<Vec<_>, ConfigError>>()?;
        assemble(whole, sources, sinks)
    }

    /// The same by a file; flags that say something about the whole go before it.
    ///
    /// # Errors
    ///
    /// The first mistake, with its place.
    pub fn plan_of(&self, file: &ConfigFile) -> Result<Plan, ConfigError> {
        self.refuse_endpoints()?;
        let document = file.parse()?;
        let whole = self.whole(&document.top()?)?;
        let mut names = Names::default();
        let sinks = with_dead_letters(sinks_of(&document, &mut names)?, &mut names)?;
        let sources = sources_of(&document, whole.max_in_flight)?;
        assemble(whole, sources, sinks)
    }

    fn refuse_endpoints(&self) -> Result<(), ConfigError> {
        let both = |role: Role, urls: &[String]| match urls.first() {
            None => Ok(()),
            Some(url) => {
                let mistake = Mistake::new("an endpoint beside a configuration file");
                Err(Word::typed(role.flag(), url)
                    .wrong(mistake.hint("write it into the file, or leave -c out")))
            }
        };
        both(Role::Source, &self.from)?;
        both(Role::Sink, &self.to)
    }

    fn whole<'a>(&'a self, file: &Settings<'a>) -> Result<Whole<'a>, ConfigError> {
        let in_flight = |text: &str| size(text, MAX_IN_FLIGHT_MIN..=MAX_IN_FLIGHT_MAX);
        let timeout = |text: &str| duration(text, Duration::ZERO..=DRAIN_TIMEOUT_MAX);
        let max_in_flight =
            flag_or(("--max-in-flight", &self.max_in_flight), (file, "max_in_flight"), in_flight)?;
        let drain_timeout =
            flag_or(("--drain-timeout", &self.drain_timeout), (file, "drain_timeout"), timeout)?;
        let at_most = |text: &str| duration(text, Duration::ZERO..=GATHER_MAX);
        let gather = flag_or(("--gather", &self.gather), (file, "gather"), at_most)?;
        let ledger = file.get("ledger", |text| Ok(PathBuf::from(text)))?;
        let asked = match &self.cores {
            Some(text) => Some((cores(text)?, Word::typed("--cores", text))),
            None => cores_of(file)?,
        };
        let (cores, cores_word) = asked.map_or((Cores::All, None), |(cores, word)| (cores, Some(word)));
        Ok(Whole {
            cores,
            cores_word,
            drain_timeout: drain_timeout.unwrap_or(DRAIN_TIMEOUT_DEFAULT),
            max_in_flight: max_in_flight.unwrap_or(MAX_IN_FLIGHT_DEFAULT),
            gather,
            ledger_file: self.ledger.clone().or(ledger),
        })
    }
}

fn flag_or<T>(
    (flag, given): (&'static str, &Option<String>),
    (file, key): (&Settings<'_>, &str),
    parse: impl Fn(&str) -> Result<T, Mistake>,
) -> Result<Option<T>, ConfigError> {
    match given {
        Some(text) => parse(text).map(Some).map_err(|mistake| Word::typed(flag, text).wrong(mistake)),
        None => file.get(key, parse),
    }
}

fn or_default<'a>(typed: &'a [String], default: &'static [&'static str]) -> impl Iterator<Item = &'a str> {
    let default = if typed.is_empty() { default } else { &[] };
    default.iter().copied().chain(typed.iter().map(String::as_str))
}

fn sinks_of<'a>(document: &'a Document<'a>, names: &mut Names) -> Result<Vec<SinkDraft<'a>>, ConfigError> {
    let mut sinks = Vec::new();
    for (place, settings) in document.tables("sink")? {
        let urls: Vec<Word<'_>> = settings.list("send")?.iter().map(|item| item.word).collect();
        if urls.is_empty() {
            let hint = r#"where it sends, like send = "tcp://10.0.0.5:514""#;
            return Err(place.wrong(Mistake::new("no `send`").hint(hint)));
        }
        sinks.push(sink(place, &urls, settings, names)?);
    }
    if sinks.is_empty() {
        let url = Word::typed(Role::Sink.flag(), TO_DEFAULT[0]);
        sinks.push(sink(url, &[url], Settings::of_table(Vec::new()), names)?);
    }
    Ok(sinks)
}

/// Finds the sink that takes the dead letters of another, or makes one of the file that is named.
fn with_dead_letters<'a>(
    mut sinks: Vec<SinkDraft<'a>>,
    names: &mut Names,
) -> Result<Vec<SinkDraft<'a>>, ConfigError> {
    for index in 0..sinks.len() {
        let Some(Item { word, text }) = sinks[index].dead_letter.take() else { continue };
        let found = match sinks.iter().position(|other| other.sink.name == text) {
            Some(found) => found,
            None if text.starts_with("file:") => {
                sinks.push(sink(word, &[word], Settings::of_table(Vec::new()), names)?);
                sinks.len() - 1
            }
            None => {
                let mistake = Mistake::new(format!("no sink is called `{text}`"));
                return Err(word.wrong(mistake.hint("the name of another sink, or file:PATH")));
            }
        };
        let passes_on = sinks[found].sink.dead_letter.is_some() || sinks[found].dead_letter.is_some();
        let is_one = sinks.iter().any(|other| other.sink.dead_letter == Some(index));
        if found == index || passes_on || is_one {
            let mistake = Mistake::new("dead letters of dead letters");
            return Err(word.wrong(mistake.hint("what takes them has no dead_letter of its own")));
        }
        sinks[index].sink.dead_letter = Some(found);
    }
    Ok(sinks)
}

fn sources_of<'a>(
    document: &'a Document<'a>,
    max_in_flight: usize,
) -> Result<Vec<(Word<'a>, Draft<'a>)>, ConfigError> {
    let (mut sources, mut names) = (Vec::new(), Names::default());
    for (place, settings) in document.tables("source")? {
        let given = match settings.item("listen")? {
            None => settings.item("pull")?,
            listen => listen,
        };
        let Some(listen) = given else {
            let hint =
                r#"where it listens, like listen = "tcp://0.0.0.0:5140", or the queue that it pulls from"#;
            return Err(place.wrong(Mistake::new("no `listen` or `pull`").hint(hint)));
        };
        sources.push((listen.word, source(listen.word, settings, max_in_flight, &mut names)?));
    }
    if sources.is_empty() {
        for url in FROM_DEFAULT {
            let url = Word::typed(Role::Source.flag(), url);
            sources.push((url, source(url, Settings::of_table(Vec::new()), max_in_flight, &mut names)?));
        }
    }
    Ok(sources)
}

fn assemble(
    whole: Whole<'_>,
    drafts: Vec<(Word<'_>, Draft<'_>)>,
    placed: Vec<SinkDraft<'_>>,
) -> Result<Plan, ConfigError> {
    refuse_two_writers(&placed, whole.ledger_file.as_deref())?;
    let names: Vec<&str> = placed.iter().map(|draft| draft.sink.name.as_str()).collect();
    let takes_letters = |index| placed.iter().any(|draft| draft.sink.dead_letter == Some(index));
    let by_default: Vec<usize> = (0..placed.len()).filter(|&index| !takes_letters(index)).collect();
    let mut sources: Vec<Source> = Vec::new();
    for (word, Draft { mut source, settings }) in drafts {
        refuse_same_address(word, &source, &sources)?;
        source.to = routes(&settings, &names, &by_default)?;
        // What is read until the last moment could not be delivered any more.
        source.linger = source.linger.min(whole.drain_timeout / 2);
        sources.push(source);
    }
    for (index, SinkDraft { place, sink, .. }) in placed.iter().enumerate() {
        if !takes_letters(index) && !sources.iter().any(|source| source.to.contains(&index)) {
            let mistake = Mistake::new(format!("nothing comes to sink `{}`", sink.name));
            return Err(place.wrong(mistake.hint("name it in the `to` of a source, or leave it out")));
        }
    }
    let sinks: Vec<Sink> = placed.into_iter().map(|draft| draft.sink).collect();
    Ok(Plan {
        cores: cores_for(&whole, &sinks)?,
        drain_timeout: whole.drain_timeout,
        max_in_flight: whole.max_in_flight,
        gather: whole.gather,
        sources,
        sinks,
        ledger_file: whole.ledger_file,
    })
}

/// The sinks that a source's messages go to, by name; every sink, but for those of dead letters, if it names none.
fn routes(settings: &Settings<'_>, names: &[&str], by_default: &[usize]) -> Result<Vec<usize>, ConfigError> {
    let mut to = Vec::new();
    for item in settings.list("to")? {
        let Some(index) = names.iter().position(|name| *name == item.text) else {
            let mistake = Mistake::new(format!("no sink is called `{}`", item.text));
            let hint = did_you_mean(&item.text, names);
            return Err(item
                .word
                .wrong(mistake.hint(hint).allowed(format!("sinks are: {}", names.join(", ")))));
        };
        if to.contains(&index) {
            return Err(item
                .word
                .wrong(Mistake::new(format!("sink `{}` twice", item.text)).hint("name it once")));
        }
        to.push(index);
    }
    if to.is_empty() {
        to.extend(by_default);
    }
    to.sort_unstable();
    Ok(to)
}

/// Standard output is one stream: two reactors would write into each other's messages.
fn cores_for(whole: &Whole<'_>, sinks: &[Sink]) -> Result<Cores, ConfigError> {
    if sinks.iter().all(|sink| sink.target != Target::Stdout) {
        return Ok(whole.cores.clone());
    }
    match (&whole.cores, whole.cores_word) {
        (Cores::All, _) => Ok(Cores::Count(1)),
        (Cores::Count(1), _) => Ok(whole.cores.clone()),
        (Cores::List(numbers), _) if numbers.len() == 1 => Ok(whole.cores.clone()),
        (Cores::Count(_) | Cores::List(_), Some(word)) => Err(word.wrong(one_stream())),
        (Cores::Count(_) | Cores::List(_), None) => unreachable!("a number of cores is asked for somewhere"),
    }
}

fn one_stream() -> Mistake {
    Mistake::new("more than one core for stdout")
        .hint("use 1, or send to a file or tcp")
        .allowed("stdout is one stream, which one core writes")
}

/// Two sinks that write to one stream would cut each other's messages, and the ledger would replace them.
fn refuse_two_writers(sinks: &[SinkDraft<'_>], ledger: Option<&Path>) -> Result<(), ConfigError> {
    let hint = "two sinks would write into each other's messages";
    let ledger = ledger.map(|path| Target::File(path.to_owned()));
    for (nth, SinkDraft { place, sink, .. }) in sinks.iter().enumerate() {
        let twice = match &sink.target {
            Target::Stdout => "stdout twice",
            Target::File(_) => "the same file twice",
            Target::Tcp(_) | Target::Udp(_) | Target::Unix(_) | Target::Unixgram(_) | Target::Service(_) => {
                continue;
            }
        };
        if sinks[..nth].iter().any(|other| is_same_stream(&other.sink.target, &sink.target)) {
            return Err(place.wrong(Mistake::new(twice).hint(hint)));
        }
        if ledger.as_ref().is_some_and(|ledger| is_same_stream(ledger, &sink.target)) {
            let mistake = Mistake::new("the ledger's own file");
            return Err(place.wrong(mistake.hint("the books would replace the messages")));
        }
    }
    Ok(())
}

fn is_same_stream(one: &Target, two: &Target) -> bool {
    let written = |path: &Path| -> PathBuf {
        path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
    };
    match (one, two) {
        (Target::File(one), Target::File(two)) => written(one) == written(two),
        (one, two) => one == two,
    }
}

/// Port 0 is another port each time.
fn refuse_same_address(typed: Word<'_>, source: &Source, others: &[Source]) -> Result<(), ConfigError> {
    let is_anew = match &source.listen {
        Listen::Tcp(at) | Listen::Udp(at) => at.port == 0,
        Listen::Http(listen) => listen.at.port == 0,
        // Two of them share a queue as two relays do.
        Listen::Pull(_) => true,
        Listen::Unix(_) | Listen::Unixgram(_) => false,
    };
    let same = |other: &Source| match (&other.listen, &source.listen) {
        // Two sockets cannot have one path, whatever they are.
        (Listen::Unix(one) | Listen::Unixgram(one), Listen::Unix(two) | Listen::Unixgram(two)) => {
            one.path == two.path
        }
        (one, two) => one == two,
    };
    if !is_anew && others.iter().any(same) {
        return Err(typed.wrong(Mistake::new("the same address twice").hint("another source listens there")));
    }
    Ok(())
}
