//! A server's process, which a test stops, kills, pauses and starts again.
//!
//! Lives here: the process, the folder with its data, and their end, also when the test is killed. Never here: what it serves.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::super::{eventually, procfs};

/// What the guard of a server does once its standard input ends: by a line, or with the test. What dies may still write, so that
/// the folder may take a second attempt.
const GUARD: &str =
    r#"read -r line || { kill -s KILL -- "-$1"; rm -rf -- "$2" || { sleep 1; rm -rf -- "$2"; }; }"#;

/// A server in a process group of its own. It is killed with the test.
pub struct Server {
    command: Command,
    is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    running: Option<Running>,
    folder: TempDir,
}

struct Running {
    child: Child,
    guard: Child,
}

/// Where a server may keep what it has.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

impl Server {
    /// Starts `command` and waits until `is_ready` says that it serves.
    #[track_caller]
    pub fn start(
        folder: TempDir,
        command: Command,
        is_ready: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Server {
        let server = Server::launch(folder, command, is_ready);
        server.wait_until_ready();
        server
    }

    /// Starts `command` without waiting for anything.
    #[track_caller]
    pub fn launch(
        folder: TempDir,
        mut command: Command,
        is_ready: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Server {
        let log = File::options().create(true).append(true).open(log_in(folder.path()));
        let log = log.expect("a file in a temporary folder");
        let also = log.try_clone().expect("a descriptor");
        command.stdin(Stdio::null()).stdout(also).stderr(log).current_dir(folder.path()).process_group(0);
        let running = Some(Running::spawn(&mut command, folder.path()));
        Server { command, is_ready: Box::new(is_ready), running, folder }
    }

    /// Waits until it serves.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        let running = self.running();
        eventually("a server is ready", || {
            assert!(!running.has_ended(), "{:?} ended:\n{}", self.command, log_of(self.folder()));
            (self.is_ready)()
        });
    }

    /// Where its data is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it by SIGTERM.
    #[track_caller]
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    /// Ends it by SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// The same server again: the same ports, and the data that it left.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "it still runs");
        self.running = Some(Running::spawn(&mut self.command, self.folder.path()));
        self.wait_until_ready();
    }

    /// Makes it stand still: its kernel goes on taking connections and bytes, it does not answer.
    #[track_caller]
    pub fn pause(&self) {
        let pid = self.running().pid();
        self.signal(Signal::SIGSTOP);
        eventually("a server stands still", || procfs::is_stopped(pid));
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Sends a signal to it and to what it has started.
    pub fn signal(&self, signal: Signal) {
        killpg(self.running().pid(), signal).expect("a child that was not waited for");
    }

    /// Leaves it to its guard, as a test does that is killed. Returns whether its data is still there once it has ended.
    #[track_caller]
    pub fn abandon(mut self) -> bool {
        let mut running = self.running.take().expect("it runs");
        drop(running.guard.stdin.take());
        eventually("the guard has killed it", || running.has_ended());
        running.guard.wait().expect("a child");
        self.folder().exists()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it was started and has not been stopped")
    }

    #[track_caller]
    fn end(&mut self, signal: Signal) {
        self.signal(signal);
        // One that is paused gets its signal only then.
        self.resume();
        let running = self.running.take().expect("asked above");
        eventually("a server ends", || running.has_ended());
    }
}

impl Running {
    #[track_caller]
    fn spawn(command: &mut Command, folder: &Path) -> Running {
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{command:?}: {error}"),
        };
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(child.id().to_string()).arg(folder);
        // A group of its own too, so that Ctrl-C reaches the test alone.
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Running { child, guard: guard.spawn().expect("a shell") }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Whether only its exit status is left. Nobody takes that before the end of this value, so that its number stays its own.
    fn has_ended(&self) -> bool {
        procfs::state(self.pid()) == 'Z'
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Also when it has ended: what it has started may still be there.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
        let _ = self.guard.stdin.take().map(|mut stdin| stdin.write_all(b"\n"));
        let _ = self.guard.wait();
    }
}

fn log_in(folder: &Path) -> std::path::PathBuf {
    folder.join("log")
}

fn log_of(folder: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log_in(folder)).unwrap_or_default()).into_owned()
}
