//! Notifications to a service manager, here a socket of the test.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::common::{LIMIT, PAIR, Process, Site, all_the_while};

/// A service manager.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self { socket, dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("notify")
    }

    /// Starts the herd of a pair under this manager.
    fn up(&self, watchdog: Option<Duration>) -> (Site, Process) {
        let make = || Site::new(PAIR, "");
        Site::start(make, |site| {
            let mut command = site.command(&["up"]);
            command.env("NOTIFY_SOCKET", self.path());
            if let Some(limit) = watchdog {
                command.env("WATCHDOG_USEC", limit.as_micros().to_string());
            }
            Process::spawn(&mut command).serving()
        })
    }

    /// Returns the next notification as its lines.
    #[track_caller]
    fn next(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a notification");
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits for a notification with this line, and returns it.
    #[track_caller]
    fn await_line(&self, line: &str) -> Vec<String> {
        loop {
            let notification = self.next();
            if notification.iter().any(|it| it == line) {
                return notification;
            }
        }
    }

    /// Takes what has arrived.
    fn clear(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }

    /// Returns true if nothing has arrived.
    fn is_empty(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let received = self.socket.recv(&mut [0; 4096]);
        self.socket.set_nonblocking(false).unwrap();
        received.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

const ALL_UP: &str = "STATUS=2 servers serve, 2 of 2 links up";

/// The end of the status after a reload that failed.
const REFUSED: &str = "; the last reload failed and changed nothing, see the log";

/// Reloads, and checks that the manager is notified of it and of its outcome.
#[track_caller]
fn assert_reload(manager: &Manager, process: &Process, is_refused: bool) {
    process.signal("HUP");
    let reloading = manager.await_line("RELOADING=1");
    let mut lines = reloading.iter();
    let begun = lines.find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(begun.unwrap().parse::<u64>().unwrap() > 0);
    let ready = manager.await_line("READY=1");
    assert!(
        ready[1].starts_with("STATUS=2 servers serve, "),
        "{ready:?}"
    );
    assert_eq!(ready[1].ends_with(REFUSED), is_refused, "{ready:?}");
}

#[test]
fn the_manager_is_notified_of_each_phase() {
    let manager = Manager::new();
    let (site, process) = manager.up(None);
    let ready = manager.next();
    assert_eq!(ready[0], "READY=1");
    assert!(
        ready[1].starts_with("STATUS=2 servers serve, "),
        "{ready:?}"
    );
    if ready[1] != ALL_UP {
        manager.await_line(ALL_UP);
    }
    assert_reload(&manager, &process, false);
    let config = site.config();
    site.set_config("[herd]\n");
    assert_reload(&manager, &process, true);
    site.set_config(&config);
    assert_reload(&manager, &process, false);

    process.signal("TERM");
    let stopping = manager.await_line("STOPPING=1");
    assert!(stopping[1].starts_with("STATUS=stops"), "{stopping:?}");
    assert_eq!(process.end().status.code(), Some(0));
    assert!(manager.is_empty(), "nothing follows");
}

#[test]
fn a_link_that_goes_down_changes_the_status() {
    let manager = Manager::new();
    let (_site, servers) = Site::start(
        || Site::new(PAIR, ""),
        |site| {
            let mut riley = site.command(&["serve", "Riley"]);
            riley.env("NOTIFY_SOCKET", manager.path());
            let riley = Process::spawn(&mut riley).serving()?;
            Ok((riley, site.run(&["serve", "Jaquez"])?))
        },
    );
    manager.await_line("STATUS=Riley serves, 1 of 1 link up");
    servers.1.kill();
    manager.await_line("STATUS=Riley serves, 0 of 1 link up");
}

#[test]
fn a_process_that_hangs_starves_the_watchdog() {
    let manager = Manager::new();
    let (_site, process) = manager.up(Some(Duration::from_millis(300)));
    for _ in 0..3 {
        manager.await_line("WATCHDOG=1");
    }
    process.freeze();
    manager.clear();
    all_the_while(Duration::from_secs(1), || assert!(manager.is_empty()));
    process.signal("CONT");
    manager.await_line("WATCHDOG=1");
}

#[test]
fn servers_serve_without_the_manager_that_the_environment_names() {
    let manager = Manager::new();
    std::fs::remove_file(manager.path()).unwrap();
    let (site, process) = manager.up(Some(Duration::from_millis(300)));
    process.await_stderr("warning: cannot notify the service manager by NOTIFY_SOCKET: ");
    site.client("Riley").ask("hello");
    process.signal("TERM");
    assert_eq!(process.end().status.code(), Some(0));
}
