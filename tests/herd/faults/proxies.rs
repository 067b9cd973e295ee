//! The proxies between servers do what their modes say: faults that do not
//! happen find nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::common::{LIMIT, Mode, Proxy};

/// Long enough for bytes that are carried to arrive.
const WHILE: Duration = Duration::from_millis(50);

/// Both ends of a connection through a proxy.
struct Line {
    proxy: Proxy,
    listener: TcpListener,
    near: TcpStream,
    far: TcpStream,
    _wires: Runtime,
}

impl Line {
    fn start() -> Self {
        let wires = Runtime::new().unwrap();
        let proxy = Proxy::start(wires.handle());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        proxy.lead_to(listener.local_addr().unwrap());
        let near = TcpStream::connect(proxy.address()).unwrap();
        let (far, _) = listener.accept().unwrap();
        Self {
            proxy,
            listener,
            near,
            far,
            _wires: wires,
        }
    }

    fn redial(&mut self) {
        self.near = TcpStream::connect(self.proxy.address()).unwrap();
        self.far = self.listener.accept().unwrap().0;
    }

    fn carries_there(&mut self) -> bool {
        carries(&mut self.near, &mut self.far)
    }

    fn carries_back(&mut self) -> bool {
        carries(&mut self.far, &mut self.near)
    }
}

/// Sends a byte. Does it, or one before it, arrive?
fn carries(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    from.write_all(b"x").unwrap();
    hears(to) == Some(1)
}

/// How much comes within a while: nothing at all, the end, or a byte.
fn hears(end: &mut TcpStream) -> Option<usize> {
    end.set_read_timeout(Some(WHILE)).unwrap();
    match end.read(&mut [0]) {
        Ok(read) => Some(read),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(0),
        Err(_) => None,
    }
}

#[test]
fn what_is_held_back_arrives_later_whole_and_in_order() {
    let mut line = Line::start();
    let ways = [
        (Mode::Pass, true, true),
        (Mode::Stall, false, false),
        (Mode::OnlyThere, true, false),
        (Mode::OnlyBack, false, true),
    ];
    for (mode, there, back) in ways {
        line.proxy.set_mode(mode);
        for n in 0..3 {
            line.near.write_all(&[n]).unwrap();
            line.far.write_all(&[n + 100]).unwrap();
        }
        for (end, carried) in [(&mut line.far, there), (&mut line.near, back)] {
            assert!(carried || hears(end).is_none(), "{mode:?}");
        }
        line.proxy.set_mode(Mode::Pass);
        for (end, first) in [(&mut line.far, 0), (&mut line.near, 100)] {
            end.set_read_timeout(Some(LIMIT)).unwrap();
            let mut bytes = [0; 3];
            end.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, [first, first + 1, first + 2], "{mode:?}");
        }
    }
}

#[test]
fn a_cut_ends_old_connections_and_new_ones() {
    let mut line = Line::start();
    line.proxy.set_mode(Mode::Cut);
    assert_eq!(hears(&mut line.near), Some(0));
    assert_eq!(hears(&mut line.far), Some(0));
    let mut new = TcpStream::connect(line.proxy.address()).unwrap();
    assert_eq!(hears(&mut new), Some(0));
    line.proxy.set_mode(Mode::Pass);
    line.redial();
    assert!(line.carries_there() && line.carries_back());
}

#[test]
fn half_open_ends_are_told_nothing_whatever_comes_and_new_connections_are_carried() {
    let mut line = Line::start();
    line.proxy.set_mode(Mode::HalfOpen);
    // Coming to pass again changes nothing for it.
    line.proxy.set_mode(Mode::Pass);
    assert!(!line.carries_there() && !line.carries_back());
    let mut old = line.near.try_clone().unwrap();
    line.redial();
    assert!(line.carries_there() && line.carries_back());
    assert_eq!(hears(&mut old), None, "its far end is closed by now");
    line.proxy.set_mode(Mode::Cut);
    assert_eq!(hears(&mut old), Some(0));
}

/// Sends so much one way, and gives how long it took to arrive.
fn time(line: &mut Line, bytes: usize) -> Duration {
    let start = Instant::now();
    let mut far = line.far.try_clone().unwrap();
    far.set_read_timeout(None).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| line.near.write_all(&vec![7; bytes]).unwrap());
        let mut arrived = vec![0; bytes];
        far.read_exact(&mut arrived).unwrap();
        assert!(arrived.iter().all(|&byte| byte == 7));
    });
    start.elapsed()
}

#[test]
fn a_delay_holds_up_every_byte_and_throttles_nothing() {
    let mut line = Line::start();
    let delay = Duration::from_millis(100);
    line.proxy.set_mode(Mode::Delay(delay));
    assert!(time(&mut line, 1) >= delay);
    let took = time(&mut line, 4 << 20);
    println!("4 MiB took {took:?}");
    assert!((delay..delay * 6).contains(&took), "{took:?}");
}

#[test]
fn a_throttle_lets_so_much_through() {
    let mut line = Line::start();
    line.proxy.set_mode(Mode::Throttle(500_000));
    let took = time(&mut line, 200_000);
    println!("200 kB took {took:?}");
    let due = Duration::from_millis(400);
    // The last chunk arrives before its time has passed; a machine that is busy
    // lets each of them wait.
    assert!((due * 9 / 10..due * 15).contains(&took), "{took:?}");
}
