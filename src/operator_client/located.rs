//! The reports that all servers hold of one client, and whether they agree.

use serde::Serialize;

use super::error::QueryError;
use super::fan_out::query_all;
use super::remote_server::{LocatedReport, RemoteServer};
use super::reports::{CheckedReport, HeldReport};

/// The answers of all servers.
pub(crate) struct Located {
    /// The client.
    pub(crate) client: String,
    /// Servers with a report.
    pub(crate) holders: Vec<(RemoteServer, LocatedReport)>,
    /// Servers without a report.
    pub(crate) without: Vec<RemoteServer>,
    /// Servers without an answer.
    pub(crate) errors: Vec<(RemoteServer, QueryError)>,
}

impl Located {
    /// Queries all servers at once.
    pub(crate) async fn query(servers: &[RemoteServer], client: String) -> Self {
        let answers = query_all(servers, |server| {
            let client = client.clone();
            async move { server.locate_checked(&client).await }
        })
        .await;
        Self::of(client, servers.iter().zip(answers))
    }

    /// Collects the answers of servers.
    pub(crate) fn of<'a>(
        client: String,
        answers: impl IntoIterator<Item = (&'a RemoteServer, Result<LocatedReport, QueryError>)>,
    ) -> Self {
        let mut located = Self {
            client,
            holders: Vec::new(),
            without: Vec::new(),
            errors: Vec::new(),
        };
        for (server, answer) in answers {
            let server = server.clone();
            match answer {
                Ok(report) => located.holders.push((server, report)),
                Err(QueryError::UnknownClient) => located.without.push(server),
                Err(error) => located.errors.push((server, error)),
            }
        }
        located
    }

    /// True if all servers that answered hold the same report.
    pub(crate) fn agree(&self) -> bool {
        self.reports().len() == 1 && self.without.is_empty()
    }

    /// The different reports, newest first.
    pub(crate) fn reports(&self) -> Vec<&CheckedReport> {
        let holders = self.holders.iter();
        let mut reports: Vec<_> = holders.map(|(_, located)| &located.held.report).collect();
        reports.sort_by(|one, other| other.compare(one));
        reports.dedup();
        reports
    }

    /// Returns its form in JSON.
    pub(crate) fn json(&self) -> LocatedJson<'_> {
        let held = self.holders.iter().map(|(server, located)| HolderJson {
            server: server.title(),
            age_seconds: located.age_seconds,
            report: &located.held,
        });
        LocatedJson {
            client: &self.client,
            agree: self.agree(),
            newest: self.reports().first().copied(),
            held: held.collect(),
            unknown_to: self.without.iter().map(RemoteServer::title).collect(),
            errors: errors(&self.errors),
        }
    }
}

/// The reports of one client in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct LocatedJson<'a> {
    client: &'a str,
    /// True if all servers that answered hold the same report.
    agree: bool,
    newest: Option<&'a CheckedReport>,
    held: Vec<HolderJson<'a>>,
    unknown_to: Vec<String>,
    errors: Vec<ServerError<'a>>,
}

#[derive(Debug, Serialize)]
struct HolderJson<'a> {
    server: String,
    age_seconds: f64,
    #[serde(flatten)]
    report: &'a HeldReport,
}

/// A server without an answer.
#[derive(Debug, Serialize)]
pub(crate) struct ServerError<'a> {
    server: String,
    address: String,
    error: &'a QueryError,
}

/// Returns the servers without an answer.
pub(crate) fn errors(errors: &[(RemoteServer, QueryError)]) -> Vec<ServerError<'_>> {
    let errors = errors.iter().map(|(server, error)| ServerError {
        server: server.title(),
        address: server.address().to_string(),
        error,
    });
    errors.collect()
}
