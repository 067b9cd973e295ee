//! TLS between servers and for clients: accepted and rejected connections, how they are
//! reported, and certificates that are replaced at run time.

mod addresses;
mod chains;
mod clients;
mod logs;
mod pem;
mod processes;
mod rotation;
mod secrets;
mod standing;
mod wrong;

use crate::common::{CLASSIC, Herd, Pki, Topology};

/// Returns a herd whose servers talk by TLS, with certificates of `pki`.
fn herd(topology: Topology<'_>, pki: &std::sync::Arc<Pki>) -> Herd {
    let pki = pki.clone();
    Herd::new(topology).adjust(move |plan| plan.tls = Some(pki.files(plan.name.as_str())))
}

#[test]
fn a_herd_of_five_floods_by_tls_and_continues_when_a_server_restarts() {
    let pki = std::sync::Arc::new(Pki::new());
    let mut herd = herd(CLASSIC, &pki).launch_all();
    herd.client("Riley").ask("IAMAT kiwi +34.0-118.4 1");
    herd.await_everywhere("kiwi", "+34.0-118.4");
    herd.kill("Juzang");
    herd.client("Campbell").ask("IAMAT kiwi +35.0-118.4 2");
    herd.await_everywhere("kiwi", "+35.0-118.4");
    herd.launch("Juzang");
    herd.await_links();
    herd.await_everywhere("kiwi", "+35.0-118.4");
}
