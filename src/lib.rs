//! An application server herd: every server knows the newest report of every
//! client, without a central database.
//!
//! Mobile clients say where they are (`IAMAT`) and ask what is near another
//! client (`WHATSAT`), at any server, in lines of text over TCP. Servers flood
//! what they learn to their neighbours over gRPC, go on when neighbours go down
//! and take them up again when they come back. `README.md` is for people who
//! run a herd; this page is the map for those who change it.
//!
//! # The idea
//!
//! All of replication is **one change feed for each server and one cursor for
//! each neighbour**. A report that wins against what a server holds gets the
//! server's next sequence number and stands at the end of its feed; the report
//! that it replaced leaves the feed. A link to a neighbour repeats one step for
//! ever: take what stands behind the neighbour's cursor, push it as one batch,
//! move the cursor on the acknowledgement. Flooding a fresh report, catching up
//! after an hour's partition and filling an empty newcomer are the same step.
//! There is no queue for a neighbour, so nothing can overflow or be lost in one.
//!
//! # Floors
//!
//! A file imports from its own folder and from lower floors, never up, and never
//! from another folder on its own floor; a test holds that.
//!
//! | floor | modules | |
//! |---|---|---|
//! | 7 | [`cli`], `main.rs` | what a person types: `up`, `serve`, `certs`, `check`, `bench`, and the questions of operators |
//! | 6 | [`config`], [`bench`](mod@bench) | `herd.toml` into settings that are already valid; a load, and what came of it |
//! | 5 | [`server`] | one herd server: binds, wires, spawns, drains |
//! | 4 | [`clients`], [`peers`], [`operators`], [`web`] | the text edge, the gRPC edge, what operators ask, and what monitoring reads |
//! | 3 | [`gateway`], [`sockets`] | what the edges of one server share |
//! | 2 | [`places`], [`log`], [`tls`], [`views`] | what is near; what is written down; who is who; what is worked out from reports |
//! | 1 | [`text`], [`herd`] | the line protocol, and replication, both pure |
//! | 0 | [`model`], [`proto`], [`measure`], `chance`, [`words`] | what a report is; the messages, generated; counters; numbers that nobody foresees; numbers for people |
//!
//! [`model`], [`text`], [`herd`] and [`views`] hold no socket, no clock, no random
//! source and no async: time and chance come in as arguments. So the whole
//! protocol of a herd runs in a test as a handful of values under a seeded
//! scheduler. Each folder owns the type of its settings; [`config`] fills them.
//!
//! # The way of one report
//!
//! ```text
//!   client                                                     neighbour
//!     │ bytes                                                      ▲ gRPC
//!     ▼                                                            │
//!   clients::session                                        peers::dial
//!     │ text::lines                                           peers::policy (tower)
//!     ▼                                                            │ peers::wire
//!   clients::desk                                             peers::link
//!     │ text::command                                              │ herd::outbox
//!     ▼                         wakes                              │
//!   gateway ───────────────────────────────────────────────────────┤
//!     │                                                            │
//!     ▼                                                            │
//!   herd::store ── wins? ──▶ herd::feed ── what is behind the cursor
//! ```
//!
//! The answer goes back from the store by [`line_protocol::reply`] to the session. At
//! the neighbour the push comes in at `peers::inbound`, goes through
//! [`replication::replica`] into the same store, and on only if it changed something:
//! that is how a flood ends.
//!
//! # Where to put your hands
//!
//! | to change | look at |
//! |---|---|
//! | what clients may say, and what they hear | [`text`], then `clients::desk` |
//! | which report wins | [`model::report`] (and read what that means for a herd of two versions) |
//! | what is sent to whom, and when it counts as there | [`herd`] |
//! | what is hidden and forgotten | [`replication::expiry`], `gateway::forgetting` |
//! | what a call to a server passes before it is answered | `peers::calls` |
//! | retries, time limits, backoff | `peers::policy` for one call, `peers::link` for a link; `places::google::http` for a call to Google |
//! | when clients wait for neighbours | `gateway::board`, `peers::progress`; `clients::session` is where they wait |
//! | a message between servers | `proto/`, then `peers::wire` |
//! | who answers what is near | [`places`] |
//! | what operators can ask | `proto/`, then [`operators`]; what is worked out for it, [`views`] |
//! | from where one may connect, and what one address may take | [`model::networks`], `net::gate`; `clients::guard`, `clients::addresses`, `clients::pace` |
//! | who is trusted, and may call what | [`tls`], `peers::admission`; `net::secure` and `peers::dial` for the two sides of a handshake, `tls::standing` for what comes after |
//! | who gives way to whom | `net::crowd` |
//! | a setting | its folder's `Settings`, [`config`], `config/herd.toml` |
//! | what a config that is read again changes | [`config`] (`reload`) for what it says, [`server`] (`change`, `links`) for what it does |
//! | what is logged | [`log`] |
//! | what is measured | [`measure`] and whoever counts, then `web::page`, `config/alerts.yml` and `config/grafana.json` |
//! | how the answers to operators are shown | `cli::query` |
//!
//! # What is promised
//!
//! On every connected topology, under any order of loss, delay, duplication,
//! restart and partition, with clocks as they may be and processes that stop or
//! die but do not lie:
//!
//! 1. **Convergence**: once links are up again and reports stop, all servers hold
//!    the same newest report of every client.
//! 2. **No loss while one lives**: an acknowledged report, or one that beats it,
//!    reaches every server that some running holder of it can reach.
//! 3. **No echo**: a report is not sent to a neighbour that sent it, unless that
//!    neighbour has restarted since.
//! 4. **Bounded memory**: a neighbour that is down costs nothing that grows.
//! 5. **Nobody waits for a slow neighbour**, neither clients nor other links. Only a
//!    server that is short of time itself lets clients wait for neighbours that lag:
//!    20 ms a read, and not for long (`target_lag`).
//! 6. **Strangers are turned away**, with words.
//!
//! Where `expire_after` is set, reports past it are hidden and, a day later,
//! forgotten ([`replication::expiry`]); promise 1 then is about all that is not.
//!
//! Not promised: a report whose only holder is killed before a neighbour had it
//! is gone; nothing is stored on disk. Under lasting overload of one link its
//! far side lags, and a client that reports more often than that lag is not
//! heard there until the load falls. A newcomer hears live reports behind its
//! backlog.
//!
//! # Who guards what
//!
//! The same promises are tested at four distances from the code: the pure rules
//! under a seeded scheduler (`tests/simulation`), whole servers on a simulated
//! network and in simulated time (`tests/turmoil`), herds in one process over
//! real gRPC (`tests/herd/herd.rs`, `tests/herd/links.rs`, `tests/herd/faults`), and processes
//! that are killed, stopped and cut off under load (`tests/herd/processes`).
//!
//! | promise | tests |
//! |---|---|
//! | 1 convergence | all four; `tests/herd/faults` fault by fault, `tests/herd/expiry.rs` for what is forgotten |
//! | 2 no loss while one lives | all four; `tests/cli/binary/stopping.rs` for a drain under load |
//! | 3 no echo | `tests/simulation` at every step, `tests/herd/links.rs` on the wire, `tests/herd/faults/twins.rs` for two processes of one name |
//! | 4 bounded memory | `tests/simulation` (feed entries), `tests/herd/faults/slow.rs` (an outage under load) |
//! | 5 nobody waits for a slow neighbour | `tests/herd/herd.rs`, and every scenario of `tests/herd/faults` and `tests/herd/processes` under load; when clients do, `clients::session`, `tests/herd/links.rs` |
//! | 6 strangers are turned away | `tests/security/strangers.rs`, `tests/security/attacks.rs`, `tests/security/tls`, `tests/security/refusals.rs`, `tests/security/fuzz` |
//! | 1 to 6 while links, members and limits change | `tests/simulation` for any schedule, `tests/herd/reload.rs` under load, `tests/cli/binary/reload.rs` by SIGHUP |
//! | secrets are written nowhere | `tests/security/tls/secrets.rs`, `tests/protocol/google/secrets.rs` |
//! | clients are let in as the config says, and take no more than it gives them | `tests/protocol/client_guard.rs`, `tests/security/tls/clients.rs`, `tests/operators/admin/networks.rs`; the rules in `model::networks`, `clients::pace` and `clients::addresses` |
//! | the line protocol, its limits | `tests/protocol/client_protocol.rs`, `tests/protocol/client_limits.rs`, `tests/cli/binary/crowds.rs`, `tests/security/fuzz` |
//! | what the bench says | `tests/cli/bench` |
//! | what operators are told | `tests/operators`; that all servers of a quiet herd have equal digests, by the simulation too |
//! | what the commands of operators say | `tests/cli/commands` |
//! | what monitoring reads, and what its rules and panels ask for | `tests/operators/admin` |

pub mod bench;
pub mod cli;
pub mod clients;
pub mod config;
pub mod format;
pub mod gateway;
pub mod line_protocol;
pub mod log;
pub mod metrics;
pub mod model;
pub mod net;
pub mod operators;
pub mod peers;
pub mod places;
pub mod proto;
pub mod queries;
mod random;
pub mod replication;
pub mod server;
pub mod tls;
pub mod web;
