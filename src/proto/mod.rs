//! The messages and services of `proto/`, as Rust: generated code, and the one
//! message that stays bytes.
//!
//! Nothing here knows what a message means. `peers::wire` turns messages into
//! model types and back, and nobody else does.

mod codec;
mod push;

pub use codec::Codec;
pub use push::PushFrame;

#[allow(missing_docs, unreachable_pub, clippy::all)] // Generated; documented in proto/.
mod generated {
    tonic::include_proto!("proxyherd.v1");
}

pub use generated::{
    GreetRequest, GreetResponse, PushResponse, Report, propagate_client, propagate_server,
};

/// All of `proto/` compiled, comments included: what reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/proxyherd.bin"));
