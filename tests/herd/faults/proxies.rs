//! The proxies between servers have the faults of their modes. Otherwise the tests of faults
//! would test nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::common::{LIMIT, Mode, Proxy};

/// The wait for bytes that must not arrive.
const SILENCE: Duration = Duration::from_millis(50);

/// Both ends of a connection through a proxy.
struct ProxiedConnection {
    proxy: Proxy,
    listener: TcpListener,
    near: TcpStream,
    far: TcpStream,
    _wires: Runtime,
}

impl ProxiedConnection {
    fn start() -> Self {
        let wires = Runtime::new().unwrap();
        let proxy = Proxy::start(wires.handle());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        proxy.set_target(listener.local_addr().unwrap());
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

    /// Asserts that a byte arrives in each direction.
    #[track_caller]
    fn assert_carries(&mut self) {
        self.near.write_all(b"x").unwrap();
        self.far.write_all(b"x").unwrap();
        assert_eq!(received(&mut self.far, LIMIT), Some(1));
        assert_eq!(received(&mut self.near, LIMIT), Some(1));
    }

    /// Asserts that no byte arrives in either direction.
    #[track_caller]
    fn assert_carries_nothing(&mut self) {
        self.near.write_all(b"x").unwrap();
        self.far.write_all(b"x").unwrap();
        assert_eq!(received(&mut self.far, SILENCE), None);
        assert_eq!(received(&mut self.near, SILENCE), None);
    }
}

/// Returns the number of bytes that arrive within `limit`: 1, 0 at the end of the
/// connection, or `None`.
fn received(end: &mut TcpStream, limit: Duration) -> Option<usize> {
    end.set_read_timeout(Some(limit)).unwrap();
    match end.read(&mut [0]) {
        Ok(read) => Some(read),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(0),
        Err(_) => None,
    }
}

#[test]
fn stalled_bytes_arrive_later_complete_and_in_order() {
    let mut connection = ProxiedConnection::start();
    let modes = [
        (Mode::Pass, true, true),
        (Mode::Stall, false, false),
        (Mode::OnlyForward, true, false),
        (Mode::OnlyBackward, false, true),
    ];
    for (mode, there, back) in modes {
        connection.proxy.set_mode(mode);
        for n in 0..3 {
            connection.near.write_all(&[n]).unwrap();
            connection.far.write_all(&[n + 100]).unwrap();
        }
        for (end, carried) in [(&mut connection.far, there), (&mut connection.near, back)] {
            assert!(carried || received(end, SILENCE).is_none(), "{mode:?}");
        }
        connection.proxy.set_mode(Mode::Pass);
        for (end, first) in [(&mut connection.far, 0), (&mut connection.near, 100)] {
            end.set_read_timeout(Some(LIMIT)).unwrap();
            let mut bytes = [0; 3];
            end.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, [first, first + 1, first + 2], "{mode:?}");
        }
    }
}

#[test]
fn a_cut_ends_old_and_new_connections() {
    let mut connection = ProxiedConnection::start();
    connection.proxy.set_mode(Mode::Cut);
    assert_eq!(received(&mut connection.near, LIMIT), Some(0));
    assert_eq!(received(&mut connection.far, LIMIT), Some(0));
    let mut new = TcpStream::connect(connection.proxy.address()).unwrap();
    assert_eq!(received(&mut new, LIMIT), Some(0));
    connection.proxy.set_mode(Mode::Pass);
    connection.redial();
    connection.assert_carries();
}

#[test]
fn half_open_connections_carry_nothing_until_a_cut_and_new_connections_carry_bytes() {
    let mut connection = ProxiedConnection::start();
    connection.proxy.set_mode(Mode::HalfOpen);
    // A later mode does not affect it.
    connection.proxy.set_mode(Mode::Pass);
    connection.assert_carries_nothing();
    let mut old = connection.near.try_clone().unwrap();
    connection.redial();
    connection.assert_carries();
    assert_eq!(received(&mut old, SILENCE), None, "its far end is closed");
    connection.proxy.set_mode(Mode::Cut);
    assert_eq!(received(&mut old, LIMIT), Some(0));
}

/// Sends bytes in one direction, and returns the time until the last one arrives.
fn transfer_time(connection: &mut ProxiedConnection, bytes: usize) -> Duration {
    let start = Instant::now();
    let mut far = connection.far.try_clone().unwrap();
    far.set_read_timeout(None).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| connection.near.write_all(&vec![7; bytes]).unwrap());
        let mut arrived = vec![0; bytes];
        far.read_exact(&mut arrived).unwrap();
        assert!(arrived.iter().all(|&byte| byte == 7));
    });
    start.elapsed()
}

#[test]
fn a_delay_delays_every_byte_and_does_not_throttle() {
    let mut connection = ProxiedConnection::start();
    let delay = Duration::from_millis(100);
    connection.proxy.set_mode(Mode::Delay(delay));
    assert!(transfer_time(&mut connection, 1) >= delay);
    let took = transfer_time(&mut connection, 4 << 20);
    println!("4 MiB took {took:?}");
    // With one chunk for each delay, 256 chunks would take 256 delays.
    assert!((delay..delay * 128).contains(&took), "{took:?}");
}

#[test]
fn a_throttle_limits_bytes_per_second() {
    let mut connection = ProxiedConnection::start();
    connection.proxy.set_mode(Mode::Throttle(500_000));
    let took = transfer_time(&mut connection, 200_000);
    println!("200 kB took {took:?}");
    // The last chunk arrives at the start of its time.
    assert!(took >= Duration::from_millis(360), "{took:?}");
}

#[test]
fn a_ceiling_stalls_a_direction_that_sends_more_at_once() {
    let mut connection = ProxiedConnection::start();
    connection.proxy.set_mode(Mode::Ceiling(1000));
    connection.assert_carries();
    connection.near.write_all(&[7; 1001]).unwrap();
    assert_eq!(received(&mut connection.far, SILENCE), None);
    connection.near.write_all(b"x").unwrap();
    assert_eq!(received(&mut connection.far, SILENCE), None);
    // The other direction and new connections carry bytes.
    connection.far.write_all(b"x").unwrap();
    assert_eq!(received(&mut connection.near, LIMIT), Some(1));
    let mut old = connection.far.try_clone().unwrap();
    connection.redial();
    connection.assert_carries();

    connection.proxy.set_mode(Mode::Pass);
    let mut bytes = [0; 1002];
    old.set_read_timeout(Some(LIMIT)).unwrap();
    old.read_exact(&mut bytes).unwrap();
    assert_eq!((bytes[0], bytes[1000], bytes[1001]), (7, 7, b'x'));
}
