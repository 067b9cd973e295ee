//! Certificates that are sent along with a server's own: only those in the path to its CA count.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use proxyherd::tls::Files;
use proxyherd::tls::issue::{Validity, generate_key};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::logs::ServerLog;
use crate::common::{Herd, Pki, days, eventually, linked, server};

/// The validity of a certificate that expires during a test.
const SHORT_VALIDITY: Duration = Duration::from_secs(15);

/// A CA with CAs below it, which the CAs of [`Pki`] do not permit.
struct Tree {
    root: Ca,
    pki: Pki,
}

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(1970, 1, 1) + since(validity.from);
    params.not_after = date_time_ymd(1970, 1, 1) + since(validity.until);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Ca {
    /// Makes a CA that `issuer` certifies, or itself.
    fn make(name: &str, validity: Validity, issuer: Option<&Self>) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let made = match issuer {
            Some(issuer) => params.signed_by(&key, &issuer.issuer),
            None => params.self_signed(&key),
        };
        Self {
            pem: made.unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }
}

impl Tree {
    fn new() -> Self {
        let root = Ca::make("root", days(-40, 40), None);
        let pki = Pki::new();
        pki.replace("ca.pem", &root.pem);
        Self { root, pki }
    }

    /// Writes the files of the server `name`, whose certificate is from `ca` and is followed by
    /// `others`.
    fn files(&self, name: &str, ca: &Ca, others: &[&str]) -> Files {
        let pair = self.pki.pair(name);
        let key = match fs::read_to_string(&pair.key) {
            Ok(key) => key,
            Err(_) => generate_key().unwrap(),
        };
        fs::write(&pair.key, &key).unwrap();
        let mut params = params(name, days(-1, 30));
        let dns_name = server(name, "test").to_string();
        params.subject_alt_names = CertificateParams::new([dns_name])
            .unwrap()
            .subject_alt_names;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::from_pem(&key).unwrap();
        let own = params.signed_by(&key, &ca.issuer).unwrap().pem();
        self.pki
            .replace(&format!("{name}.pem"), &(own + &others.concat()));
        let ca = self.pki.path("ca.pem");
        Files { ca, own: pair }
    }

    /// Returns a pair of servers of which the second has a certificate from `ca`, followed by
    /// `others`.
    fn pair(&self, names: [&'static str; 2], ca: &Ca, others: &[&str]) -> Herd {
        let files = [
            self.files(names[0], &self.root, &[]),
            self.files(names[1], ca, others),
        ];
        Herd::new(linked(&names, &[(names[0], names[1])])).adjust(move |plan| {
            let at = names.iter().position(|&name| name == plan.name.as_str());
            plan.tls = at.map(|at| files[at].clone());
        })
    }
}

/// Returns a validity that ends after [`SHORT_VALIDITY`].
fn shortly() -> Validity {
    let until = SystemTime::now() + SHORT_VALIDITY;
    Validity {
        until,
        ..days(-1, 30)
    }
}

/// Asserts that both ends of the link keep their connection during many pushes.
#[track_caller]
fn assert_one_connection(herd: &Herd, [a, b]: [&str; 2], what: &str) {
    let pushes = |from: &str, to: &str| herd.traffic(from, to).counters.batches_sent.get();
    for (from, to) in [(a, b), (b, a)] {
        let (before, connections) = (pushes(from, to), herd.connections(from, to));
        eventually(&format!("{what}: {from} pushes"), || {
            (pushes(from, to) >= before + 4).then_some(())
        });
        assert_eq!(herd.connections(from, to), connections, "{what}, {from}");
    }
}

#[test]
fn certificates_beside_the_path_end_no_connection() {
    let tree = Tree::new();
    let middle = Ca::make("middle", days(-20, 20), Some(&tree.root));
    let lower = Ca::make("lower", days(-10, 10), Some(&middle));
    let expired = Ca::make("expired", days(-30, -1), Some(&tree.root));
    let expired_middle = Ca::make("middle", days(-30, -1), Some(&tree.root));
    let foreign = Ca::make("foreign", days(-10, 10), None);
    let early = Ca::make("early", days(1, 10), Some(&tree.root));
    let root = &tree.root;
    let (middle_pem, lower_pem) = (&*middle.pem, &*lower.pem);
    for (what, ca, others) in [
        ("an expired one", root, &[&*expired.pem][..]),
        ("a foreign one", root, &[&*foreign.pem]),
        ("one that is not valid yet", root, &[&*early.pem]),
        ("the root itself, twice", root, &[&*root.pem, &*root.pem]),
        ("a path", &lower, &[lower_pem, middle_pem]),
        (
            "a path in the wrong order",
            &lower,
            &[middle_pem, lower_pem],
        ),
        (
            "a path twice, among others",
            &lower,
            &[
                &*expired.pem,
                middle_pem,
                lower_pem,
                lower_pem,
                middle_pem,
                &*foreign.pem,
            ],
        ),
        (
            "an expired certificate of a name in the path",
            &lower,
            &[lower_pem, &*expired_middle.pem, middle_pem],
        ),
    ] {
        let names = ["Chained-1", "Chained-2"];
        let herd = tree.pair(names, ca, others).launch_all();
        assert_one_connection(&herd, names, what);
    }
}

#[test]
fn a_link_ends_when_a_certificate_in_the_path_expires_and_returns_after_renewal() {
    let tree = Tree::new();
    let middle = Ca::make("middle", shortly(), Some(&tree.root));
    // It has expired already, and must not hide the end of the other one.
    let expired = Ca::make("expired", days(-30, -1), Some(&tree.root));
    let names = ["Passing-1", "Passing-2"];
    let others = [&*expired.pem, &*middle.pem];
    let mut herd = tree.pair(names, &middle, &others);
    let log = ServerLog::launch(&mut herd, names[0]);
    herd.launch(names[1]);
    herd.await_links();
    let [a, b] = names;
    for (from, to, reason) in [
        (a, b, "its certificate expired at 20"),
        (
            b,
            a,
            "it rejected our certificate: expired, or not valid yet",
        ),
    ] {
        eventually(&format!("{from} reports: {reason}"), || {
            let link = herd.link(from, to);
            (!link.is_up && link.reason.contains(reason)).then_some(())
        });
    }
    let closed = "closed the connection from 127.0.0.1";
    log.await_line(&[closed, "its certificate expired at 20"], || {});
    let renewed = Ca::make("middle", days(-1, 20), Some(&tree.root));
    tree.files(b, &renewed, &[&*renewed.pem]);
    herd.await_links();
}

#[test]
fn a_link_stays_when_a_certificate_beside_the_path_expires() {
    let tree = Tree::new();
    let start = Instant::now();
    let extra = Ca::make("extra", shortly(), Some(&tree.root));
    let names = ["Extra-1", "Extra-2"];
    let herd = tree.pair(names, &tree.root, &[&*extra.pem]).launch_all();
    assert_one_connection(&herd, names, "before");
    let after = SHORT_VALIDITY + Duration::from_secs(2);
    std::thread::sleep(after.saturating_sub(start.elapsed()));
    assert_one_connection(&herd, names, "after");
}

#[test]
fn a_server_warns_of_the_end_of_each_certificate_in_the_path_and_of_no_other() {
    let tree = Tree::new();
    let middle = Ca::make("middle", days(-20, 3), Some(&tree.root));
    let lower = Ca::make("lower", days(-10, 20), Some(&middle));
    let expired = Ca::make("expired", days(-30, -1), Some(&tree.root));
    let name = "Warned";
    let others = [&*expired.pem, &*middle.pem, &*lower.pem];
    let files = tree.files(name, &lower, &others);
    let mut herd =
        Herd::new(linked(&[name], &[])).adjust(move |plan| plan.tls = Some(files.clone()));
    let log = ServerLog::launch(&mut herd, name);
    let parts = [
        "WARN",
        "Warned.pem: this certificate expires at",
        "in 2days",
    ];
    log.await_line(&parts, || {});
    let text = log.text();
    assert!(!text.contains("this certificate expired"), "{text}");
}
