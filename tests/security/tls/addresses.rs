//! Dials by TLS of names with several addresses, some of which are not the server's.

use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use proxyherd::model::address::Address;
use proxyherd::net::{Dialer, Resolver, TcpDialer};
use proxyherd::tls::Credentials;
use tokio::runtime::Runtime;

use super::herd;
use super::wrong::Impostor;
use crate::common::{PAIR, Pki, days, server};

/// The time limit of a dial. Half of it is waited for a handshake that hangs.
const DIAL_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_name_is_reached_past_addresses_whose_handshake_fails_or_hangs() {
    let pki = Arc::new(Pki::new());
    // Another test may use the port at one of the other addresses.
    let start = |_| {
        let mut herd = herd(PAIR, &pki);
        herd.launch("Riley");
        let right = herd.peers_address("Riley");
        let others = [2, 3].map(|last| {
            TcpListener::bind(SocketAddr::from(([127, 0, 0, last], right.port()))).ok()
        });
        let [Some(impostor), Some(silent)] = others else {
            return None;
        };
        Some((herd, right, impostor, silent))
    };
    let (_herd, right, impostor, _silent) = (0..100).find_map(start).unwrap();
    let at = |last| SocketAddr::from(([127, 0, 0, last], right.port()));
    let mallory = pki.issue("mallory", &server("Mallory", "test"), days(-1, 30));
    let _impostor = Impostor::serve(impostor, &mallory);
    let (closed, jaquez) = (at(4), server("Jaquez", "test"));
    let credentials = Credentials::of_server(pki.files("Jaquez"), jaquez).unwrap();
    let credentials = Arc::new(credentials);
    let runtime = Runtime::new().unwrap();
    let dial = |addresses: Vec<SocketAddr>| {
        let resolver = Resolver::new(move |_| Ok(addresses.clone()));
        let address = Address::parse(&format!("riley.example:{}", right.port())).unwrap();
        let tcp = TcpDialer::new(&address, &resolver);
        let dialer = Dialer::tls(tcp, &credentials, &server("Riley", "test"));
        runtime.block_on(dialer.connect(DIAL_LIMIT, pending()))
    };
    dial(vec![at(2), at(3), closed, right]).unwrap();
    let error = dial(vec![closed, at(2)]).err().unwrap();
    let expected = format!(
        "{}: its certificate is for Mallory.test.proxyherd, localhost and 127.0.0.1, not for \
         Riley.test.proxyherd; {closed}: Connection refused (os error 111)",
        at(2)
    );
    assert!(error.to_string().eq_ignore_ascii_case(&expected), "{error}");
}
