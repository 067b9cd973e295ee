//! The messages between servers, without their encoding: greetings, pushes, and the reasons for
//! which they are rejected.

use std::fmt;
use std::time::Duration;

use crate::model::name::is_name;

use super::lineage::Acknowledged;
use super::sent_pushes::PushProgress;
use super::spanning_tree::TreePosition;
use super::version_vector::OriginNumber;
use super::{Incarnation, NeighbourId};

/// The version of the protocol between servers. Servers with equal major versions interoperate. Any
/// change to the rules by which reports are validated needs a new major version.
pub const VERSION: Version = Version { major: 2, minor: 2 };

/// A version of the protocol between servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Must be equal on both sides.
    pub major: u32,
    /// Informational.
    pub minor: u32,
}

/// The first call of a link: the dialling server identifies itself and the server that it means to
/// reach.
#[derive(Clone, Copy, Debug)]
pub struct Greeting<'a> {
    /// The sender's protocol version.
    pub version: Version,
    /// The sender's herd.
    pub herd: &'a str,
    /// The sender's name.
    pub sender: &'a str,
    /// The sender's incarnation; 0 if absent, which is rejected.
    pub incarnation: u64,
    /// The name of the server that the sender means to reach.
    pub receiver: &'a str,
    /// The age at which the sender's reports expire, for comparison; `None` if they never do.
    pub expire_after: Option<Duration>,
    /// The last acknowledgement of the receiver that the sender knows.
    pub acknowledged: Option<Acknowledged>,
}

/// The answer to a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GreetReply {
    /// The incarnation of the answering server.
    pub incarnation: Incarnation,
    /// What was applied here of the greeting incarnation, also by way of earlier incarnations.
    pub progress: PushProgress,
    /// The neighbour that greeted.
    pub neighbour: NeighbourId,
    /// The incarnation that greeted.
    pub greeter: Incarnation,
    /// Whether this incarnation was unknown before the greeting. The link to the neighbour must
    /// then greet again.
    pub is_new: bool,
}

/// The answer to a push whose reports were all merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushAnswer {
    /// What was applied of the sender's incarnation.
    pub progress: PushProgress,
    /// The entries of the answering server's version vector that have changed since its last answer
    /// to this sender.
    pub vector: Vec<OriginNumber>,
    /// Number of reports of the push that were not newer than the stored ones.
    pub redundant: usize,
    /// The answering server's place in the spanning tree; `None` for an earlier version.
    pub position: Option<TreePosition>,
}

/// The fields of a push besides its reports, which are all changes after `from`, up to and
/// including `to`, that the receiver needs.
#[derive(Clone, Copy, Debug)]
pub struct PushHeader<'a> {
    /// The sender's herd.
    pub herd: &'a str,
    /// The sender's name.
    pub sender: &'a str,
    /// The sender's incarnation.
    pub sender_incarnation: u64,
    /// The receiver's incarnation that the sender greeted.
    pub receiver_incarnation: u64,
    /// The last sequence number that the receiver acknowledged.
    pub from: u64,
    /// The last sequence number that the sender considered.
    pub to: u64,
    /// A checksum of the push. `None` if it covers no change, or its sender computes none.
    pub check: Option<u32>,
}

/// The reason why a greeting or a push was rejected. Nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A field is malformed; the text names the field and the rule.
    Malformed(String),
    /// The sender's major protocol version differs.
    IncompatibleVersion(Version),
    /// The sender belongs to another herd, which is named.
    OtherHerd(String),
    /// The sender means to reach another server, which is named.
    WrongReceiver(String),
    /// The sender has the name of the receiving server.
    OwnName,
    /// The receiver's config has no server with this name.
    UnknownServer(String),
    /// The sender is a server of the herd, but not a neighbour of this server.
    NotNeighbour(String),
    /// The push is addressed to another incarnation of the receiver.
    WrongIncarnation,
    /// This incarnation of the sender has not greeted, or too long ago.
    NotGreeted,
    /// Sequence numbers are missing between the last applied one and the push.
    Gap {
        /// The last applied sequence number.
        applied: u64,
        /// The push covers the sequence numbers after this one.
        from: u64,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => f.write_str(what),
            Self::IncompatibleVersion(version) => write!(
                f,
                "protocol version {}.{} is incompatible with version {}.{} of this server: major \
                versions must be equal",
                version.major, version.minor, VERSION.major, VERSION.minor
            ),
            Self::OtherHerd(herd) => write!(
                f,
                "this server does not belong to the herd \"{herd}\": \
                check the herd's name and the address in your config"
            ),
            Self::WrongReceiver(name) => write!(
                f,
                "this server is not \"{name}\": check the address of \"{name}\" in your config"
            ),
            Self::OwnName => f.write_str(
                "the sender has this server's own name: a server dialled itself, or two servers \
                run under one name",
            ),
            Self::UnknownServer(name) => write!(
                f,
                "no server named \"{name}\" is in this server's \
                config"
            ),
            Self::NotNeighbour(name) => {
                write!(
                    f,
                    "\"{name}\" is not a neighbour of this server: no talks_to links the two"
                )
            }
            Self::WrongIncarnation => f.write_str(
                "this server is not the incarnation that the push names: it has restarted, or was \
                not greeted; greet first",
            ),
            Self::NotGreeted => f.write_str(
                "this incarnation of the sender has not greeted: \
                greet first",
            ),
            Self::Gap { applied, from } => write!(
                f,
                "the push begins after sequence number {from}, but only {applied} is applied: \
                greet again"
            ),
        }
    }
}

impl std::error::Error for Rejection {}

/// Returns the name if it is well-formed. Rejections quote well-formed names only; nothing else
/// from a sender is repeated.
pub(super) fn well_formed(field: &str, name: &str) -> Result<String, Rejection> {
    if is_name(name.as_bytes()) {
        return Ok(name.to_owned());
    }
    Err(Rejection::Malformed(format!(
        "{field} must be a name: 1 to 63 ASCII letters, digits and inner hyphens"
    )))
}

/// Returns an incarnation that a message names in `field`.
pub(super) fn incarnation(field: &str, number: u64) -> Result<Incarnation, Rejection> {
    Incarnation::new(number).ok_or_else(|| {
        Rejection::Malformed(format!("{field} must be the sender's incarnation, not 0"))
    })
}
