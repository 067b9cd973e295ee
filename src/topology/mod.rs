//! Topologies of a herd: what the graph of its links costs and survives, and graphs that survive
//! much and cost little.
//!
//! Only the graph counts here: servers are numbers, and a link joins two of them. By Menger's
//! theorem (1927) no loss of `k` servers splits a graph if and only if every two servers without
//! a link are joined by `k + 1` paths that share no server in between. Harary ("The maximum
//! connectivity of a graph", 1962) gives such graphs with the fewest links possible, and they
//! have long ways. Exchanges of links keep the number of links of each server and shorten the
//! ways: almost every regular graph has the same connectivity (Wormald, 1981) and a diameter near
//! the least one (Bollobas and Fernandez de la Vega, 1982). Each exchange is checked, so that no
//! result rests on "almost".
//!
//! | file | contents |
//! |---|---|
//! | `graph` | servers, links, hops and parts |
//! | `connectivity` | the fewest servers whose loss splits a graph |
//! | `figures` | what a graph costs and survives |
//! | `design` | graphs that survive the loss of any `k` servers |
//!
//! This folder computes in memory only. Its random choices follow from a fixed seed, so that the
//! same request gives the same graph.
//!
//! petgraph has flows and is not used: a check of a graph by its `dinics` takes 8 times as long for
//! 12 and 100 servers, and 12 times for 1,000 (measured), since it cannot stop at `k + 1` paths. A
//! design makes thousands of checks.

mod connectivity;
mod design;
mod figures;
mod graph;

pub use connectivity::splitting_loss;
pub use design::design;
pub use figures::{Figures, WeakPoints};
pub use graph::{Graph, Hops};

/// Maximum number of lost servers that designs plan for and figures distinguish. More of them at
/// once is a disaster that no choice of links helps with.
pub const MAX_SURVIVED: usize = 8;
