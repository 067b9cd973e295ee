//! PEM files as people have them: everything in them is read, or they are rejected with the line.

use std::fs;

use proxyherd::tls::{Credentials, DialledHost, Files, Pair};

use crate::common::{Pki, days, server};

/// A server's files, and a second CA.
struct Setup {
    pki: Pki,
    other: Pki,
    files: Files,
}

impl Setup {
    fn new() -> Self {
        let pki = Pki::new();
        let files = pki.files("Riley");
        let other = Pki::new();
        Self { pki, other, files }
    }

    /// Returns what the files gave and the warnings about them, or the error without the
    /// directory.
    fn load(&self, files: Files) -> Result<(Vec<String>, Vec<String>), String> {
        let dir = format!(
            "{}/",
            self.pki
                .path("")
                .display()
                .to_string()
                .trim_end_matches('/')
        );
        let loaded = Credentials::of_server(files, server("Riley", "test"));
        let short = |text: String| text.replace(&dir, "");
        let shorten = |lines: Vec<String>| lines.into_iter().map(short).collect();
        match loaded {
            Ok(loaded) => Ok((shorten(loaded.contents()), shorten(loaded.warnings()))),
            Err(error) => Err(short(error.to_string())),
        }
    }

    fn with_ca(&self, text: &str) -> Result<(Vec<String>, Vec<String>), String> {
        fs::write(self.pki.path("ca.pem"), text).unwrap();
        self.load(self.files.clone())
    }

    fn with_own(&self, certificate: &str, key: &str) -> Result<(Vec<String>, Vec<String>), String> {
        let own = self.pki.pair("changed");
        fs::write(&own.certificate, certificate).unwrap();
        fs::write(&own.key, key).unwrap();
        let ca = self.pki.path("ca.pem");
        self.load(Files { ca, own })
    }

    fn own(&self) -> (String, String) {
        let Pair { certificate, key } = &self.files.own;
        let read = |path| fs::read_to_string(path).unwrap();
        (read(certificate), read(key))
    }
}

#[test]
fn a_bundle_gives_every_ca_however_it_is_written() {
    let setup = Setup::new();
    let (one, two) = (&setup.pki.ca, &setup.other.ca);
    let indented: String = two.lines().map(|line| format!("  {line}\n")).collect();
    for (text, is_loose) in [
        (format!("{one}{two}"), false),
        (format!("{}{two}", one.trim_end()), true),
        (format!("\u{feff}{one}{two}"), true),
        (format!("{one}{indented}"), true),
        (format!("{one}{two}").replace('\n', "\r\n"), false),
        (format!("{one}# the new one\n{two}"), false),
        (
            format!("{one}{}", two.replace("CERTIFICATE", "X509 CERTIFICATE")),
            false,
        ),
    ] {
        let (contents, warnings) = setup.with_ca(&text).unwrap();
        assert!(contents[0].starts_with("ca.pem: 2 CA certificates, all valid until 20"));
        assert!(contents[1].starts_with("Riley.pem: 1 certificate, valid until 20"));
        // Other programs lose a certificate of such a file.
        let warned = warnings
            .iter()
            .any(|warning| warning.starts_with("ca.pem, line "));
        assert_eq!(warned, is_loose, "{text}: {warnings:?}");
    }
}

#[test]
fn a_bundle_of_which_a_part_cannot_be_read_is_rejected_with_the_lines() {
    let setup = Setup::new();
    let (one, two) = (&setup.pki.ca, &setup.other.ca);
    let line = one.lines().count() + 1;
    let body = two.lines().nth(1).unwrap();
    for (text, at, cause) in [
        (
            two.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
            0,
            "a section of the kind TRUSTED",
        ),
        (
            two.replace("CERTIFICATE", "X509 CRL"),
            0,
            "a section of the kind X509 CRL",
        ),
        (
            two.replace("-----BEGIN", "----BEGIN"),
            0,
            "a damaged BEGIN line",
        ),
        (
            two.replace(body, &format!("!{body}")),
            1,
            "a character that is not base64",
        ),
        (
            two.replace(&body[..4], ""),
            0,
            "this is not an X.509 certificate",
        ),
        (
            two.replace("-----END CERTIFICATE-----\n", ""),
            0,
            "the file ends in the middle of",
        ),
        (setup.own().0, 0, "this certificate is not a CA's"),
    ] {
        let error = setup.with_ca(&format!("{one}{text}")).unwrap_err();
        let expected = format!("ca.pem, line {}: {cause}", line + at);
        assert!(error.starts_with(&expected), "{error}");
    }
    // All faults are reported, up to ten.
    let damaged = one.replace("-----BEGIN", "----BEGIN");
    let error = setup.with_ca(&damaged.repeat(12)).unwrap_err();
    assert_eq!(error.matches("a damaged BEGIN line").count(), 10, "{error}");
    assert!(error.ends_with("\nca.pem: and 2 more"), "{error}");
}

#[test]
fn a_certificate_and_key_that_cannot_be_used_are_rejected_with_the_cause() {
    let setup = Setup::new();
    let (certificate, key) = setup.own();
    let ca = setup.pki.ca.clone();
    let label = |name: &str| key.replace("PRIVATE KEY", name);
    let headers = "RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n";
    let traditional = key
        .replacen("PRIVATE KEY-----\n", headers, 1)
        .replace("END PRIVATE", "END RSA PRIVATE");
    let encrypted = "changed.key, line 1: this private key is encrypted, and a server cannot ask \
                     for its passphrase; decrypt it with openssl pkey -in changed.key -out NEW";
    for (certificate, key, expected) in [
        (&*certificate, &*traditional, encrypted),
        (&certificate, &label("ENCRYPTED PRIVATE KEY"), encrypted),
        (
            &certificate,
            &label("OPENSSH PRIVATE KEY"),
            "changed.key, line 1: this is a private key for SSH",
        ),
        (
            &certificate,
            &label("DSA PRIVATE KEY"),
            "changed.key, line 1: a private key of the kind DSA",
        ),
        (
            &certificate,
            &key.repeat(2),
            "changed.key, line 6: a second private key",
        ),
        (
            &certificate,
            &certificate,
            "changed.key: it holds a certificate and no private key",
        ),
        (&certificate, "", "changed.key: it is empty"),
        (
            &key,
            &key,
            "changed.pem: it holds a private key and no certificate",
        ),
        ("\u{0}", &key, "changed.pem: it is not text"),
        (
            &(ca.clone() + &certificate),
            &key,
            "changed.pem: its certificates are in the wrong order: that of the key changed.key is \
             number 2, and has to be the first",
        ),
        (&ca, &key, "changed.key: it is not the key of changed.pem"),
    ] {
        let error = setup.with_own(certificate, key).unwrap_err();
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
    // A key beside the certificate has no effect there.
    let both = format!("{key}{certificate}{ca}");
    let (contents, _) = setup.with_own(&both, &both).unwrap();
    assert!(contents[1].starts_with("changed.pem: 2 certificates, all valid until 20"));
}

#[test]
fn a_key_that_its_group_may_read_needs_no_advice() {
    use std::os::unix::fs::PermissionsExt;
    let setup = Setup::new();
    for (mode, expected) in [
        (0o600, ""),
        (0o640, ""),
        (0o440, ""),
        (
            0o660,
            "the group of the file may change this private key (mode 660); run chmod g-w ",
        ),
        (
            0o644,
            "every user of this machine may read or change this private key (mode 644); run chmod o= ",
        ),
        (
            0o666,
            "every user of this machine may read or change this private key (mode 666); run chmod g-w,o= ",
        ),
    ] {
        let key = &setup.files.own.key;
        fs::set_permissions(key, fs::Permissions::from_mode(mode)).unwrap();
        let (_, warnings) = setup.load(setup.files.clone()).unwrap();
        match warnings.first() {
            None => assert_eq!(expected, "", "{mode:o}"),
            Some(warning) => {
                let rest = warning.strip_prefix("Riley.key: ").expect(warning);
                assert!(
                    !expected.is_empty() && rest.starts_with(expected),
                    "{warning}"
                );
            }
        }
    }
}

#[test]
fn what_clients_may_reject_is_a_warning() {
    let setup = Setup::new();
    let own = setup.files.own.clone();
    let warnings = |pair: &Pair, host: &str| {
        let dialled = DialledHost {
            key: "web",
            host: host.to_owned(),
        };
        let loaded = Credentials::for_clients(pair.clone(), Some(dialled)).unwrap();
        loaded.warnings()
    };
    for host in ["localhost", "127.0.0.1", "riley.test.proxyherd"] {
        assert_eq!(warnings(&own, host), Vec::<String>::new());
    }
    for host in ["edge.example.org", "127.0.0.2", "::1"] {
        let [warning] = &warnings(&own, host)[..] else {
            panic!("{host}");
        };
        let expected = format!("Riley.pem: it does not name {host}, which clients dial (web), ");
        assert!(warning.contains(&expected), "{warning}");
    }
    let old = setup
        .pki
        .issue("old", &server("Riley", "test"), days(-9, -1));
    assert!(warnings(&old, "localhost")[0].contains("old.pem: this certificate expired at 20"));
    let early = setup
        .pki
        .issue("early", &server("Riley", "test"), days(1, 9));
    assert!(warnings(&early, "localhost")[0].contains("this certificate is not valid before 20"));
    let ca = setup.pki.pair("own-ca");
    let warning = warnings(&ca, "localhost").remove(0);
    // Its key was written without a mode of its own.
    let all = warnings(&ca, "localhost").join("\n") + &warning;
    assert!(
        all.contains("own-ca.pem: it is a CA's certificate"),
        "{all}"
    );
}
