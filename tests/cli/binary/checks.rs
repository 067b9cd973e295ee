//! `check`, `certs`, `up` and `serve` judge the files of a herd by the same rules.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::{ALONE, Ended, PAIR, Pki, Process, Site, Topology, days, free_ports, server};

const SECURITY: &str = "[security]\nca = \"certs/ca.pem\"\n\
    certificate = \"certs/servers/{name}.pem\"\nkey = \"certs/servers/{name}.key\"\n";

fn run(site: &Site, arguments: &[&str]) -> Ended {
    Process::run(&mut site.command(arguments))
}

#[track_caller]
fn done(site: &Site, arguments: &[&str]) -> String {
    let ended = run(site, arguments);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    ended.stdout
}

fn with_certs(topology: Topology<'_>) -> Site {
    let site = Site::new(topology, SECURITY);
    done(&site, &["certs"]);
    site
}

/// Makes another CA and certificates in a directory.
fn make_others(site: &Site, dir: &str) {
    done(site, &["certs", "--dir", dir]);
}

fn copy(site: &Site, from: &str, to: &str) {
    fs::copy(site.path(from), site.path(to)).unwrap();
}

#[test]
fn check_fails_where_serve_fails_and_renew_mends_what_it_can() {
    type Break = fn(&Site);
    let missing: Break = |site| fs::remove_dir_all(site.path("certs")).unwrap();
    let nonsense: Break = |site| fs::write(site.path("certs/ca.pem"), "nonsense\n").unwrap();
    let other_key: Break = |site| copy(site, "other/servers/Riley.key", "certs/servers/Riley.key");
    let other_ca: Break = |site| {
        copy(site, "other/ca.pem", "certs/ca.pem");
        copy(site, "other/ca.key", "certs/ca.key");
    };
    let other_herd: Break = |site| {
        let config = site.config();
        site.set_config(&config.replace("name = \"test\"", "name = \"renamed\""));
    };
    for (change, error, state) in [
        (
            missing,
            "certs/servers/Riley.pem: there is no such file",
            "",
        ),
        (nonsense, "certs/ca.pem: it holds no certificate", ""),
        (
            other_key,
            "certs/servers/Riley.key: it is not the key of certs/servers/Riley.pem",
            "cannot be used with its key (it is not the key of certs/servers/Riley.pem)",
        ),
        (
            other_ca,
            "certs/servers/Riley.pem: it is from a CA that the config does not name (ca): \
             CN=proxyherd test ",
            "is from another CA than ca.pem",
        ),
        (
            other_herd,
            "certs/servers/Riley.pem: it is for Riley.test.proxyherd; this server needs one with",
            "is for Riley.test.proxyherd, not for Riley.renamed.proxyherd",
        ),
    ] {
        let site = with_certs(ALONE);
        make_others(&site, "other");
        change(&site);
        let (check, serve) = (run(&site, &["check"]), run(&site, &["serve", "Riley"]));
        let expected = format!("error: cannot use the [security] files of server Riley: {error}");
        assert!(check.stderr.starts_with(&expected), "{check:?}");
        assert_eq!(check.status.code(), Some(1), "{check:?}");
        assert_eq!((check.stderr, check.status), (serve.stderr, serve.status));
        if state.is_empty() {
            continue;
        }
        let states = done(&site, &["certs"]);
        let expected = format!("{state}: replace it with `proxyherd certs renew`");
        assert!(states.contains(&expected), "{states}");
        assert!(done(&site, &["certs", "renew"]).contains("renewed: valid until 20"));
        let explained = done(&site, &["check"]);
        for line in [
            "certs/ca.pem: 1 CA certificate, valid until 20",
            "certs/servers/Riley.pem: 1 certificate, valid until 20",
        ] {
            assert!(explained.contains(line), "{explained}");
        }
    }
}

#[test]
fn check_reads_the_files_of_this_machine_and_names_the_others() {
    let site = with_certs(PAIR);
    for end in ["pem", "key"] {
        fs::remove_file(site.path(&format!("certs/servers/Jaquez.{end}"))).unwrap();
    }
    let explained = done(&site, &["check"]);
    let line = "Not checked: the certificates and keys of Jaquez, which are not on this machine.\n";
    assert!(explained.contains(line), "{explained}");
    // A half of them is a mistake.
    copy(&site, "certs/servers/Riley.key", "certs/servers/Jaquez.key");
    let error = run(&site, &["check"]).stderr;
    assert!(
        error.contains("of server Jaquez: certs/servers/Jaquez.pem: there is no"),
        "{error}"
    );
}

#[test]
fn a_certificate_that_lacks_the_host_of_clients_or_has_expired_is_reported_everywhere() {
    let site = with_certs(ALONE);
    let port = free_ports(1)[0];
    let tls = format!(
        "[[servers]]\nclients_tls = \"edge.test.:{port}\"\nbind_clients_tls = \"127.0.0.1:{port}\"\n"
    );
    site.set_config(&site.config().replace("[[servers]]\n", &tls));
    let lacking = "does not name edge.test, which clients dial (clients_tls)";
    assert!(done(&site, &["certs"]).contains(lacking));
    let warning = format!("\nWarning: certs/servers/Riley.pem: it {lacking}");
    let explained = done(&site, &["check"]);
    assert!(explained.contains(&warning), "{explained}");
    done(&site, &["certs", "renew"]);
    assert!(!done(&site, &["check"]).contains(lacking));

    let pki = Pki::new();
    let old = pki.issue("old", &server("Riley", "test"), days(-9, -1));
    let put = |from: &Path, to: &str| {
        fs::copy(from, site.path(to)).unwrap();
    };
    put(&pki.path("ca.pem"), "certs/ca.pem");
    put(&pki.path("own-ca.key"), "certs/ca.key");
    put(&old.certificate, "certs/servers/Riley.pem");
    put(&old.key, "certs/servers/Riley.key");
    let explained = done(&site, &["check"]);
    let expired = "Warning: certs/servers/Riley.pem: this certificate expired at 20";
    assert!(explained.contains(expired), "{explained}");
}

#[test]
fn renewal_replaces_the_target_of_a_symbolic_link_and_the_link_stays() {
    let site = with_certs(ALONE);
    let (link, live) = (site.path("certs/servers/Riley.pem"), site.path("live.pem"));
    fs::rename(&link, &live).unwrap();
    symlink("../../live.pem", &link).unwrap();
    let before = fs::read(&live).unwrap();
    done(&site, &["certs", "renew", "--all"]);
    assert!(link.is_symlink());
    assert_ne!(fs::read(&live).unwrap(), before);
    // The target of a link may be missing.
    fs::remove_file(&live).unwrap();
    done(&site, &["certs"]);
    assert!(link.is_symlink() && live.exists());
    done(&site, &["check"]);
}

#[test]
fn without_the_key_of_the_ca_no_certificate_is_made_and_the_cause_is_printed() {
    let site = with_certs(ALONE);
    fs::remove_file(site.path("certs/ca.key")).unwrap();
    assert!(done(&site, &["certs"]).contains("exists: valid until 20"));
    let ended = run(&site, &["certs", "renew"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("certs/ca.key: the key of the CA is not here"),
        "{ended:?}"
    );
    make_others(&site, "other");
    copy(&site, "other/ca.key", "certs/ca.key");
    let states = done(&site, &["certs"]);
    assert!(
        states.contains("cannot be used: certs/ca.key: it is not the key of"),
        "{states}"
    );
}

#[test]
fn servers_of_two_machines_on_one_address_run_by_serve_and_not_by_up() {
    let site = Site::new(PAIR, "");
    let (riley, jaquez) = (site.server("Riley").clients, site.server("Jaquez").clients);
    let bind = format!("[[servers]]\nbind_clients = \"0.0.0.0:{jaquez}\"\n");
    site.set_config(&site.config().replacen("[[servers]]\n", &bind, 1));
    let clash = format!(
        "Riley and Jaquez both listen on 127.0.0.1:{jaquez}: Riley for clients on \
         0.0.0.0:{jaquez}, and Jaquez for clients on 127.0.0.1:{jaquez}"
    );
    let explained = done(&site, &["check"]);
    assert!(
        explained.contains("Not for `up`, only for `serve`: herd.toml:"),
        "{explained}"
    );
    assert!(explained.contains(&clash), "{explained}");
    let ended = run(&site, &["up"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&clash), "{ended:?}");
    assert_ne!(riley, jaquez);
}
