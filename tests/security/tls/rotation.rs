//! Replacement of certificates and of the CA at run time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use rustls::pki_types::CertificateDer;

use super::herd;
use super::logs::ServerLog;
use crate::common::{
    Herd, LIMIT, Mode, Pki, call_as, certificates, client_config, days, eventually, operator,
    reach, server,
};

const NAMES: [&str; 3] = ["Turning-1", "Turning-2", "Turning-3"];
const LINKS: [(&str, &str); 2] = [("Turning-1", "Turning-2"), ("Turning-2", "Turning-3")];

/// Returns the certificate of a server, or `None` if it rejects the caller.
fn shown(address: SocketAddr, pki: &Pki, by: &str, name: &str) -> Option<CertificateDer<'static>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = client_config(&pki.path("ca.pem"), Some(&pki.pair(by)));
    let name = format!("{name}.test.proxyherd");
    runtime.block_on(async {
        let reached = tokio::time::timeout(LIMIT, reach(address, config, &name)).await;
        let stream = reached.unwrap().ok()?;
        let chain = stream.get_ref().1.peer_certificates()?;
        Some(chain[0].clone().into_owned())
    })
}

/// Renews the certificates of all servers by a CA and waits until the servers use them.
#[track_caller]
fn renew_all(herd: &Herd, pki: &Pki, by: &Pki) {
    for name in NAMES {
        by.renew(&pki.pair(name), &server(name, "test"));
    }
    for name in NAMES {
        let new = certificates(&pki.pair(name).certificate).remove(0);
        eventually(&format!("{name} uses its new certificate"), || {
            let shown = shown(herd.peers_address(name), pki, "alice", name)?;
            (shown == new).then_some(())
        });
    }
}

#[test]
fn certificates_and_the_ca_are_replaced_under_load_without_loss_or_a_link_down() {
    let pki = Arc::new(Pki::new());
    pki.issue("alice", &operator("alice", "test"), days(-1, 30));
    let mut herd = herd((&NAMES, &LINKS), &pki);
    let logs: Vec<ServerLog> = NAMES
        .iter()
        .map(|name| ServerLog::launch(&mut herd, name))
        .collect();
    herd.await_links();
    let since = |herd: &Herd| {
        let both = LINKS.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
        let links: Vec<_> = both.map(|(a, b)| herd.link(a, b)).collect();
        assert!(links.iter().all(|link| link.is_up), "{links:?}");
        links.iter().map(|link| link.since).collect::<Vec<_>>()
    };
    let before = since(&herd);

    let go_on = AtomicBool::new(true);
    let new_ca = Pki::new();
    let reported = thread::scope(|scope| {
        let clients = NAMES.map(|name| {
            let mut client = herd.client(name);
            let go_on = &go_on;
            scope.spawn(move || {
                let mut count = 0;
                while go_on.load(Relaxed) || count == 0 {
                    count += 1;
                    let answer = client.ask(&format!("IAMAT {name} +{}+1 {count}", count % 90));
                    assert!(answer.starts_with("AT "), "{answer}");
                    thread::sleep(std::time::Duration::from_millis(1));
                }
                count
            })
        });
        let ends_the_load = LoadGuard(&go_on);

        renew_all(&herd, &pki, &pki);
        assert_eq!(since(&herd), before, "a certificate was renewed");

        // Every server trusts the new CA before any has a certificate of it.
        pki.replace("ca.pem", &(new_ca.ca.clone() + &pki.ca));
        let bob = new_ca.issue("bob", &operator("bob", "test"), days(-1, 30));
        for name in NAMES {
            let address = herd.peers_address(name);
            let dns_name = format!("{name}.test.proxyherd");
            eventually(&format!("{name} trusts the new CA"), || {
                call_as(address, &pki.path("ca.pem"), Some(&bob), &dns_name).ok()
            });
        }
        renew_all(&herd, &pki, &new_ca);
        pki.replace("ca.pem", &new_ca.ca);
        for name in NAMES {
            let address = herd.peers_address(name);
            eventually(&format!("{name} no longer trusts the old CA"), || {
                shown(address, &pki, "alice", name).is_none().then_some(())
            });
        }
        assert_eq!(since(&herd), before, "the CA was replaced");
        drop(ends_the_load);
        clients.map(|client| client.join().unwrap())
    });

    // A broken link returns with the new certificates.
    herd.set_link(NAMES[0], NAMES[1], Mode::Cut);
    eventually("the link is down", || {
        (!herd.is_up(NAMES[0], NAMES[1])).then_some(())
    });
    herd.set_link(NAMES[0], NAMES[1], Mode::Pass);
    herd.await_links();
    for (name, count) in NAMES.iter().zip(reported) {
        herd.await_everywhere(name, &format!("+{}+1", count % 90));
    }
    for log in logs {
        log.await_line(&["INFO", "certificates reloaded; valid until 20"], || {});
    }
}

/// Ends the load when it is dropped, also if the test fails.
struct LoadGuard<'a>(&'a AtomicBool);

impl Drop for LoadGuard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

#[test]
fn a_broken_file_changes_nothing_and_is_logged_once() {
    let pki = Arc::new(Pki::new());
    pki.issue("alice", &operator("alice", "test"), days(-1, 30));
    let mut herd = herd((&["Steady"], &[]), &pki);
    let log = ServerLog::launch(&mut herd, "Steady");
    let own = pki.pair("Steady");
    let whole = std::fs::read_to_string(&own.certificate).unwrap();
    std::fs::write(&own.certificate, &whole[..whole.len() / 2]).unwrap();
    let message = "cannot reload certificates: ";
    log.await_line(&["WARN", message, "middle of a PEM section"], || {});
    assert!(shown(herd.peers_address("Steady"), &pki, "alice", "Steady").is_some());
    pki.renew(&own, &server("Steady", "test"));
    log.await_line(&["certificates reloaded"], || {});
    assert_eq!(log.text().matches(message).count(), 1, "{}", log.text());
}

#[test]
fn expired_and_soon_expiring_certificates_and_readable_keys_are_logged() {
    use std::os::unix::fs::PermissionsExt;
    for (name, until, level, message) in [
        ("Ageing", 3, "WARN", "this certificate expires at 20"),
        ("Aged", -1, "ERROR", "this certificate expired at 20"),
    ] {
        let pki = Arc::new(Pki::new());
        let own = pki.issue(name, &server(name, "test"), days(-3, until));
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&own.key, open).unwrap();
        let mut herd = herd((&[name], &[]), &pki);
        let log = ServerLog::launch(&mut herd, name);
        log.await_line(&[level, message], || {});
        log.await_line(
            &["WARN", "may read or change this private key", "644"],
            || {},
        );
    }
}
