//! Authorization on the peer port, by the certificate of the connection.
//!
//! Servers of the herd may make all calls, its operators all except those that change
//! reports (`Propagate` and imports), and others none. Each call is checked before its message is read. That
//! the sender of a message is the holder of the certificate is checked when the message
//! was read ([`check_sender`]). Without TLS everybody may make all calls.

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
    /// Makes the rules of a server.
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// Checks whether `other_end` may make a call, which may be for servers only.
    /// Counts rejections.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED`, with the cause.
    pub(super) fn check(&self, is_for_servers: bool, other_end: &OtherEnd) -> Result<(), Status> {
        let Some(holder) = other_end.holder() else {
            return Ok(());
        };
        let herd = self.gateway.replica().herd();
        let judged = judge(holder, herd, is_for_servers);
        judged.inspect_err(|_| {
            self.gateway
                .counters()
                .peer_calls_rejected_by_certificate
                .add(1)
        })
    }
}

fn judge(holder: &PeerIdentity, herd: &Name, is_for_servers: bool) -> Result<(), Status> {
    let reject = |message: String| Err(Status::permission_denied(message));
    if holder.is_empty() {
        return reject(
            "your certificate names no server or operator of a herd: it needs a DNS name such as \
             NAME.HERD.proxyherd (subject alternative name)"
                .to_owned(),
        );
    }
    if !holder.is_member_of(herd) {
        return reject(format!(
            "your certificate is for {holder}, this server is of another herd"
        ));
    }
    if is_for_servers && !holder.is_server_of(herd) {
        return reject(format!(
            "your certificate is for {holder}: operators may not push or import, servers only"
        ));
    }
    Ok(())
}

/// Checks whether the other end may send messages as `sender`.
///
/// # Errors
///
/// `PERMISSION_DENIED` if its certificate is for another.
pub(super) fn check_sender(
    other_end: Option<&OtherEnd>,
    sender: &str,
    herd: &Name,
) -> Result<(), Status> {
    if let Some(holder) = other_end.and_then(OtherEnd::holder)
        && !holder.is_server_called(sender, herd)
    {
        return Err(Status::permission_denied(format!(
            "your certificate is for {holder}, and you call yourself {}",
            tls::quote_name(sender)
        )));
    }
    Ok(())
}
