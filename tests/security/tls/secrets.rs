//! Private keys appear in no output, at any level and in any error.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use proxyherd::config::Config;
use proxyherd::tls::issue::Authority;
use proxyherd::tls::{Credentials, Files, Pair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::processes::{SECURITY, certs, done};
use crate::common::{PAIR, Process, Site, eventually, free_ports, http_get, loopback, server};

const KEYS: [&str; 4] = [
    "certs/ca.key",
    "certs/servers/Riley.key",
    "certs/servers/Jaquez.key",
    "certs/operators/alice.key",
];

/// Returns pieces of a key in every form in which it may be printed.
fn pieces(key: &Path) -> Vec<String> {
    let pem = fs::read_to_string(key).unwrap();
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    let text: String = lines.collect();
    let der = PrivateKeyDer::from_pem_file(key).unwrap();
    // The private part: the bytes before it are the same in all keys, and those after it are in
    // the certificate too.
    let private = &der.secret_der()[36..68];
    let in_base64 = text.as_bytes()[48..88].chunks(10);
    let listed = |byte: &u8| format!("{byte}, ");
    let in_hex = |byte: &u8| format!("{byte:02x}");
    let upper = |byte: &u8| format!("{byte:02X}");
    let mut pieces: Vec<String> = in_base64
        .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
        .collect();
    for piece in private.chunks(8) {
        pieces.push(piece.iter().map(listed).collect());
        pieces.push(piece.iter().map(in_hex).collect());
        pieces.push(piece.iter().map(upper).collect());
    }
    pieces
}

#[track_caller]
fn assert_has_none(site: &Site, what: &str, text: &str) {
    for key in KEYS {
        for piece in pieces(&site.path(key)) {
            assert!(!text.contains(&piece), "{what} has {piece} of {key}");
        }
    }
    assert!(!text.contains("PRIVATE KEY"), "{what} has a key");
}

#[test]
fn a_printed_key_is_found() {
    let site = site(free_ports(1)[0]);
    let key = site.path(KEYS[1]);
    let pem = fs::read_to_string(&key).unwrap();
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = PrivateKeyDer::from_pem_file(&key).unwrap();
    let listed = format!("{:?}", der.secret_der());
    let pieces = pieces(&key);
    for printed in [text, listed] {
        assert!(pieces.iter().any(|piece| printed.contains(piece)));
    }
}

/// Returns a herd with a port of every kind.
fn site(web: u16) -> Site {
    let site = Site::new(PAIR, SECURITY);
    let [clients_tls] = free_ports(1)[..] else {
        unreachable!()
    };
    let more = format!(
        "clients_tls = \"127.0.0.1:{clients_tls}\"\nweb = \"127.0.0.1:{web}\"\ntalks_to = [\"J"
    );
    site.set_config(&site.config().replacen("talks_to = [\"J", &more, 1));
    done(certs(&site, &[]));
    done(certs(&site, &["operator", "alice"]));
    site
}

#[test]
fn no_key_is_in_logs_status_metrics_or_output_of_check() {
    let web = free_ports(1)[0];
    let (site, process) = Site::start(
        || site(web),
        |site| {
            let mut command = site.command(&["up"]);
            Process::spawn(command.env("RUST_LOG", "trace")).serving()
        },
    );
    let at_line = site.client("Riley").ask("IAMAT kiwi +34.0-118.4 1");
    site.await_report(PAIR.0, "kiwi", &at_line);
    let own = ["certs/operators/alice.pem", "certs/operators/alice.key"];
    let status = ["status", "--json", "--certificate", own[0], "--key", own[1]];
    let status = eventually("both links are up", || {
        let ended = Process::run(&mut site.command(&status));
        ended.status.success().then_some(ended.stdout)
    });
    assert!(status.contains("peer_connections_rejected"), "{status}");
    let page = http_get(loopback(web), "/metrics").body;
    assert!(
        page.contains("proxyherd_connections_rejected_total"),
        "{page}"
    );
    let checked = done(Process::run(&mut site.command(&["check"])));
    // A key in place of a certificate, and a truncated key.
    let key = fs::read_to_string(site.path(KEYS[1])).unwrap();
    fs::write(site.path("certs/servers/Riley.pem"), &key).unwrap();
    site.await_log("Riley", "cannot reload certificates: ");
    fs::write(site.path("certs/servers/Jaquez.key"), &key[..key.len() / 2]).unwrap();
    site.await_log("Jaquez", "cannot reload certificates: ");
    let renewed = Process::run(&mut site.command(&["certs", "renew"]));
    fs::write(site.path("certs/servers/Jaquez.key"), &key).unwrap();
    process.signal("TERM");
    let ended = process.end();
    assert!(ended.status.success(), "{ended:?}");

    let traced = site.log("Riley");
    let is_traced = traced.contains("rustls::") || traced.contains("h2::");
    assert!(is_traced, "the log has events of libraries");
    for file in fs::read_dir(site.path("logs")).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert_has_none(&site, &path.display().to_string(), &text);
    }
    for (what, text) in [
        ("status", &status),
        ("metrics", &page),
        ("check", &checked),
        ("certs", &format!("{renewed:?}")),
        ("up", &format!("{ended:?}")),
    ] {
        assert_has_none(&site, what, text);
    }
}

#[test]
fn debug_output_contains_no_key() {
    let site = site(free_ports(1)[0]);
    let config = Config::load(site.path("herd.toml")).unwrap();
    let in_site = |path: &str| site.path(path);
    let pair = |name: &str| Pair {
        certificate: in_site(&format!("certs/{name}.pem")),
        key: in_site(&format!("certs/{name}.key")),
    };
    let files = |name: &str| Files {
        ca: in_site("certs/ca.pem"),
        own: pair(name),
    };
    let riley = server("Riley", "test");
    let of_server = Credentials::of_server(files("servers/Riley"), riley).unwrap();
    let of_operator = Credentials::of_operator(files("operators/alice")).unwrap();
    let for_clients = Credentials::for_clients(pair("servers/Riley"), None).unwrap();
    let authority = Authority::load(&pair("ca")).unwrap();
    let all: [&dyn Debug; 7] = [
        &config,
        &of_server,
        &of_operator,
        &for_clients,
        &of_server.reload_events(),
        &authority,
        &files("servers/Riley"),
    ];
    for printed in all {
        let printed = format!("{printed:?} {printed:#?}");
        assert_has_none(&site, &printed.clone(), &printed);
    }
}
