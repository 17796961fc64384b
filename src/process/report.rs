//! The books at the end: one log line, JSON for those who asked, and the exit code.
//!
//! Lives here: what is said. Never here: when the relay ends.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;
use tracing::{error, info, warn};

use super::decision::Cause;
use crate::config::plan::Plan;
use crate::ledger::Totals;
use crate::reactor::{Books, Unsettled};

/// The relay's books after its end.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Over everything.
    #[serde(flatten)]
    pub totals: Totals,
    /// From the signal to the last word of the last reactor, in microseconds; sockets of senders may be closed after it.
    pub drain_micros: u64,
    /// Why the relay ended.
    pub cause: Cause,
    /// By the source's name.
    pub sources: BTreeMap<String, Totals>,
    /// By the sink's name.
    pub sinks: BTreeMap<String, SinkBooks>,
    /// Whether it could not be written where it was to be.
    #[serde(skip)]
    pub(super) is_unwritten: bool,
}

/// A sink's books, and what it had not settled when time was up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SinkBooks {
    /// The books.
    #[serde(flatten)]
    pub totals: Totals,
    /// Messages that were not settled when time was up; 0 after a clean drain. A send that was under way then may turn out to have
    /// delivered some of them, so it is at least what was abandoned.
    pub unsettled: u64,
    /// For how long the oldest of those had been queued, in microseconds.
    pub oldest_micros: u64,
}

impl Report {
    /// The sum over the reactors' books.
    pub(super) fn new(plan: &Plan, books: &[Books], cause: Cause, drain: Duration) -> Report {
        let total = |column: fn(&Books) -> Vec<Totals>, index: usize| -> Totals {
            let each = books.iter().filter_map(|books| column(books).get(index).copied());
            each.fold(Totals::default(), |sum, one| sum + one)
        };
        let sources = plan.sources.iter().enumerate();
        let sinks = plan.sinks.iter().enumerate();
        Report {
            totals: total(|books| vec![books.totals], 0),
            drain_micros: u64::try_from(drain.as_micros()).unwrap_or(u64::MAX),
            cause,
            sources: sources
                .map(|(n, one)| (one.name.clone(), total(|books| books.sources.clone(), n)))
                .collect(),
            sinks: sinks
                .map(|(n, one)| {
                    (one.name.clone(), sink_books(total(|books| books.sinks.clone(), n), books, n))
                })
                .collect(),
            is_unwritten: false,
        }
    }

    /// 0: nothing abandoned. 1: nothing was abandoned, but the relay broke, or its ledger could not be written. 3: something was.
    pub fn exit_code(&self) -> ExitCode {
        match (self.totals.abandoned + self.totals.in_flight, self.cause) {
            (0, _) if self.is_unwritten => ExitCode::from(super::COULD_NOT_RUN),
            (0, Cause::Error) => ExitCode::from(super::COULD_NOT_RUN),
            (0, Cause::Term | Cause::Int | Cause::Asked | Cause::Forced | Cause::Deadline) => {
                ExitCode::SUCCESS
            }
            (_, _) => ExitCode::from(super::ABANDONED),
        }
    }

    /// One line.
    pub(super) fn log(&self) {
        let Totals { received, delivered, failed, returned, abandoned, in_flight, torn, .. } = self.totals;
        let Totals { misframed, refused, kernel_drops, redelivered, .. } = self.totals;
        let (cause, drain) = (self.cause.as_str(), self.drain_micros);
        if abandoned + in_flight == 0 {
            info!(
                received,
                delivered,
                failed,
                returned,
                abandoned,
                torn,
                cause,
                drain_micros = drain,
                "drained"
            );
        } else {
            error!(
                received,
                delivered,
                failed,
                returned,
                abandoned,
                in_flight,
                torn,
                cause,
                drain_micros = drain,
                "messages lost"
            );
        }
        if misframed + refused + kernel_drops > 0 {
            warn!(misframed, refused, kernel_drops, "what came and was no message of ours");
        }
        if redelivered > 0 {
            info!(redelivered, "of what was received, their queues had handed out before");
        }
        for (sink, columns) in self.sinks.iter().filter(|(_, columns)| columns.unsettled > 0) {
            let (unsettled, oldest_micros) = (columns.unsettled, columns.oldest_micros);
            warn!(sink, unsettled, oldest_micros, "not settled when time was up");
        }
    }
}

fn sink_books(totals: Totals, books: &[Books], index: usize) -> SinkBooks {
    let unsettled = books.iter().filter_map(|books| books.unsettled.get(index));
    let sum = unsettled.fold(Unsettled::default(), |sum, one| Unsettled {
        messages: sum.messages + one.messages,
        oldest_micros: sum.oldest_micros.max(one.oldest_micros),
    });
    SinkBooks { totals, unsettled: sum.messages, oldest_micros: sum.oldest_micros }
}

/// Where the report is written as JSON.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    /// A pipe or a device is written to as it is; a file is replaced as a whole.
    replace: bool,
}

impl LedgerFile {
    /// Makes sure that the report can be written at the end.
    ///
    /// # Errors
    /// As access(2).
    pub(super) fn open(path: &Path) -> io::Result<LedgerFile> {
        let replace = path.metadata().map_or(true, |known| known.is_file());
        if path.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        access(if replace { folder } else { path }, AccessFlags::W_OK)?;
        Ok(LedgerFile { path: path.to_owned(), replace })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the report. A reader sees either the whole of it or what was there before. A pipe that nobody reads is not waited for.
    ///
    /// # Errors
    /// As open(2), write(2), fsync(2) and rename(2).
    pub(super) fn write(&self, report: &Report) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(report)?;
        json.push(b'\n');
        if !self.replace {
            let without_waiting = OFlag::O_NONBLOCK.bits();
            let opened = OpenOptions::new().write(true).custom_flags(without_waiting).open(&self.path);
            return opened?.write_all(&json);
        }
        let mut unfinished = self.path.clone().into_os_string();
        unfinished.push(".unfinished");
        let written = write_whole(Path::new(&unfinished), &json);
        let replaced = written.and_then(|()| fs::rename(&unfinished, &self.path));
        if replaced.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        replaced
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunArgs;

    fn report(abandoned: u64, cause: Cause) -> Report {
        let totals = Totals { received: 5, delivered: 5 - abandoned, abandoned, ..Totals::default() };
        let unsettled = vec![Unsettled { messages: abandoned, oldest_micros: 7 }];
        let books = Books { totals, sources: vec![totals], sinks: vec![totals], unsettled };
        Report::new(
            &RunArgs::default().plan().unwrap(),
            &[books.clone(), books],
            cause,
            Duration::from_millis(2),
        )
    }

    #[test]
    fn the_exit_code_is_about_what_was_lost() {
        let code = |abandoned, cause| format!("{:?}", report(abandoned, cause).exit_code());
        assert_eq!(code(0, Cause::Term), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(0, Cause::Error), format!("{:?}", ExitCode::from(1)));
        assert_eq!(code(1, Cause::Deadline), format!("{:?}", ExitCode::from(3)));
        assert_eq!(code(1, Cause::Error), format!("{:?}", ExitCode::from(3)));
    }

    #[test]
    fn the_file_holds_the_sum_of_the_reactors_under_the_documented_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("books.json");
        LedgerFile::open(&path).unwrap().write(&report(1, Cause::Deadline)).unwrap();
        let books: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let keys: Vec<_> =
            ["received", "delivered", "failed", "spilled", "returned", "abandoned", "in_flight", "torn"]
                .iter()
                .map(|key| books[key].as_u64().unwrap())
                .collect();
        assert_eq!(keys, [10, 8, 0, 0, 0, 2, 0, 0]);
        assert_eq!((books["drain_micros"].as_u64(), books["cause"].as_str()), (Some(2000), Some("deadline")));
        assert_eq!(books["sinks"]["stdout"]["unsettled"], 2);
        assert_eq!(books["sinks"]["stdout"]["oldest_micros"], 7);
        assert_eq!(books["sources"].as_object().unwrap().len(), 2);
    }

    #[test]
    fn a_ledger_that_is_not_written_leaves_nothing_and_shows_in_the_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, book) = (folder.path().join("pipe"), folder.path().join("book"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut report = report(0, Cause::Term);
        assert!(LedgerFile::open(&pipe).unwrap().write(&report).is_err(), "nobody reads it");
        assert!(LedgerFile::open(Path::new("/dev/full")).unwrap().write(&report).is_err());
        // A folder cannot be replaced by a file, which is found out only when that is written.
        let ledger = LedgerFile::open(&book).unwrap();
        fs::create_dir(&book).unwrap();
        assert!(ledger.write(&report).is_err());
        assert!(!folder.path().join("book.unfinished").exists());
        report.is_unwritten = true;
        assert_eq!(format!("{:?}", report.exit_code()), format!("{:?}", ExitCode::from(1)));
    }

    #[test]
    fn a_ledger_that_cannot_be_written_is_refused_at_the_start() {
        assert!(LedgerFile::open(Path::new("/no/such/folder/books.json")).is_err());
        assert!(LedgerFile::open(Path::new("/")).is_err());
    }
}
