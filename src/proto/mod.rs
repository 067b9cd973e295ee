//! The messages and services of `proto/` in Rust: generated code, and one message that stays
//! encoded.
//!
//! The meaning of a message is decided elsewhere: `wire` converts messages of servers to
//! model types and back, and `operators::wire` those of operators.

mod codec;
mod json;
mod push;
pub mod time;

pub use codec::Codec;
pub use json::{as_seconds, rfc3339};
pub use push::PushFrame;

#[allow(missing_docs, unreachable_pub, clippy::all)] // Generated; documented in proto/.
mod generated {
    tonic::include_proto!("proxyherd.v1");
}

pub use generated::{
    Acknowledgement, Bucket, Circle, ClientLines, ConfigStatus, DigestRequest, DigestResponse,
    ExportRequest, GetStatusRequest, GetStatusResponse, GreetRequest, GreetResponse, HashRange,
    ImportRequest, ImportResponse, KnownReport, LinkStatus, ListClientsRequest,
    ListClientsResponse, LocateRequest, LocateResponse, NearbyClient, NearbyRequest,
    NearbyResponse, NeighbourProgress, PlacesStatus, Point, PushMark, PushResponse, RecoveryStatus,
    RejectedCalls, RejectedConnections, RejectedWebCalls, Report, Resume, StorageFacts,
    StorageHeader, StorageStatus, VectorEntry, WatchRequest, WatchResponse, nearby_request,
    operator_client, operator_server, propagate_client, propagate_server, watch_request,
};

/// The compiled `proto/` with its comments, as server reflection returns it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/proxyherd.bin"));
