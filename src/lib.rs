//! proxyherd.
pub mod cli;
pub mod clients;
pub mod config;
pub mod gateway;
pub mod herd;
pub mod log;
pub mod model;
pub mod peers;
pub mod places;
pub mod proto;
pub mod server;
pub mod sockets;
pub mod text;
