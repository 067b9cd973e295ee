//! Herds over real gRPC and real processes: replication, links and their faults.

// A test may panic.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod acknowledge;
mod anti_entropy;
mod dialling;
mod durability;
mod expiry;
mod faults;
mod herd;
mod leaps;
mod links;
mod load;
mod policy;
mod power_cut;
mod processes;
mod progress;
mod reload;
mod storage;
mod testkit;
