//! Clients by the thousand, in a hurry, or up to no good: what each costs the
//! process, and that others are served meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    Client, LIMIT, Process, Site, Topology, eventually, loopback, memory, open_files,
};

const ALONE: Topology<'static> = (&["Riley"], &[]);

/// What a silent connection may hold, as `clients::ClientSettings` says.
const IDLE_BYTES: u64 = 8 * 1024;

/// What a connection that does not read its answers may hold, as `clients::ClientSettings`
/// says.
const BUSY_BYTES: u64 = 200 * 1024;

/// Files that are left to the other tests of this process.
const SPARED_FILES: usize = 4000;

/// How long one client may wait beside a crowd. Far more than it does: a busy
/// machine may stop both programs for a while.
const PATIENCE: Duration = Duration::from_secs(2);

fn riley(settings: &str) -> (Site, Process, SocketAddr) {
    let (site, process) = Site::up(ALONE, settings);
    let address = loopback(site.server("Riley").clients);
    (site, process, address)
}

/// As many connections as are wanted, or as the system lets this process have.
fn at_most(wanted: usize) -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let possible = usize::try_from(limit).unwrap_or(usize::MAX);
    let count = wanted.min(possible - SPARED_FILES.min(possible / 2));
    if count < wanted {
        println!("{count} connections instead of {wanted}: only {limit} files may be open here");
    }
    count
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Says a line and takes its answer, so that the connection is surely served.
fn greet(mut stream: &TcpStream) {
    stream.write_all(b"hello\n").unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"? hello\n");
}

/// How long each of so many questions took.
fn latencies(client: &mut Client, count: usize) -> Vec<Duration> {
    let ask = |_| {
        let asked = Instant::now();
        assert_eq!(client.ask("what?"), "? what?");
        asked.elapsed()
    };
    let mut all: Vec<_> = (0..count).map(ask).collect();
    all.sort();
    all
}

#[track_caller]
fn served_well(latencies: &[Duration]) {
    let (median, worst) = (
        latencies[latencies.len() / 2],
        latencies[latencies.len() - 1],
    );
    println!("median {median:?}, worst {worst:?}");
    assert!(median < PATIENCE / 20 && worst < PATIENCE, "{latencies:?}");
}

/// Bytes that the process took more than before, for each of `count`.
#[track_caller]
fn assert_growth(process: &Process, before: Option<u64>, count: usize, most: u64) {
    let (Some(before), Some(now)) = (before, memory(process.id())) else {
        return println!("this system does not tell how much memory a process has");
    };
    let each = now.saturating_sub(before) / count as u64;
    println!("{each} bytes for each of {count}");
    assert!(
        each <= most,
        "{each} bytes for each of {count}: {before} became {now}"
    );
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_hold_nobody_up() {
    let (site, process, address) = riley("");
    let mut normal = site.client("Riley");
    latencies(&mut normal, 100);
    let files = open_files(process.id());
    let before = memory(process.id());
    let count = at_most(10_000);
    let crowd: Vec<_> = (0..count)
        .map(|_| {
            let stream = connect(address);
            greet(&stream);
            stream
        })
        .collect();
    assert_growth(&process, before, count, IDLE_BYTES);
    served_well(&latencies(&mut normal, 200));
    served_well(&latencies(&mut site.client("Riley"), 200));
    // None of them was lost.
    crowd.iter().step_by(97).for_each(greet);
    drop(crowd);
    eventually("all of their files are closed", || {
        (open_files(process.id()) <= files).then_some(())
    });
    assert_eq!(normal.ask("what?"), "? what?");
}

#[test]
fn two_hundred_connects_a_second_hold_nobody_up() {
    const EACH: Duration = Duration::from_millis(5);
    const CONNECTS: u32 = 600;
    let (site, process, address) = riley("");
    let mut normal = site.client("Riley");
    // Once it was answered, its file is among those that were there before.
    latencies(&mut normal, 1);
    let before = open_files(process.id());
    let connecting = thread::spawn(move || {
        let start = Instant::now();
        for connects in 1..=CONNECTS {
            greet(&connect(address));
            thread::sleep((EACH * connects).saturating_sub(start.elapsed()));
        }
        // Longer than three seconds where the machine has no more to give.
        start.elapsed()
    });
    let mut all = Vec::new();
    while !connecting.is_finished() {
        all.extend(latencies(&mut normal, 10));
        thread::sleep(EACH);
    }
    all.sort();
    served_well(&all);
    let took = connecting.join().unwrap();
    println!("{CONNECTS} connects in {took:?}");
    eventually("all of their files are closed", || {
        (open_files(process.id()) <= before).then_some(())
    });
}

#[test]
fn clients_that_send_a_byte_at_a_time_hold_no_more_than_their_line() {
    const LINE: usize = 4000;
    let (site, process, address) = riley("");
    let mut normal = site.client("Riley");
    latencies(&mut normal, 100);
    let before = memory(process.id());
    let mut slow: Vec<_> = (0..at_most(1000)).map(|_| connect(address)).collect();
    let count = slow.len();
    for stream in &mut slow {
        greet(stream);
        stream.write_all(&[b'x'; LINE]).unwrap();
    }
    for _ in 0..5 {
        for stream in &mut slow {
            stream.write_all(b"x").unwrap();
        }
        served_well(&latencies(&mut normal, 20));
    }
    assert_growth(&process, before, count, IDLE_BYTES + 2 * LINE as u64);
    // What they said is still their line.
    let mut last = slow.pop().unwrap();
    last.write_all(b"\n").unwrap();
    let mut answer = vec![0; 2 + LINE + 5 + 1];
    last.read_exact(&mut answer).unwrap();
    let expected = format!("? {}\n", "x".repeat(LINE + 5));
    assert!(answer == expected.as_bytes());
}

#[test]
fn lines_that_never_end_hold_no_memory_and_nobody_up() {
    // So many that it is told apart from the pages of 2 MiB that the process takes
    // at a time: of few clients, one more for all would be too much for each.
    const CLIENTS: usize = 80;
    const BYTES: usize = 16 << 20;
    let (site, process, address) = riley("");
    let mut normal = site.client("Riley");
    latencies(&mut normal, 100);
    let before = memory(process.id());
    let endless: Vec<_> = (0..CLIENTS)
        .map(|_| {
            thread::spawn(move || {
                let mut stream = connect(address);
                let piece = [b'x'; 64 << 10];
                for _ in 0..BYTES / piece.len() {
                    stream.write_all(&piece).unwrap();
                }
                stream
            })
        })
        .collect();
    let mut all = Vec::new();
    while !endless.iter().all(thread::JoinHandle::is_finished) {
        all.extend(latencies(&mut normal, 10));
    }
    all.extend(latencies(&mut normal, 10));
    all.sort();
    served_well(&all);
    let streams: Vec<_> = endless.into_iter().map(|end| end.join().unwrap()).collect();
    assert_growth(&process, before, CLIENTS, BUSY_BYTES);
    for mut stream in streams {
        stream.write_all(b"\nnext\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said == format!("? {}\n? next\n", "x".repeat(4096)));
    }
}

#[test]
fn clients_that_never_read_hold_a_bounded_memory() {
    const CLIENTS: usize = 100;
    let (site, process, address) = riley("[limits]\nwrite = \"1h\"\n");
    let mut normal = site.client("Riley");
    latencies(&mut normal, 100);
    let before = memory(process.id());
    let deaf: Vec<_> = (0..CLIENTS).map(|_| fill(address)).collect();
    served_well(&latencies(&mut normal, 100));
    // The log takes memory of its own while it grows so fast.
    eventually("what they said is written down", || {
        let log = site.log("Riley");
        (memory(process.id()) < before.map(|before| before + 60 * (1 << 20)) && !log.is_empty())
            .then_some(())
    });
    assert_growth(&process, before, CLIENTS, BUSY_BYTES);
    drop(deaf);
}

/// A client that has sent all that the server takes, and reads nothing.
fn fill(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    let lines = [&[b'x'; 1000][..], b"\n"].concat().repeat(60);
    stream
        .set_write_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    loop {
        match stream.write_all(&lines) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return stream;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn binary_noise_is_echoed_and_holds_nobody_up() {
    const BYTES: usize = 8 << 20;
    let (site, _process, address) = riley("");
    let mut normal = site.client("Riley");
    // A line of 256 bytes at most: every byte but LF and CR, in a shuffled order.
    let mut state = 1u64;
    let mut noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .filter(|byte| *byte != b'\r')
    .take(BYTES)
    .collect();
    noise.push(b'\n');
    let expected: Vec<u8> = noise
        .split_inclusive(|&byte| byte == b'\n')
        .flat_map(|line| [b"? ", line].concat())
        .collect();
    let reading = connect(address);
    let mut sending = reading.try_clone().unwrap();
    let sending = thread::spawn(move || {
        sending.write_all(&noise).unwrap();
        sending.shutdown(Shutdown::Write).unwrap();
    });
    let reading = thread::spawn(move || {
        let mut said = Vec::new();
        (&reading).read_to_end(&mut said).unwrap();
        said
    });
    let mut all = latencies(&mut normal, 10);
    while !reading.is_finished() {
        all.extend(latencies(&mut normal, 10));
    }
    all.sort();
    served_well(&all);
    sending.join().unwrap();
    assert!(reading.join().unwrap() == expected);
}
