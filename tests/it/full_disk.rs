//! A sink's file on a disk that is full: waited for, gone on with, and given up at the drain's deadline.
//!
//! Lives here: disks without room. Never here: files that cannot be opened (`local_sinks`), or memory (`memory_bound`).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use slackwater::load::{self, SendPlan, SendReport};

use crate::support::confine::limited;
use crate::support::eventually;
use crate::support::peer::{counted, program};
use crate::support::relay::{Order, Relay};

/// Messages of one test, 257 bytes each in the file: some twenty mebibytes.
const MESSAGES: u64 = 80_000;
/// Bytes of the disk.
const DISK: u64 = 32 << 20;
/// Bytes of room that there are at first.
const ROOM: u64 = 1 << 20;
/// Bytes by which room is made again and again; each time a write is cut short somewhere in a message.
const STEP: u64 = 128 << 10;

/// A relay into a file on a disk of its own, which nobody but the relay and the test sees.
struct OnDisk {
    relay: Relay,
    /// The disk, seen through the relay's mount namespace.
    root: PathBuf,
    _folder: tempfile::TempDir,
}

impl OnDisk {
    /// Starts it beside a file that takes nearly all the room.
    fn start(args: &[&str]) -> OnDisk {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let to = format!("file:{}/relayed.log", folder.path().display());
        let relay = mounted(Order::tcp("", &to).args(args), folder.path()).start();
        let inside = folder.path().strip_prefix("/").expect("an absolute path");
        let root = Path::new(&format!("/proc/{}/root", relay.pid())).join(inside);
        OnDisk { relay, root, _folder: folder }
    }

    /// Sends everything, until the disk is full. The relay holds what it cannot write.
    fn fill(&self) -> SendReport {
        let plan = SendPlan {
            connections: 16,
            messages_per_connection: Some(MESSAGES / 16),
            ..SendPlan::new(self.relay.address())
        };
        let sent = load::send(plan).expect("a plan that can be sent");
        assert_eq!(sent.acked_messages(), MESSAGES);
        eventually("the relay received it all", || self.relay.book("received") == MESSAGES);
        self.relay.expect_log("ENOSPC");
        sent
    }

    fn is_full(&self) -> bool {
        statvfs(&self.root).expect("the relay's disk").blocks_available() == 0
    }

    /// Makes a little room whenever there is none, without touching the relay's file.
    fn make_room_if_full(&self) {
        if self.is_full() {
            let ballast = File::options().write(true).open(self.root.join("ballast")).expect("put there");
            let taken = ballast.metadata().expect("its length").len();
            ballast.set_len(taken - STEP).expect("room to be made");
        }
    }

    fn file(&self) -> File {
        File::open(self.root.join("relayed.log")).expect("the relay's file")
    }
}

/// `order` in a mount namespace of its own, with a small file system on `folder`.
fn mounted(mut order: Order, folder: &Path) -> Order {
    let script = format!(
        "mount -t tmpfs -o size={DISK} none \"$0\" && head -c {} /dev/zero > \"$0/ballast\" && exec \"$@\"",
        DISK - ROOM
    );
    let mut command = program("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).arg(folder);
    command.arg(order.command.get_program()).args(order.command.get_args());
    order.command = command;
    order
}

/// The connection and number of a generated line that is whole.
fn stamp(line: &str) -> Option<(&str, u64)> {
    let mut fields = line.split_once("slackload run=")?.1.split(' ').skip(1);
    let stamp = (fields.next()?, fields.next()?.parse().ok()?);
    (line.len() == 256).then_some(stamp)
}

/// The messages that are whole in `file`, by connection; each connection's from the first on, without a gap.
fn messages_in(file: File) -> BTreeMap<String, u64> {
    let text = std::io::read_to_string(file).expect("text");
    let whole = text.rfind('\n').map_or(0, |last| last + 1);
    counted(&text[..whole].lines().map(str::to_owned).collect::<Vec<_>>(), stamp)
}

fn waits_for_room(cores: &str) {
    let disk = OnDisk::start(&["--cores", cores]);
    let sent = disk.fill();
    eventually("everything is in the file", || {
        disk.make_room_if_full();
        disk.relay.book("delivered") == MESSAGES
    });
    let file = disk.file();
    let end = disk.relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, MESSAGES, MESSAGES));
    end.assert_balanced();
    let expected = sent.connections.iter().map(|one| (format!("{:06}", one.connection), one.acked_messages));
    assert_eq!(messages_in(file), expected.collect());
}

fn gives_up_at_the_deadline(cores: &str) {
    let disk = OnDisk::start(&["--cores", cores, "--drain-timeout", "300ms"]);
    disk.fill();
    let file = disk.file();
    let end = disk.relay.terminate();
    assert_eq!((end.code(), &end.books["cause"]), (3, &"deadline".into()), "{:#?}", end.log);
    // The file may end in the middle of a message, which was never delivered.
    let whole = messages_in(file).values().sum::<u64>();
    assert!(whole > 0);
    assert_eq!((end.book("delivered"), end.book("abandoned")), (whole, MESSAGES - whole));
    end.assert_balanced();
}

/// Nobody waits for the other, or for the drain's time to be over.
#[test]
fn a_file_that_can_grow_no_more_ends_the_relay_with_the_exact_number() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("relayed.log");
    let order = Order::tcp("", &format!("file:{}", path.display()));
    let relay = limited(order.args(&["--cores", "2", "--drain-timeout", "10m"]), "-f 100").start();
    let plan = SendPlan { connections: 16, ..SendPlan::new(relay.address()) };
    let sending = load::start(plan).expect("a plan that can be sent");
    let end = relay.wait();
    drop(sending);
    assert_eq!((end.code(), &end.books["cause"]), (3, &"error".into()), "{:#?}", end.log);
    let whole = messages_in(File::open(path).expect("the relay's file")).values().sum::<u64>();
    assert_eq!((end.book("delivered"), end.book("abandoned")), (whole, end.book("received") - whole));
    end.assert_balanced();
}

#[test]
fn a_full_disk_is_waited_for_and_loses_nothing_once_there_is_room() {
    waits_for_room("1");
}

#[test]
fn two_reactors_on_a_full_disk_do_not_mix_their_messages() {
    waits_for_room("2");
}

#[test]
fn a_disk_that_stays_full_ends_the_drain_at_the_deadline_with_the_exact_number() {
    gives_up_at_the_deadline("1");
}

#[test]
fn a_disk_that_stays_full_ends_the_drain_of_two_reactors_with_the_exact_number() {
    gives_up_at_the_deadline("2");
}
