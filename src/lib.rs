#![doc = include_str!("../docs/architecture.md")]

pub mod bench;
mod cause;
pub mod cli;
pub mod clients;
pub mod config;
pub mod format;
pub mod gateway;
pub mod line_protocol;
mod lock;
pub mod log;
pub mod metrics;
pub mod model;
pub mod net;
pub mod operators;
mod output;
pub mod peers;
pub mod places;
pub mod proto;
pub mod queries;
mod random;
pub mod replication;
pub mod server;
mod signals;
mod table;
mod threads;
pub mod tls;
pub mod web;
