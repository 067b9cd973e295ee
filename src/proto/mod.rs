//! The messages and services of `proto/`, as Rust: generated code, and the one
//! message that stays bytes.
//!
//! Nothing here knows what a message means. `peers::wire` turns messages of
//! servers into model types and back, `operators::wire` those of operators, and
//! nobody else does.

mod codec;
mod json;
mod push;

pub use codec::Codec;
pub use json::{as_seconds, rfc3339};
pub use push::PushFrame;

#[allow(missing_docs, unreachable_pub, clippy::all)] // Generated; documented in proto/.
mod generated {
    tonic::include_proto!("proxyherd.v1");
}

pub use generated::{
    Bucket, Circle, ClientStatus, ConfigStatus, DigestRequest, DigestResponse, GetStatusRequest,
    GetStatusResponse, GreetRequest, GreetResponse, KnownReport, LinkStatus, ListClientsRequest,
    ListClientsResponse, LocateRequest, LocateResponse, NearbyClient, NearbyRequest,
    NearbyResponse, PlacesStatus, Point, PushResponse, RefusedConnections, Report, Resume,
    WatchRequest, WatchResponse, nearby_request, operator_client, operator_server,
    propagate_client, propagate_server, watch_request,
};

/// The path of the call that hands over a batch.
pub const PUSH: &str = "/proxyherd.v1.Propagate/Push";

/// All of `proto/` compiled, comments included: what reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/proxyherd.bin"));
