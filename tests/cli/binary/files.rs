//! A process that may open few files, and clients that want more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::T;
use super::surroundings::through_shell;
use crate::common::{
    Client, LIMIT, Process, Site, Topology, all_the_while, cpu_time, eventually, loopback,
};

const PAIR: Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);

/// Both limits: the program can not raise it.
const FEW_FILES: &str = "ulimit -n 64 && exec \"$@\"";

/// More clients than there are files.
const CROWD: usize = 150;

/// How much of a processor's time a server may take that has nothing to do.
const IDLE_SHARE: f64 = 0.1;

/// Riley with few files, and Jaquez with as many as it likes.
fn pair() -> (Site, Process, Process) {
    let make = || Site::new(PAIR, "");
    let (site, (riley, jaquez)) = Site::start(make, |site| {
        let mut riley = through_shell(site, FEW_FILES, &["serve", "Riley"]);
        let riley = Process::spawn(&mut riley).serving()?;
        Ok((riley, site.run(&["serve", "Jaquez"])?))
    });
    riley.await_stderr("link to Jaquez is up");
    jaquez.await_stderr("link to Riley is up");
    (site, riley, jaquez)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Holds the process to almost no work for a while.
#[track_caller]
fn assert_idle(process: &Process) {
    const WHILE: Duration = Duration::from_secs(2);
    let Some(before) = cpu_time(process.id()) else {
        return println!("this system does not tell how much a process works");
    };
    all_the_while(WHILE, || {
        let worked = cpu_time(process.id()).unwrap_or_default() - before;
        assert!(worked < WHILE.mul_f64(IDLE_SHARE), "{worked:?}");
    });
}

#[track_caller]
fn served_at_once(client: &mut Client) {
    let asked = Instant::now();
    assert_eq!(client.ask("what?"), "? what?");
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
}

#[test]
fn clients_can_not_take_the_files_that_links_need() {
    let (site, riley, jaquez) = pair();
    let mut first = site.client("Riley");
    served_at_once(&mut first);
    let address = loopback(site.server("Riley").clients);
    let crowd: Vec<_> = (0..CROWD).map(|_| connect(address)).collect();
    riley.await_stderr("further ones are closed until some leave");
    served_at_once(&mut first);
    assert_idle(&riley);
    assert_eq!(riley.stderr().matches("further ones are closed").count(), 1);

    // Its neighbour is new, and Riley has files left to hear and be heard.
    jaquez.kill();
    let jaquez = Process::spawn(&mut site.command(&["serve", "Jaquez"])).serving();
    let jaquez = jaquez.ok().expect("its ports are its own");
    let at_line = first.ask(&format!("IAMAT kiwi +1+1 {T}"));
    site.await_report(&["Jaquez"], "kiwi", &at_line);
    let at_line = site.client("Jaquez").ask(&format!("IAMAT plum +2+2 {T}"));
    let heard = eventually("Riley hears of it", || {
        let answer = first.ask("WHATSAT plum 0 0");
        answer.starts_with("AT ").then_some(answer)
    });
    assert_eq!(heard, at_line);
    assert!(
        !riley.stderr().contains("can not accept"),
        "{}",
        riley.stderr()
    );

    drop(crowd);
    eventually("others are let in again", || visit(address));
    drop(jaquez);
}

/// Whether a new client is served.
fn visit(address: SocketAddr) -> Option<()> {
    let mut stream = connect(address);
    let mut answer = [0; 8];
    // Both fail where the server has closed.
    stream.write_all(b"hello\n").ok()?;
    stream.read_exact(&mut answer).ok()?;
    Some(())
}

#[test]
fn an_accept_loop_without_files_rests_tells_it_once_and_goes_on_when_some_are_there() {
    let (site, riley, _jaquez) = pair();
    let mut client = site.client("Riley");
    served_at_once(&mut client);
    let peers = loopback(site.server("Riley").peers);
    // Each has begun to speak, and so is not taken for silent.
    let mut strangers: Vec<_> = (0..CROWD).map(|_| connect(peers)).collect();
    for stranger in &mut strangers {
        stranger.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    }
    riley.await_stderr("can not accept connections for now");
    served_at_once(&mut client);
    assert_idle(&riley);
    served_at_once(&mut client);
    let told = riley.stderr().matches("can not accept connections").count();
    assert_eq!(told, 1, "{}", riley.stderr());

    drop(strangers);
    let address = loopback(site.server("Riley").clients);
    eventually("new clients are served", || visit(address));
    site.await_log("Riley", "accepts connections again");
    let at_line = client.ask(&format!("IAMAT kiwi +1+1 {T}"));
    site.await_report(&["Jaquez"], "kiwi", &at_line);
}
