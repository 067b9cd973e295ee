//! The status of all servers.

use tokio::time::Instant;

use crate::model::name::Name;
use crate::proto::GetStatusResponse;

use super::error::QueryError;
use super::fan_out::query_all;
use super::remote_server::RemoteServer;

/// The status of a server, or the reason why there is none.
pub(crate) type StatusResult = Result<GetStatusResponse, QueryError>;

/// The answers of all servers to one query.
pub(crate) struct StatusRound {
    pub(crate) at: Instant,
    pub(crate) servers: Vec<ServerStatus>,
}

/// The answer of one server.
pub(crate) struct ServerStatus {
    pub(crate) title: String,
    pub(crate) address: String,
    /// The servers that it has links with by the config.
    pub(crate) neighbours: Vec<Name>,
    pub(crate) result: StatusResult,
}

/// Queries the status of all servers.
pub(crate) async fn statuses(servers: &[RemoteServer]) -> Vec<StatusResult> {
    query_all(servers, |server| async move { server.status().await }).await
}

impl StatusRound {
    /// Queries all servers at once.
    pub(crate) async fn query(servers: &[RemoteServer]) -> Self {
        let results = statuses(servers).await;
        Self::of(Instant::now(), servers.iter().zip(results))
    }

    /// Collects the answers of servers, of the time `at`.
    pub(crate) fn of<'a>(
        at: Instant,
        answers: impl IntoIterator<Item = (&'a RemoteServer, StatusResult)>,
    ) -> Self {
        let status = |(server, result): (&RemoteServer, _)| ServerStatus {
            title: server.title(),
            address: server.address().to_string(),
            neighbours: server.neighbours().to_vec(),
            result,
        };
        Self {
            at,
            servers: answers.into_iter().map(status).collect(),
        }
    }

    /// The status of each server that answered.
    pub(crate) fn answered(&self) -> impl Iterator<Item = &GetStatusResponse> + Clone {
        self.servers
            .iter()
            .filter_map(|server| server.result.as_ref().ok())
    }
}

/// Returns the different values in order.
pub(crate) fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut values: Vec<String> = values.collect();
    values.sort();
    values.dedup();
    values
}
