//! Requests and answers: paths, methods, limits.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{ALONE, PAIR, herd};
use crate::common::{CLASSIC, LIMIT, Mode, Process, Site, eventually, free_ports, loopback};

/// What came of one request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends a request as it is, and reads until the server closes.
pub(crate) fn send(address: SocketAddr, request: &str) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let status = head.strip_prefix("HTTP/1.1 ").expect("a status line");
    Answer {
        status: status[..3].parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

#[test]
fn each_path_answers_and_others_say_what_there_is() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    for (path, status, words) in [
        ("/healthz", 200, "the server runs\n"),
        ("/readyz", 200, "the server accepts clients\n"),
        (
            "/",
            404,
            "not found: the paths are /metrics, /healthz and /readyz\n",
        ),
    ] {
        let answer = get(web, path);
        assert_eq!((answer.status, &*answer.body), (status, words), "{path}");
        assert!(
            answer
                .head
                .contains("\r\ncontent-type: text/plain; charset=utf-8")
        );
    }
    let metrics = get(web, "/metrics?name=value");
    assert_eq!(metrics.status, 200);
    let version = "\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(metrics.head.contains(version), "{}", metrics.head);
    assert!(metrics.body.starts_with("# HELP proxyherd_info "));
}

#[test]
fn only_get_and_head_are_answered_and_head_without_a_body() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    for path in ["/metrics", "/healthz", "/readyz"] {
        let head = send(web, &format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
        assert!(head.head.contains("\r\ncontent-length: "), "{}", head.head);
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let answer = send(web, &request);
        assert_eq!(answer.status, 405, "{method}");
        assert!(
            answer.head.contains("\r\nallow: get, head"),
            "{}",
            answer.head
        );
        assert_eq!(answer.body, "this port is read-only: use GET or HEAD\n");
    }
}

#[test]
fn what_is_no_request_gets_no_answer_that_helps_and_harms_nobody() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    for bytes in ["\0\u{1}\u{2}\r\n\r\n", "GET\r\n\r\n", &long, ""] {
        let mut stream = connect(web);
        // The server may close before it has all of it.
        let _ = stream.write_all(bytes.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{bytes:.20}");
    }
    assert_eq!(get(web, "/healthz").status, 200);
}

#[test]
fn a_server_that_shuts_down_is_not_ready_and_still_healthy() {
    let mut herd = herd(PAIR);
    let web = herd.web_address("Riley");
    // It shuts down for as long as it takes to see that nobody acknowledges.
    herd.set_link("Riley", "Jaquez", Mode::Stall);
    herd.client("Riley").ask("IAMAT kiwi +1+1 1");
    let draining = thread::spawn(move || herd.drain("Riley"));
    let answer = eventually("it is not ready", || {
        let answer = get(web, "/readyz");
        (answer.status == 503).then_some(answer)
    });
    assert_eq!(
        answer.body,
        "the server shuts down and accepts no more clients\n"
    );
    assert_eq!(get(web, "/healthz").status, 200);
    let page = get(web, "/metrics").body;
    assert!(page.contains("\nproxyherd_draining 1\n"));
    draining.join().unwrap();
    assert!(TcpStream::connect(web).is_err(), "it ends with the server");
}

#[test]
fn who_reads_and_writes_slowly_is_cut_and_harms_nobody() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    // Less than the most that are let in, so that others have a place.
    let mut slow: Vec<TcpStream> = (0..12).map(|_| connect(web)).collect();
    for (i, stream) in slow.iter_mut().enumerate() {
        let request = ["", "GET /metr", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"][i % 3];
        stream.write_all(request.as_bytes()).unwrap();
    }
    let mut client = herd.client("Riley");
    let start = Instant::now();
    for time in 1..100 {
        client.ask(&format!("IAMAT kiwi +1+1 {time}"));
    }
    assert_eq!(get(web, "/metrics").status, 200);
    assert!(start.elapsed() < Duration::from_secs(5), "{start:?}");

    // With as many as may be, others are closed without an answer.
    slow.extend((0..16).map(|_| connect(web)));
    let mut nothing = Vec::new();
    let refused = slow.last_mut().unwrap().read_to_end(&mut nothing);
    assert!(refused.is_err() || nothing.is_empty());
    assert!(client.ask("IAMAT kiwi +1+1 100").starts_with("AT "));
    eventually(
        "the slow ones are cut, and others have their places",
        || {
            let mut stream = connect(web);
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            answer.starts_with("HTTP/1.0 200").then_some(())
        },
    );
}

#[test]
fn nobody_is_told_unless_the_config_says_so() {
    let (site, process) = Site::up(PAIR, "");
    assert!(!process.stdout().contains("web"), "{}", process.stdout());
    assert!(!site.config().contains("web"));
    drop(process);

    let ports = free_ports(1);
    let make = || {
        let site = Site::new(CLASSIC, "");
        let web = format!("[[servers]]\nweb = \"127.0.0.1:{}\"\n", ports[0]);
        site.set_config(&site.config().replacen("[[servers]]\n", &web, 1));
        site
    };
    let (_site, process) = Site::start(make, |site| site.run(&["up"]));
    let told = format!(", web on 127.0.0.1:{}\n", ports[0]);
    let stdout = process.stdout();
    assert_eq!(stdout.matches("web").count(), 1, "{stdout}");
    assert!(stdout.contains(&told), "{stdout}");
    let page = get(loopback(ports[0]), "/metrics").body;
    assert!(page.contains("proxyherd_info{herd=\"test\",name=\"Riley\","));
}

#[test]
fn a_web_port_that_is_taken_stops_the_start() {
    let taken = herd(ALONE);
    let port = taken.web_address("Riley").port();
    let site = Site::new(ALONE, "");
    let web = format!("[[servers]]\nweb = \"127.0.0.1:{port}\"\n");
    site.set_config(&site.config().replacen("[[servers]]\n", &web, 1));
    let ended = Process::run(&mut site.command(&["up"]));
    assert!(!ended.status.success());
    let told = format!("cannot bind 127.0.0.1:{port}: Address already in use");
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
}
