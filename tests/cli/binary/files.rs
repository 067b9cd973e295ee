//! A process with a low limit on open files, and more clients than that.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::T;
use super::surroundings::through_shell;
use crate::common::{
    Client, LIMIT, PAIR, PortTaken, Process, Site, all_the_while, cpu_time, eventually, free_ports,
    http_get, loopback,
};

/// TLS between servers, with the certificates that the program makes.
const SECURITY: &str = "[security]\nca = \"certs/ca.pem\"\n\
    certificate = \"certs/servers/{name}.pem\"\nkey = \"certs/servers/{name}.key\"\n";

/// Sets both limits, so that the program cannot raise its own.
const LOW_FILE_LIMIT: &str = "ulimit -n 64 && exec \"$@\"";

/// More clients than the process may open files.
const MANY_CLIENTS: usize = 150;

/// Maximum CPU time of an idle server, as a share of one core.
const MAX_IDLE_SHARE: f64 = 0.1;

/// Riley with a low limit on open files, and Jaquez without.
fn pair() -> (Site, Process, Process) {
    let make = || Site::new(PAIR, "");
    let (site, (riley, jaquez)) = Site::start(make, start_pair);
    riley.await_stderr("link to Jaquez is up");
    jaquez.await_stderr("link to Riley is up");
    (site, riley, jaquez)
}

fn start_pair(site: &Site) -> Result<(Process, Process), PortTaken> {
    let mut riley = through_shell(site, LOW_FILE_LIMIT, &["serve", "Riley"]);
    let riley = Process::spawn(&mut riley).serving()?;
    Ok((riley, site.run(&["serve", "Jaquez"])?))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Checks for two seconds that the process takes almost no CPU time.
#[track_caller]
fn assert_idle(process: &Process) {
    const DURATION: Duration = Duration::from_secs(2);
    let Some(before) = cpu_time(process.id()) else {
        return println!("this system does not report the CPU time of a process");
    };
    all_the_while(DURATION, || {
        let worked = cpu_time(process.id()).unwrap_or_default() - before;
        assert!(worked < DURATION.mul_f64(MAX_IDLE_SHARE), "{worked:?}");
    });
}

#[track_caller]
fn assert_served(client: &mut Client) {
    assert_eq!(client.ask("what?"), "? what?");
}

#[test]
fn clients_cannot_take_the_files_that_links_need() {
    let (site, riley, jaquez) = pair();
    let mut first = site.client("Riley");
    assert_served(&mut first);
    let address = loopback(site.server("Riley").clients);
    let crowd: Vec<_> = (0..MANY_CLIENTS).map(|_| connect(address)).collect();
    riley.await_stderr(" connections of clients: evicted the oldest from 127.0.0.1");
    assert_served(&mut first);
    assert_idle(&riley);
    assert_eq!(riley.stderr().matches("evicted the oldest").count(), 1);

    // The neighbour restarts, and Riley has files left for both directions of the link.
    jaquez.kill();
    let jaquez = Process::spawn(&mut site.command(&["serve", "Jaquez"])).serving();
    let jaquez = jaquez.ok().expect("its ports are its own");
    let at_line = first.ask(&format!("IAMAT kiwi +1+1 {T}"));
    site.await_report(&["Jaquez"], "kiwi", &at_line);
    let at_line = site.client("Jaquez").ask(&format!("IAMAT plum +2+2 {T}"));
    let received = eventually("Riley has the report", || {
        let answer = first.ask("WHATSAT plum 0 0");
        answer.starts_with("AT ").then_some(answer)
    });
    assert_eq!(received, at_line);
    assert!(
        !riley.stderr().contains("cannot accept"),
        "{}",
        riley.stderr()
    );

    drop(crowd);
    eventually("new clients are served again", || try_new_client(address));
    drop(jaquez);
}

/// Returns `Some` if a new client is served.
fn try_new_client(address: SocketAddr) -> Option<()> {
    let mut stream = connect(address);
    let mut answer = [0; 8];
    // Both fail if the server has closed the connection.
    stream.write_all(b"hello\n").ok()?;
    stream.read_exact(&mut answer).ok()?;
    Some(())
}

/// Opens `count` connections that say nothing, or as few as half a preface of HTTP/2.
fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let open = |number| {
        let mut stream = connect(address);
        if number % 2 == 0 {
            // It fails if the server has closed the connection already.
            let _ = stream.write_all(b"PRI * HTTP/2.0\r\n");
        }
        stream
    };
    (0..count).map(open).collect()
}

#[test]
fn silent_connections_to_any_port_leave_the_files_of_links_clients_and_monitoring() {
    let ports = free_ports(2);
    let make = || {
        let site = Site::new(PAIR, SECURITY);
        let extra = format!(
            "[[servers]]\nweb = \"127.0.0.1:{}\"\nclients_tls = \"127.0.0.1:{}\"\n",
            ports[0], ports[1]
        );
        site.set_config(&site.config().replacen("[[servers]]\n", &extra, 1));
        assert!(Process::run(&mut site.command(&["certs"])).status.success());
        site
    };
    let (site, (riley, jaquez)) = Site::start(make, start_pair);
    riley.await_stderr("link to Jaquez is up");
    let mut first = site.client("Riley");
    let address = loopback(site.server("Riley").clients);
    let (web, tls) = (loopback(ports[0]), loopback(ports[1]));
    let mut crowds = Vec::new();
    for port in [tls, loopback(site.server("Riley").peers), web] {
        crowds.push(silent(port, MANY_CLIENTS));
        assert_served(&mut first);
        eventually("a new client is served", || try_new_client(address));
        assert_eq!(http_get(web, "/healthz").status, 200);
    }
    // The neighbour restarts, and Riley has files left for both directions of the link.
    let before = riley.stderr().len();
    jaquez.kill();
    riley.await_stderr_after(before, "link to Jaquez is down");
    let jaquez = Process::spawn(&mut site.command(&["serve", "Jaquez"])).serving();
    let jaquez = jaquez.ok().expect("its ports are its own");
    let at_line = first.ask(&format!("IAMAT kiwi +1+1 {T}"));
    site.await_report(&["Jaquez"], "kiwi", &at_line);
    let stderr = riley.stderr();
    assert!(!stderr.contains("cannot accept"), "{stderr}");
    assert!(!stderr.contains("Too many open files"), "{stderr}");
    drop((crowds, jaquez));
}

#[test]
fn an_accept_loop_without_files_idles_logs_once_and_resumes() {
    let (site, riley, _jaquez) = pair();
    let mut client = site.client("Riley");
    assert_served(&mut client);
    let limit = |soft: u64| {
        let id = i32::try_from(riley.id()).unwrap();
        rlimit::prlimit(id, rlimit::Resource::NOFILE, Some((soft, 64)), None)
    };
    if limit(3).is_err() {
        return println!("this system does not change the limits of another process");
    }
    let address = loopback(site.server("Riley").clients);
    let waiting = connect(address);
    riley.await_stderr("cannot accept connections: ");
    assert_served(&mut client);
    assert_idle(&riley);
    assert_served(&mut client);
    let count = riley.stderr().matches("cannot accept connections").count();
    assert_eq!(count, 1, "{}", riley.stderr());

    limit(64).unwrap();
    drop(waiting);
    eventually("new clients are served", || try_new_client(address));
    site.await_log("Riley", "accepts connections again");
    let at_line = client.ask(&format!("IAMAT kiwi +1+1 {T}"));
    site.await_report(&["Jaquez"], "kiwi", &at_line);
}
