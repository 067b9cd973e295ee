//! Many, fast and hostile clients: the memory that each takes, and service to other clients at
//! the same time.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    Client, LIMIT, Process, Site, Topology, eventually, loopback, memory, open_files,
};

const ALONE: Topology<'static> = (&["Riley"], &[]);

/// Maximum memory of a silent connection, as `gateway::ClientSettings` says.
const IDLE_BYTES: u64 = 8 * 1024;

/// Maximum memory of a connection that does not read its answers, as
/// `gateway::ClientSettings` says.
const BUSY_BYTES: u64 = 200 * 1024;

/// Files left to the other tests of this process.
const RESERVED_FILES: usize = 4000;

fn riley(settings: &str) -> (Site, Process, SocketAddr) {
    let (site, process) = Site::up(ALONE, settings);
    let address = loopback(site.server("Riley").clients);
    (site, process, address)
}

/// Returns the number of connections that the system lets this process have, up to
/// `wanted`.
fn at_most(wanted: usize) -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let possible = usize::try_from(limit).unwrap_or(usize::MAX);
    let count = wanted.min(possible - RESERVED_FILES.min(possible / 2));
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

/// Sends a line and reads its answer, so that the connection is served.
fn greet(mut stream: &TcpStream) {
    stream.write_all(b"hello\n").unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"? hello\n");
}

/// Sends lines one by one, and checks that each is answered.
fn assert_served(client: &mut Client, lines: usize) {
    for _ in 0..lines {
        assert_eq!(client.ask("what?"), "? what?");
    }
}

/// Checks the growth of the process for each of `count` connections, in bytes. Waits for its log,
/// which takes memory until it is written.
#[track_caller]
fn assert_growth(process: &Process, before: Option<u64>, count: usize, max_bytes: u64) {
    let Some(before) = before else {
        return println!("this system does not report the memory of a process");
    };
    let growth = format!("growth from {before} bytes by at most {max_bytes} for each of {count}");
    let each = eventually(&growth, || {
        let each = memory(process.id())?.saturating_sub(before) / count as u64;
        (each <= max_bytes).then_some(each)
    });
    println!("{each} bytes for each of {count}");
}

#[test]
fn ten_thousand_idle_connections_take_little_memory_and_others_are_served() {
    let (site, process, address) = riley("");
    let mut normal = site.client("Riley");
    assert_served(&mut normal, 100);
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
    assert_served(&mut normal, 200);
    assert_served(&mut site.client("Riley"), 200);
    // All of them are still served.
    crowd.iter().step_by(97).for_each(greet);
    drop(crowd);
    eventually("all of their files are closed", || {
        (open_files(process.id()) <= files).then_some(())
    });
    assert_eq!(normal.ask("what?"), "? what?");
}

#[test]
fn beside_two_hundred_connects_a_second_others_are_served() {
    const EACH: Duration = Duration::from_millis(5);
    const CONNECTS: u32 = 600;
    let (site, process, address) = riley("");
    let mut normal = site.client("Riley");
    // Once it is answered, its file counts as open.
    assert_served(&mut normal, 1);
    let before = open_files(process.id());
    let connecting = thread::spawn(move || {
        let start = Instant::now();
        for connects in 1..=CONNECTS {
            greet(&connect(address));
            thread::sleep((EACH * connects).saturating_sub(start.elapsed()));
        }
    });
    while !connecting.is_finished() {
        assert_served(&mut normal, 10);
        thread::sleep(EACH);
    }
    connecting.join().unwrap();
    eventually("all of their files are closed", || {
        (open_files(process.id()) <= before).then_some(())
    });
}

#[test]
fn clients_that_send_a_byte_at_a_time_take_memory_for_their_line_only() {
    const LINE: usize = 4000;
    let (site, process, address) = riley("");
    let mut normal = site.client("Riley");
    assert_served(&mut normal, 100);
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
        assert_served(&mut normal, 20);
    }
    assert_growth(&process, before, count, IDLE_BYTES + 2 * LINE as u64);
    // What they sent is still one line.
    let mut last = slow.pop().unwrap();
    last.write_all(b"\n").unwrap();
    let mut answer = vec![0; 2 + LINE + 5 + 1];
    last.read_exact(&mut answer).unwrap();
    let expected = format!("? {}\n", "x".repeat(LINE + 5));
    assert!(answer == expected.as_bytes());
}

#[test]
fn endless_lines_take_bounded_memory_and_others_are_served() {
    // Enough to outweigh pages of 2 MiB, which the process takes as a whole: among few
    // clients, one more page would be too much for each.
    const CLIENTS: usize = 80;
    const BYTES: usize = 16 << 20;
    let (site, process, address) = riley("");
    let mut normal = site.client("Riley");
    assert_served(&mut normal, 100);
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
    while !endless.iter().all(thread::JoinHandle::is_finished) {
        assert_served(&mut normal, 10);
    }
    assert_served(&mut normal, 10);
    let streams: Vec<_> = endless.into_iter().map(|end| end.join().unwrap()).collect();
    assert_growth(&process, before, CLIENTS, BUSY_BYTES);
    for mut stream in streams {
        stream.write_all(b"\nnext\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut received = String::new();
        stream.read_to_string(&mut received).unwrap();
        assert!(received == format!("? {}\n? next\n", "x".repeat(4096)));
    }
}

#[test]
fn clients_that_never_read_take_bounded_memory() {
    const CLIENTS: usize = 100;
    // The log takes memory of its own while it grows fast.
    let settings = "[limits]\nwrite = \"1h\"\n[log]\nlevel = \"off\"\n";
    let (site, process, address) = riley(settings);
    let mut normal = site.client("Riley");
    assert_served(&mut normal, 100);
    let before = memory(process.id());
    let unread: Vec<_> = (0..CLIENTS).map(|_| fill(address)).collect();
    assert_served(&mut normal, 100);
    assert_growth(&process, before, CLIENTS, BUSY_BYTES);
    drop(unread);
}

/// Returns a client that has sent all that the server takes, and reads nothing.
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
fn binary_noise_is_echoed_and_others_are_served() {
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
        let mut received = Vec::new();
        (&reading).read_to_end(&mut received).unwrap();
        received
    });
    assert_served(&mut normal, 10);
    while !reading.is_finished() {
        assert_served(&mut normal, 10);
    }
    sending.join().unwrap();
    assert!(reading.join().unwrap() == expected);
}
