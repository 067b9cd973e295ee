//! The program as a process.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::eventually;

/// The end of the output of a server that has started.
const READY: &str = "Ctrl-C stops it\n";

/// A running program, killed when it is dropped.
pub struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// The error if another program uses one of the ports.
pub struct PortTaken;

/// The exit status and the output of a program.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    /// Starts a program with empty standard input. Its output is kept.
    pub fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::null());
        Self::spawn_with_streams(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    /// Starts a program with the standard streams of `command`.
    pub fn spawn_with_streams(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        Self {
            stdout: Output::of(child.stdout.take()),
            stderr: Output::of(child.stderr.take()),
            child,
        }
    }

    /// Runs a program until it exits.
    pub fn run(command: &mut Command) -> Ended {
        Self::spawn(command).end()
    }

    /// Waits until the servers print that they run.
    #[track_caller]
    pub fn serving(self) -> Result<Self, PortTaken> {
        self.once(|process| process.stdout().ends_with(READY))
    }

    /// Waits until a server without output logs that it runs.
    #[track_caller]
    pub fn logging(self, log: &Path) -> Result<Self, PortTaken> {
        let started = |log: String| log.contains(" INFO  started: ");
        self.once(|_| fs::read_to_string(log).is_ok_and(started))
    }

    /// Waits until a server that logs to standard output runs.
    #[track_caller]
    pub fn logging_to_stdout(self) -> Result<Self, PortTaken> {
        self.once(|process| process.stdout().contains("started: "))
    }

    #[track_caller]
    fn once(mut self, is_ready: impl Fn(&Self) -> bool) -> Result<Self, PortTaken> {
        let is_ready = eventually("the program serves or exits", || {
            if is_ready(&self) {
                return Some(true);
            }
            self.child.try_wait().unwrap().map(|_| false)
        });
        if is_ready {
            return Ok(self);
        }
        let ended = self.end();
        let is_silent = ended.stderr.is_empty();
        let taken = is_silent || ended.stderr.contains("Address already in use");
        assert!(taken, "the program exited: {ended:?}");
        Err(PortTaken)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns its standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Returns its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until its standard error contains a text.
    #[track_caller]
    pub fn await_stderr(&self, text: &str) {
        self.await_stderr_after(0, text);
    }

    /// Waits until standard error has this text after its first `begin` bytes: a message that was
    /// there before does not count.
    #[track_caller]
    pub fn await_stderr_after(&self, begin: usize, text: &str) {
        eventually(&format!("standard error has {text:?}"), || {
            self.stderr()[begin..].contains(text).then_some(())
        });
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Stops it as Ctrl-Z does: connections stay open, without answers. Waits until all of its
    /// threads have stopped, which takes a moment.
    #[track_caller]
    pub fn freeze(&self) {
        self.signal("STOP");
        let states = format!(
            "cat /proc/{0}/task/*/status 2>/dev/null || echo \"State: $(ps -o state= -p {0})\"",
            self.id()
        );
        eventually("all threads have stopped", || {
            let output = Command::new("sh").args(["-c", &states]).output().unwrap();
            let output = String::from_utf8_lossy(&output.stdout).into_owned();
            let threads: Vec<&str> = output
                .lines()
                .filter_map(|line| line.strip_prefix("State:"))
                .collect();
            let is_stopped = |state: &&str| state.trim_start().starts_with('T');
            (!threads.is_empty() && threads.iter().all(is_stopped)).then_some(())
        });
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it exits.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let status = eventually("the program exits", || self.child.try_wait().unwrap());
        Ended {
            status,
            stdout: self.stdout.rest(),
            stderr: self.stderr.rest(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only after its exit.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An output stream of a program, which is read continuously so that the program never blocks.
struct Output {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(stream: Option<impl Read + Send + 'static>) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let kept = text.clone();
        let read = |mut stream: Box<dyn Read + Send>| {
            thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut piece) {
                    kept.lock().unwrap().extend_from_slice(&piece[..length]);
                }
            })
        };
        let reader = stream.map(|stream| read(Box::new(stream)));
        Self { text, reader }
    }

    fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    fn rest(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}
