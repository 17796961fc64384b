//! From all flags to the plan.
//!
//! Lives here: defaults of flags, and the rules that hold between one flag and another. Never here: how a URL is read.

use std::time::Duration;

use super::cores::cores;
use super::endpoint::Role;
use super::error::{ConfigError, Mistake};
use super::flags::RunArgs;
use super::names::Names;
use super::plan::{Cores, Listen, Plan, Sink, Source, Target};
use super::sink::sink;
use super::source::source;
use super::values::{duration, size};
use super::word::Word;
use crate::limits::{
    DRAIN_TIMEOUT_DEFAULT, DRAIN_TIMEOUT_MAX, MAX_IN_FLIGHT_DEFAULT, MAX_IN_FLIGHT_MAX, MAX_IN_FLIGHT_MIN,
};

/// On loopback: nobody else reaches a relay that was only tried out.
const FROM_DEFAULT: &str = "tcp://127.0.0.1:5140";
const TO_DEFAULT: &str = "stdout";

impl RunArgs {
    /// What the relay runs on, every value decided and within its bounds. Opens and resolves nothing.
    ///
    /// # Errors
    ///
    /// The first mistake, with its place.
    pub fn plan(&self) -> Result<Plan, ConfigError> {
        let (max_in_flight, drain_timeout) = (self.max_in_flight()?, self.drain_timeout()?);
        let mut sources = self.sources(max_in_flight)?;
        // What is read until the last moment could not be delivered any more.
        sources.iter_mut().for_each(|source| source.linger = source.linger.min(drain_timeout / 2));
        let sinks = self.sinks()?;
        Ok(Plan {
            cores: self.cores_for(&sinks)?,
            drain_timeout,
            max_in_flight,
            sources,
            sinks,
            ledger_file: self.ledger.clone(),
        })
    }

    fn max_in_flight(&self) -> Result<usize, ConfigError> {
        let Some(text) = &self.max_in_flight else { return Ok(MAX_IN_FLIGHT_DEFAULT) };
        let wrong = |mistake| Word::typed("--max-in-flight", text).wrong(mistake);
        size(text, MAX_IN_FLIGHT_MIN..=MAX_IN_FLIGHT_MAX).map_err(wrong)
    }

    fn drain_timeout(&self) -> Result<Duration, ConfigError> {
        let Some(text) = &self.drain_timeout else { return Ok(DRAIN_TIMEOUT_DEFAULT) };
        let wrong = |mistake| Word::typed("--drain-timeout", text).wrong(mistake);
        duration(text, DRAIN_TIMEOUT_MAX).map_err(wrong)
    }

    fn sources(&self, max_in_flight: usize) -> Result<Vec<Source>, ConfigError> {
        let (mut sources, mut names) = (Vec::new(), Names::default());
        for typed in words(&self.from, FROM_DEFAULT, Role::Source) {
            let source = source(typed, max_in_flight, &mut names)?;
            refuse_same_address(typed, &source, &sources)?;
            sources.push(source);
        }
        Ok(sources)
    }

    fn sinks(&self) -> Result<Vec<Sink>, ConfigError> {
        if let Some(second) = self.to.get(1) {
            let mistake = Mistake::new("a second sink").hint("several sinks are not in this version");
            return Err(Word::typed(Role::Sink.flag(), second).wrong(mistake));
        }
        let mut names = Names::default();
        words(&self.to, TO_DEFAULT, Role::Sink).map(|typed| sink(typed, &mut names)).collect()
    }

    /// Standard output is one stream: two reactors would write into each other's messages.
    fn cores_for(&self, sinks: &[Sink]) -> Result<Cores, ConfigError> {
        let text = self.cores.as_deref().unwrap_or("all");
        let asked = cores(text)?;
        if sinks.iter().all(|sink| sink.target != Target::Stdout) {
            return Ok(asked);
        }
        match &asked {
            Cores::All => Ok(Cores::Count(1)),
            Cores::Count(1) => Ok(asked),
            Cores::List(numbers) if numbers.len() == 1 => Ok(asked),
            Cores::Count(_) | Cores::List(_) => Err(Word::typed("--cores", text).wrong(one_stream())),
        }
    }
}

fn one_stream() -> Mistake {
    Mistake::new("more than one core for stdout")
        .hint("use 1, or send to a file or tcp with --to")
        .allowed("stdout is one stream, which one core writes")
}

fn words<'a>(typed: &'a [String], default: &'static str, role: Role) -> impl Iterator<Item = Word<'a>> {
    let default = typed.is_empty().then_some(default);
    default
        .into_iter()
        .chain(typed.iter().map(String::as_str))
        .map(move |text| Word::typed(role.flag(), text))
}

/// Port 0 is another port each time.
fn refuse_same_address(typed: Word<'_>, source: &Source, others: &[Source]) -> Result<(), ConfigError> {
    let same = |other: &Source| {
        other.listen == source.listen && !matches!(&source.listen, Listen::Tcp(at) if at.port == 0)
    };
    if others.iter().any(same) {
        return Err(typed.wrong(Mistake::new("the same address twice").hint("another source listens there")));
    }
    Ok(())
}
