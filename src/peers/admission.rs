//! Who may call what on the peer port, by the certificate of the connection.
//!
//! Servers of the herd may call everything, its operators everything but
//! `Propagate`, and nobody else anything. That is judged on each call, before its
//! message is read. That a server speaks for no other is judged when its message
//! was read ([`check_sender`]). Without TLS there is nothing to judge by, and
//! everybody may call.

use std::sync::Arc;

use tonic::Status;

use crate::gateway::Gateway;
use crate::model::name::Name;
use crate::tls::{self, PeerIdentity};

use super::incoming::OtherEnd;

/// The rules of one port.
#[derive(Debug)]
pub(super) struct Admission {
    gateway: Arc<Gateway>,
}

impl Admission {
    /// Those of a server.
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// May `other_end` make a call, to `Propagate` or another service? Counts
    /// those that may not.
    pub(super) fn check(&self, is_propagate: bool, other_end: &OtherEnd) -> Result<(), Status> {
        let Some(holder) = other_end.holder() else {
            return Ok(());
        };
        let herd = &self.gateway.replica().identity().herd;
        let judged = judge(holder, herd, is_propagate);
        judged.inspect_err(|_| self.gateway.counts().refused_by_name().add(1))
    }
}

fn judge(holder: &PeerIdentity, herd: &Name, is_propagate: bool) -> Result<(), Status> {
    let refuse = |words: String| Err(Status::permission_denied(words));
    if holder.is_nobody() {
        return refuse(
            "your certificate names no server or operator of a herd: it needs a DNS name such as \
             NAME.HERD.proxyherd (subject alternative name)"
                .to_owned(),
        );
    }
    if !holder.is_member_of(herd) {
        return refuse(format!(
            "your certificate is for {holder}, this server is of another herd"
        ));
    }
    if is_propagate && !holder.is_server_of(herd) {
        return refuse(format!(
            "your certificate is for {holder}: operators may not push, servers only"
        ));
    }
    Ok(())
}

/// May whoever is at the other end call itself `sender`?
pub(super) fn check_sender(
    other_end: Option<&OtherEnd>,
    sender: &str,
    herd: &Name,
) -> Result<(), Status> {
    match other_end.and_then(OtherEnd::holder) {
        Some(holder) if !holder.is_server_called(sender, herd) => {
            Err(Status::permission_denied(format!(
                "your certificate is for {holder}, and you call yourself {}",
                tls::repeat(sender)
            )))
        }
        _ => Ok(()),
    }
}
