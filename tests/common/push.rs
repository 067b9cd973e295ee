//! A push that prost encodes and decodes, which proxyherd itself never does.

use prost::Message;
use proxyherd::proto::{PushFrame, Report};

/// `proxyherd.v1.PushRequest`, and one field that it does not have.
#[derive(Clone, PartialEq, Message)]
pub struct PushRequest {
    #[prost(string, tag = "1")]
    pub herd: String,
    #[prost(string, tag = "2")]
    pub sender: String,
    #[prost(fixed64, tag = "3")]
    pub sender_incarnation: u64,
    #[prost(fixed64, tag = "4")]
    pub receiver_incarnation: u64,
    #[prost(uint64, tag = "5")]
    pub from_sequence: u64,
    #[prost(uint64, tag = "6")]
    pub to_sequence: u64,
    #[prost(message, repeated, tag = "7")]
    pub reports: Vec<Report>,
    /// A field as of a later minor version, which receivers skip. Absent if empty.
    #[prost(bytes = "vec", tag = "100")]
    pub padding: Vec<u8>,
}

impl PushRequest {
    pub fn frame(&self) -> PushFrame {
        PushFrame(self.encode_to_vec().into())
    }

    /// Pads the whole message to this size.
    pub fn padded_to(mut self, bytes: usize) -> Self {
        self.padding = vec![0; bytes];
        let excess = self.encoded_len() - bytes;
        self.padding.truncate(bytes - excess);
        // A shorter padding may have a shorter length in front of it.
        let missing = bytes - self.encoded_len();
        self.padding.resize(self.padding.len() + missing, 0);
        assert_eq!(self.encoded_len(), bytes);
        self
    }
}

/// Returns a valid report, with an origin that is in no config.
pub fn report(client: &str, position: &str, time: &str) -> Report {
    Report {
        client: client.to_owned(),
        position: position.to_owned(),
        time: time.to_owned(),
        origin: "Elsewhere".to_owned(),
        skew_nanos: 5,
    }
}
