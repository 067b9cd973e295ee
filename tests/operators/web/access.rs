//! Who may call the API.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{herd, with_web};
use crate::common::{
    ALONE, Herd, Process, Site, free_ports, http_get, http_get_with, http_send, loopback,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Starts a server whose API requires a token. Returns also the file of the token.
fn with_token() -> (TempDir, PathBuf, Herd) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("web.token");
    fs::write(&path, format!("{TOKEN}\n")).unwrap();
    let file = path.clone();
    let herd = Herd::new(ALONE).adjust(move |plan| {
        with_web(plan);
        plan.web.token_file = Some(file.clone());
    });
    (dir, path, herd.launch_all())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn the_api_needs_the_token_and_the_page_and_metrics_do_not() {
    let (_dir, path, mut herd) = with_token();
    let web = herd.web_address("Riley");
    for open in ["/metrics", "/healthz", "/readyz", "/"] {
        assert_eq!(http_get(web, open).status, 200, "{open}");
    }
    for headers in ["", "Authorization: Basic eDp5\r\n", &bearer("wrong")] {
        let response = http_get_with(web, "/api/v1/clients", headers);
        assert_eq!(response.status, 401, "{headers}");
        let scheme = "\r\nwww-authenticate: bearer realm=\"proxyherd\"\r\n";
        assert!(response.head.contains(scheme), "{}", response.head);
        assert!(!response.body.contains(TOKEN));
    }
    let right = bearer(TOKEN);
    for path in ["/api/v1/clients", "/api/v1/herd", "/api/v1/names"] {
        assert_eq!(http_get_with(web, path, &right).status, 200, "{path}");
    }
    // Another token applies when the config is read again.
    fs::write(&path, "fedcba9876543210").unwrap();
    assert_eq!(http_get_with(web, "/api/v1/clients", &right).status, 200);
    herd.change("Riley", |_| {});
    assert_eq!(http_get_with(web, "/api/v1/clients", &right).status, 401);
    let new = bearer("fedcba9876543210");
    assert_eq!(http_get_with(web, "/api/v1/clients", &new).status, 200);
}

#[test]
fn a_reload_without_a_usable_token_changes_nothing() {
    let make = || {
        let site = Site::new(ALONE, "[log]\nlevel = \"info\"\n");
        let web = format!("[[servers]]\nweb = \"127.0.0.1:{}\"\n", free_ports(1)[0]);
        let text = site.config().replacen("[[servers]]\n", &web, 1);
        site.set_config(&format!("{text}[web]\ntoken_file = \"web.token\"\n"));
        fs::write(site.path("web.token"), TOKEN).unwrap();
        site
    };
    let (site, process) = Site::start(make, |site| site.run(&["up"]));
    let text = site.config();
    let (_, port) = text.split_once("web = \"127.0.0.1:").unwrap();
    let web = loopback(port.split('"').next().unwrap().parse().unwrap());
    let status = |token: &str| http_get_with(web, "/api/v1/clients", &bearer(token)).status;
    for (token, message) in [
        (
            "short",
            "error: cannot use the [web] token_file of server Riley: the token file",
        ),
        (TOKEN, "reloaded "),
        ("fedcba9876543210", "the token of the web port changed"),
    ] {
        fs::write(site.path("web.token"), token).unwrap();
        let begin = process.stderr().len();
        process.signal("HUP");
        process.await_stderr_after(begin, message);
        assert_eq!(status(TOKEN) == 200, token != "fedcba9876543210");
    }
    assert_eq!(status("fedcba9876543210"), 200);
}

#[test]
fn an_address_with_many_wrong_tokens_is_locked_out() {
    let (_dir, _path, herd) = with_token();
    let web = herd.web_address("Riley");
    for _ in 0..10 {
        assert_eq!(
            http_get_with(web, "/api/v1/herd", &bearer("wrong")).status,
            401
        );
    }
    for token in ["wrong", TOKEN] {
        let response = http_get_with(web, "/api/v1/herd", &bearer(token));
        assert_eq!(response.status, 429);
        let (_, wait) = response.head.split_once("\r\nretry-after: ").unwrap();
        let wait: u64 = wait.lines().next().unwrap().parse().unwrap();
        assert!((1..=61).contains(&wait), "{wait}");
    }
    assert_eq!(http_get(web, "/metrics").status, 200);
}

#[test]
fn requests_to_the_name_of_another_host_are_rejected() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    let get = |path: &str, host: &str| {
        let port = web.port();
        let host = format!("{host}:{port}");
        http_send(web, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    };
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        assert_eq!(get("/api/v1/clients", host).status, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example"] {
        let response = get("/api/v1/clients", host);
        assert_eq!(response.status, 403, "{host}");
        assert!(response.head.contains("application/problem+json"));
        assert_eq!(get("/", host).status, 403);
        // Numbers are not sensitive, and monitoring may have its own names.
        assert_eq!(get("/metrics", host).status, 200);
    }
}

#[test]
fn without_the_api_only_metrics_and_health_are_served() {
    let herd = Herd::new(ALONE).adjust(|plan| {
        with_web(plan);
        plan.web.api = false;
    });
    let herd = herd.launch_all();
    let web = herd.web_address("Riley");
    for path in ["/", "/api/v1/clients", "/api/v1/herd", "/index.html"] {
        assert_eq!(http_get(web, path).status, 404, "{path}");
    }
    assert_eq!(http_get(web, "/metrics").status, 200);
}

#[test]
fn every_response_forbids_what_the_page_does_not_need() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    for path in [
        "/",
        "/metrics",
        "/api/v1/clients",
        "/api/v1/clients?x",
        "/nothing",
    ] {
        let head = http_get(web, path).head;
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
             connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'\r\n",
            "x-content-type-options: nosniff\r\n",
            "referrer-policy: no-referrer\r\n",
        ] {
            assert!(head.contains(header), "{path}: {head}");
        }
        for forbidden in ["set-cookie", "access-control-"] {
            assert!(!head.contains(forbidden), "{path}: {head}");
        }
        let caches = ["cache-control: no-store\r\n", "cache-control: no-cache\r\n"];
        assert!(caches.iter().any(|header| head.contains(header)), "{head}");
    }
}

#[test]
fn a_server_beyond_loopback_starts_with_a_token_or_without_the_api() {
    let site = Site::new(ALONE, "");
    let port = free_ports(1)[0];
    let web = format!("[[servers]]\nweb = \"0.0.0.0:{port}\"\n");
    let text = site.config().replacen("[[servers]]\n", &web, 1);
    site.set_config(&text);
    let ended = Process::run(&mut site.command(&["up"]));
    assert!(!ended.status.success());
    for part in [
        "Riley would show the positions of all clients at its web port on 0.0.0.0:",
        "set token_file under [web]; or set api = false",
    ] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    site.set_config(&format!("{text}[web]\ntoken_file = \"web.token\"\n"));
    fs::write(site.path("web.token"), "short").unwrap();
    let ended = Process::run(&mut site.command(&["up"]));
    let expected =
        "cannot use the [web] token_file of server Riley: the token file web.token must hold";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
}
