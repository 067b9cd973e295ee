//! Requests and responses: paths, methods, limits.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use super::herd;
use crate::common::{
    ALONE, CLASSIC, Mode, PAIR, Process, Site, eventually, free_ports, http_connect, http_get,
    http_send, loopback,
};

#[test]
fn known_paths_are_answered_and_others_are_not_found() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    for (path, status, body) in [
        ("/healthz", 200, "the server runs\n"),
        ("/readyz", 200, "the server accepts clients\n"),
    ] {
        let response = http_get(web, path);
        assert_eq!((response.status, &*response.body), (status, body), "{path}");
        assert!(
            response
                .head
                .contains("\r\ncontent-type: text/plain; charset=utf-8")
        );
    }
    let metrics = http_get(web, "/metrics?name=value");
    assert_eq!(metrics.status, 200);
    let version = "\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(metrics.head.contains(version), "{}", metrics.head);
    assert!(metrics.body.starts_with("# HELP proxyherd_info "));
}

#[test]
fn only_get_and_head_are_allowed_and_head_has_no_body() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    for path in ["/metrics", "/healthz", "/readyz"] {
        let head = http_send(web, &format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
        assert!(head.head.contains("\r\ncontent-length: "), "{}", head.head);
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let response = http_send(web, &request);
        assert_eq!(response.status, 405, "{method}");
        assert!(
            response.head.contains("\r\nallow: get, head"),
            "{}",
            response.head
        );
        assert!(
            response
                .body
                .contains("\"this port is read-only: use GET or HEAD\""),
            "{}",
            response.body
        );
    }
}

#[test]
fn bytes_that_are_no_request_get_no_success_and_the_port_keeps_answering() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    for bytes in ["\0\u{1}\u{2}\r\n\r\n", "GET\r\n\r\n", &long, ""] {
        let mut stream = http_connect(web);
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response);
        assert!(!response.starts_with(b"HTTP/1.1 2"), "{bytes:.20}");
    }
    assert_eq!(http_get(web, "/healthz").status, 200);
}

#[test]
fn a_server_that_drains_is_healthy_and_not_ready() {
    let mut herd = herd(PAIR);
    let web = herd.web_address("Riley");
    // The drain lasts until its time limit, since the neighbour acknowledges nothing.
    herd.set_link("Riley", "Jaquez", Mode::Stall);
    herd.client("Riley").ask("IAMAT kiwi +1+1 1");
    let draining = thread::spawn(move || herd.drain("Riley"));
    let response = eventually("the server is not ready", || {
        let response = http_get(web, "/readyz");
        (response.status == 503).then_some(response)
    });
    assert_eq!(
        response.body,
        "the server shuts down and accepts no more clients\n"
    );
    assert_eq!(http_get(web, "/healthz").status, 200);
    let page = http_get(web, "/metrics").body;
    assert!(page.contains("\nproxyherd_draining 1\n"));
    draining.join().unwrap();
    assert!(
        TcpStream::connect(web).is_err(),
        "the port closes with the server"
    );
}

#[test]
fn slow_callers_are_disconnected_and_delay_neither_clients_nor_other_callers() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    let mut slow: Vec<TcpStream> = (0..12).map(|_| http_connect(web)).collect();
    for (i, stream) in slow.iter_mut().enumerate() {
        let request = ["", "GET /metr", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"][i % 3];
        stream.write_all(request.as_bytes()).unwrap();
    }
    let mut client = herd.client("Riley");
    for time in 1..100 {
        client.ask(&format!("IAMAT kiwi +1+1 {time}"));
    }
    assert_eq!(http_get(web, "/metrics").status, 200);

    // Connections above the maximum take the place of silent ones, and others are answered.
    let silent: Vec<TcpStream> = (0..4 * 64).map(|_| http_connect(web)).collect();
    for _ in 0..10 {
        assert_eq!(http_get(web, "/healthz").status, 200);
    }
    let page = http_get(web, "/metrics").body;
    let rejected = "proxyherd_connections_rejected_total{port=\"web\",reason=\"evicted\"} ";
    let rejected = page.split_once(rejected).unwrap().1;
    let rejected: usize = rejected.lines().next().unwrap().parse().unwrap();
    assert!((3 * 64..=5 * 64).contains(&rejected), "{rejected}");
    drop(silent);
    assert!(client.ask("IAMAT kiwi +1+1 100").starts_with("AT "));
    eventually(
        "the slow callers are disconnected, and another is answered",
        || {
            let mut stream = http_connect(web);
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").ok()?;
            let mut response = String::new();
            stream.read_to_string(&mut response).ok()?;
            response.starts_with("HTTP/1.0 200").then_some(())
        },
    );
}

#[test]
fn without_web_in_the_config_no_server_has_a_web_port() {
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
    let expected = format!(", web on 127.0.0.1:{}\n", ports[0]);
    let stdout = process.stdout();
    assert_eq!(stdout.matches("web").count(), 1, "{stdout}");
    assert!(stdout.contains(&expected), "{stdout}");
    let page = http_get(loopback(ports[0]), "/metrics").body;
    assert!(page.contains("proxyherd_info{herd=\"test\",name=\"Riley\","));
}

#[test]
fn a_web_port_in_use_stops_the_start() {
    let taken = herd(ALONE);
    let port = taken.web_address("Riley").port();
    let site = Site::new(ALONE, "");
    let web = format!("[[servers]]\nweb = \"127.0.0.1:{port}\"\n");
    site.set_config(&site.config().replacen("[[servers]]\n", &web, 1));
    let ended = Process::run(&mut site.command(&["up"]));
    assert!(!ended.status.success());
    let expected = format!("cannot bind 127.0.0.1:{port}: Address already in use");
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
}
