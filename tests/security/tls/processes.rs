//! `proxyherd certs`, and herds of processes with its certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::{
    CLASSIC, Ended, PAIR, Pki, Process, Site, Topology, call_as, certificates, loopback,
};
use proxyherd::tls::Pair;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

pub(crate) const SECURITY: &str = "[security]\nca = \"certs/ca.pem\"\n\
    certificate = \"certs/servers/{name}.pem\"\nkey = \"certs/servers/{name}.key\"\n";

pub(crate) fn certs(site: &Site, arguments: &[&str]) -> Ended {
    Process::run(&mut site.command(&[&["certs"], arguments].concat()))
}

#[track_caller]
pub(crate) fn done(ended: Ended) -> String {
    assert!(
        ended.status.success() && ended.stderr.is_empty(),
        "{ended:?}"
    );
    ended.stdout
}

fn with_certs(topology: Topology<'_>) -> Site {
    let site = Site::new(topology, SECURITY);
    done(certs(&site, &[]));
    site
}

fn operator(site: &Site, name: &str) -> Pair {
    let path = |end: &str| site.path(&format!("certs/operators/{name}.{end}"));
    Pair {
        certificate: path("pem"),
        key: path("key"),
    }
}

#[test]
fn a_herd_of_processes_runs_with_the_created_certificates_and_answers_an_operator() {
    let (site, servers) = Site::start(
        || with_certs(CLASSIC),
        |site| {
            let serve = |name: &&str| site.run(&["serve", name]);
            CLASSIC.0.iter().map(serve).collect::<Result<Vec<_>, _>>()
        },
    );
    let at_line = site.client("Riley").ask("IAMAT kiwi +34.0-118.4 1");
    site.await_report(CLASSIC.0, "kiwi", &at_line);
    // With the servers' own certificates.
    let healthy = done(Process::run(&mut site.command(&["healthcheck"])));
    assert_eq!(
        healthy,
        "Riley, Jaquez, Juzang, Campbell and Bernard serve\n"
    );
    done(certs(&site, &["operator", "alice"]));
    let address = loopback(site.server("Campbell").peers);
    let name = "campbell.test.proxyherd";
    let alice = operator(&site, "alice");
    let caller = call_as(address, &site.path("certs/ca.pem"), Some(&alice), name).unwrap();
    let mut health = HealthClient::new(caller.channel.clone());
    caller
        .run(health.check(HealthCheckRequest::default()))
        .unwrap();
    for server in &servers {
        server.signal("TERM");
    }
    for server in servers {
        let ended = server.end();
        assert!(ended.status.success(), "{ended:?}");
    }
}

#[test]
fn query_commands_need_a_certificate_of_an_operator() {
    let (site, _servers) = Site::start(
        || with_certs(PAIR),
        |site| {
            let serve = |name: &&str| site.run(&["serve", name]);
            PAIR.0.iter().map(serve).collect::<Result<Vec<_>, _>>()
        },
    );
    let at_line = site.client("Riley").ask("IAMAT kiwi +34.0-118.4 1");
    site.await_report(PAIR.0, "kiwi", &at_line);
    done(certs(&site, &["operator", "alice"]));
    let ask = |question: &[&str], own: &[&str]| {
        Process::run(&mut site.command(&[question, own].concat()))
    };
    let shown = |name: &str| ["pem", "key"].map(|end| format!("certs/operators/{name}.{end}"));
    let [certificate, key] = shown("alice");
    let own = ["--certificate", &certificate, "--key", &key];
    let proven = done(ask(&["verify"], &own));
    assert!(proven.contains("all 2 servers hold the same"), "{proven}");
    assert!(done(ask(&["locate", "kiwi"], &own)).contains(&at_line));

    let without = ask(&["status"], &[]);
    assert_eq!(without.status.code(), Some(2), "{without:?}");
    assert!(
        without.stderr.contains("proxyherd certs operator"),
        "{without:?}"
    );
    let [certificate, key] = shown("nobody");
    let missing = ask(&["status"], &["--certificate", &certificate, "--key", &key]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
    assert!(missing.stderr.contains("nobody.pem"), "{missing:?}");
}

/// Checks the line of a file in what `certs` printed.
#[track_caller]
fn assert_state(output: &str, file: &str, state: &str) {
    let path = format!("certs/{file} ");
    let line = output.lines().find(|line| line.starts_with(&path));
    let found = line.map(|line| line[path.len()..].trim_start());
    assert!(
        found.is_some_and(|found| found.starts_with(state)),
        "{output}"
    );
}

#[test]
fn certs_creates_missing_files_and_keeps_existing_ones() {
    let site = Site::new(PAIR, "");
    let made = done(certs(&site, &[]));
    assert_state(&made, "ca.pem", "made: the CA of herd test, valid until 20");
    assert_state(&made, "ca.key", "made: ");
    assert_state(
        &made,
        "servers/Riley.pem",
        "made: for Riley.test.proxyherd, valid until 20",
    );
    assert_state(&made, "servers/Jaquez.pem", "made: ");
    let config = "\n[security]\nca = \"certs/ca.pem\"\n";
    assert!(made.contains(config), "{made}");
    let files = ["ca.pem", "ca.key", "servers/Riley.pem", "servers/Riley.key"];
    let read = || files.map(|file| fs::read(site.path("certs").join(file)).unwrap());
    let before = read();
    for key in ["ca.key", "servers/Riley.key"] {
        let mode = fs::metadata(site.path("certs").join(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let again = done(certs(&site, &[]));
    assert_state(&again, "ca.pem", "exists: the CA of the herd");
    assert_state(&again, "servers/Riley.pem", "exists: valid until 20");
    assert!(!again.contains("made"), "{again}");
    assert_eq!(read(), before);

    // An interrupted run is continued.
    fs::remove_file(site.path("certs/servers/Riley.pem")).unwrap();
    done(certs(&site, &[]));
    assert_eq!(read()[3], before[3], "a key is never replaced");
    fs::remove_file(site.path("certs/servers/Riley.key")).unwrap();
    let ended = certs(&site, &[]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("Riley.key: missing key"), "{ended:?}");
}

#[test]
fn certs_prints_expiry_and_renew_replaces_certificates_but_no_keys() {
    let site = with_certs(PAIR);
    done(certs(&site, &["operator", "alice", "--days", "1"]));
    let path = |file: &str| site.path("certs").join(file);
    let kept = done(certs(&site, &["renew"]));
    assert_state(&kept, "servers/Riley.pem", "exists: ");
    assert!(!kept.contains("renewed"), "{kept}");

    let first = certificates(&path("servers/Riley.pem"));
    let key = fs::read(path("servers/Riley.key")).unwrap();
    let all = done(certs(&site, &["renew", "--all", "--days", "90"]));
    for file in [
        "servers/Riley.pem",
        "servers/Jaquez.pem",
        "operators/alice.pem",
    ] {
        assert_state(&all, file, "renewed: valid until 20");
    }
    assert_ne!(certificates(&path("servers/Riley.pem")), first);
    assert_eq!(fs::read(path("servers/Riley.key")).unwrap(), key);

    // A new CA has issued none of them.
    let other = Pki::new();
    fs::write(path("ca.pem"), &other.ca).unwrap();
    let state = "is from another CA than ca.pem: replace it with `proxyherd certs renew`";
    assert_state(&done(certs(&site, &[])), "servers/Riley.pem", state);
    // And its key is not here.
    let ended = certs(&site, &["renew"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}

#[test]
fn a_server_does_not_start_without_its_certificate() {
    let site = Site::new(PAIR, SECURITY);
    let ended = Process::run(&mut site.command(&["serve", "Riley"]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let expected = "cannot use the [security] files of server Riley: certs/servers/Riley.pem: there is no \
                 such file; `proxyherd certs` makes certificates";
    assert!(ended.stderr.contains(expected), "{ended:?}");
}

#[test]
fn beyond_loopback_servers_start_with_tls_or_with_insecure_true_only() {
    let beyond = |site: &Site| {
        let config = site.config();
        site.set_config(&config.replace("talks_to", "bind_peers = \"0.0.0.0:0\"\ntalks_to"));
        let port = site.server("Riley").peers;
        let config = site.config();
        site.set_config(&config.replace("0.0.0.0:0", &format!("0.0.0.0:{port}")));
    };
    const ALONE: Topology<'static> = (&["Riley"], &[]);
    let site = Site::new(ALONE, "");
    beyond(&site);
    let ended = Process::run(&mut site.command(&["up"]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    for way_out in ["certificates under [security]", "insecure = true"] {
        assert!(ended.stderr.contains(way_out), "{ended:?}");
    }
    for settings in [SECURITY, "[security]\ninsecure = true\n"] {
        let make = || {
            let site = Site::new(ALONE, settings);
            beyond(&site);
            done(certs(&site, &[]));
            site
        };
        let (_site, _running) = Site::start(make, |site| site.run(&["up"]));
    }
}
