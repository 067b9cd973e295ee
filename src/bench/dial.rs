//! Connections to servers.

use std::net::TcpStream;
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio_util::sync::CancellationToken;

use crate::model::address::Address;
use crate::net::{Resolver, TcpDialer};

use super::error::BenchError;
use super::run_state::RunState;

/// Dials servers, one connection at a time.
pub(super) struct Connector {
    runtime: Runtime,
    timeout: Duration,
    dialers: Vec<TcpDialer>,
    stopped: CancellationToken,
}

impl Connector {
    /// Returns a connector to `servers`. A connection fails after `timeout` nanoseconds, also
    /// while the name of a server is not resolved, and when the run is stopped.
    pub(super) fn new(
        servers: &[Address],
        timeout: u64,
        run: &RunState,
    ) -> Result<Self, BenchError> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let resolver = Resolver::system();
        let dialer = |server| TcpDialer::new(server, &resolver);
        Ok(Self {
            runtime,
            timeout: Duration::from_nanos(timeout),
            dialers: servers.iter().map(dialer).collect(),
            stopped: run.stopped().clone(),
        })
    }

    /// Connects to the server with this index. The socket is nonblocking.
    pub(super) fn connect(&self, server: usize) -> Result<TcpStream, BenchError> {
        let dialer = &self.dialers[server];
        let connecting = async {
            let (stream, trial) = dialer.connect(self.timeout).await?;
            trial.succeed();
            stream.into_std()
        };
        let connected = self.stopped.run_until_cancelled(connecting);
        self.runtime
            .block_on(connected)
            .ok_or(BenchError::Stopped)?
            .map_err(|error| BenchError::Connect {
                server: dialer.address().clone(),
                error,
            })
    }
}
