//! A server of the herd, and calls to it: each has a time limit, each answer is checked.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::InvalidUri;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};
use tower::service_fn;

use crate::model::address::Address;
use crate::model::name::{Name, is_name};
use crate::net::{Dialer, Resolver, TcpDialer};
use crate::proto::operator_client::OperatorClient;
use crate::proto::{
    DigestRequest, DigestResponse, ExportRequest, GetStatusRequest, GetStatusResponse,
    ImportRequest, ImportResponse, ListClientsRequest, LocateRequest, NearbyRequest, PushFrame,
    WatchRequest, WatchResponse, as_seconds,
};
use crate::tls::{Credentials, Subject};

use super::error::QueryError;
use super::probe;
use super::reports::HeldReport;

/// Maximum size of an answer: 10,000 of the longest reports.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Silence on a connection before a ping, which finds a server that hangs during a watch.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// The identity that the config gives a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) herd: Name,
    pub(crate) name: Name,
}

/// A server that is queried. Cheap to clone; dials at the first call, and again after
/// the connection was lost.
#[derive(Clone, Debug)]
pub(crate) struct RemoteServer {
    address: Address,
    identity: Option<Identity>,
    /// The servers that it has links with by the config.
    neighbours: Vec<Name>,
    limit: Duration,
    tcp: TcpDialer,
    client: OperatorClient<Channel>,
}

/// The report that a server holds of a client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LocatedReport {
    pub(crate) held: HeldReport,
    /// Age by the server's clock. Negative if the client's clock is ahead.
    pub(crate) age_seconds: f64,
}

/// The report of a client near a point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NearbyReport {
    pub(crate) held: HeldReport,
    pub(crate) distance_meters: f64,
}

/// A page of reports.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReportPage {
    pub(crate) reports: Vec<HeldReport>,
    /// Token of the next page; empty on the last one.
    pub(crate) next_page_token: String,
}

impl RemoteServer {
    /// A server whose calls fail after `limit`. Uses TLS if there are `credentials` and
    /// an identity. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// As [`Dialer::origin`].
    pub(crate) fn dial(
        address: &Address,
        resolver: &Resolver,
        identity: Option<Identity>,
        credentials: Option<&Arc<Credentials>>,
        limit: Duration,
    ) -> Result<Self, InvalidUri> {
        let tcp = TcpDialer::new(address, resolver);
        let dialer = match (&identity, credentials) {
            (Some(Identity { name, herd }), Some(credentials)) => {
                Dialer::tls(tcp.clone(), credentials, &Subject::server(name, herd))
            }
            _ => Dialer::tcp(tcp.clone()),
        };
        let channel = channel(dialer, limit)?;
        let client = OperatorClient::new(channel);
        Ok(Self {
            address: address.clone(),
            identity,
            neighbours: Vec::new(),
            limit,
            tcp,
            client: client.max_decoding_message_size(MAX_ANSWER_BYTES),
        })
    }

    /// Sets the servers that it has links with by the config.
    pub(crate) fn with_neighbours(self, neighbours: Vec<Name>) -> Self {
        Self { neighbours, ..self }
    }

    /// Returns the servers that it has links with by the config, none without a config.
    pub(crate) fn neighbours(&self) -> &[Name] {
        &self.neighbours
    }

    /// Its name, or its address if no config names it.
    pub(crate) fn title(&self) -> String {
        match &self.identity {
            Some(identity) => identity.name.to_string(),
            None => self.address.to_string(),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Returns its status.
    ///
    /// # Errors
    ///
    /// Fails also if the server has another identity than the config says.
    pub(crate) async fn status(&self) -> Result<GetStatusResponse, QueryError> {
        let mut client = self.client.clone();
        let status = self.limited(client.get_status(GetStatusRequest {})).await?;
        self.check_identity(&status)?;
        Ok(status)
    }

    fn check_identity(&self, status: &GetStatusResponse) -> Result<(), QueryError> {
        let GetStatusResponse { name, herd, .. } = status;
        if !is_name(name.as_bytes()) || !is_name(herd.as_bytes()) {
            return Err(QueryError::Invalid(
                "the server has no valid name".to_owned(),
            ));
        }
        match &self.identity {
            Some(own) if own.name.as_str() != name || own.herd.as_str() != herd => {
                Err(QueryError::OtherServer {
                    name: name.clone(),
                    herd: herd.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Returns the report of a client, if the server has the identity that the config says.
    pub(crate) async fn locate_checked(&self, client: &str) -> Result<LocatedReport, QueryError> {
        let (status, located) = tokio::join!(self.status(), self.locate(client));
        status.and(located)
    }

    /// Returns the report of a client.
    pub(crate) async fn locate(&self, client: &str) -> Result<LocatedReport, QueryError> {
        let request = LocateRequest {
            client: client.to_owned(),
        };
        let mut operator = self.client.clone();
        let answer = self.limited(operator.locate(request)).await?;
        let held = HeldReport::check(answer.known)?;
        if held.report.client() != client {
            return Err(QueryError::Invalid("a report of another client".to_owned()));
        }
        let age_seconds = answer.age.as_ref().map_or(0.0, as_seconds);
        Ok(LocatedReport { held, age_seconds })
    }

    /// Returns the reports near a center, nearest first.
    pub(crate) async fn nearby(
        &self,
        request: NearbyRequest,
    ) -> Result<Vec<NearbyReport>, QueryError> {
        let mut client = self.client.clone();
        let answer = self.limited(client.nearby(request)).await?;
        let near = answer.clients.into_iter().map(|near| {
            Ok(NearbyReport {
                held: HeldReport::check(near.known)?,
                distance_meters: near.distance_meters,
            })
        });
        near.collect()
    }

    /// Returns the range digests of its reports.
    pub(crate) async fn digest(
        &self,
        request: DigestRequest,
    ) -> Result<DigestResponse, QueryError> {
        let mut client = self.client.clone();
        self.limited(client.digest(request)).await
    }

    /// Returns a page of its reports.
    pub(crate) async fn list(&self, request: ListClientsRequest) -> Result<ReportPage, QueryError> {
        let mut client = self.client.clone();
        let answer = self.limited(client.list_clients(request)).await?;
        let reports = answer
            .clients
            .into_iter()
            .map(|known| HeldReport::check(Some(known)));
        Ok(ReportPage {
            reports: reports.collect::<Result<_, _>>()?,
            next_page_token: answer.next_page_token,
        })
    }

    /// Starts a stream of the reports that it accepts.
    pub(crate) async fn watch(
        &self,
        request: WatchRequest,
    ) -> Result<Streaming<WatchResponse>, QueryError> {
        let mut client = self.client.clone();
        self.limited(client.watch(request)).await
    }

    /// Replaces a failed conversation by what listens at the address, if that is no peer port.
    async fn explain(&self, error: QueryError) -> QueryError {
        let is_unreachable = matches!(error, QueryError::Unreachable(_));
        match is_unreachable.then(|| probe::what_listens(&self.tcp, self.limit)) {
            Some(probing) => probing.await.map_or(error, QueryError::WrongPort),
            None => error,
        }
    }

    /// Starts a stream of all its reports.
    pub(crate) async fn export(&self) -> Result<Streaming<PushFrame>, QueryError> {
        let mut client = self.client.clone();
        self.limited(client.export(ExportRequest {})).await
    }

    /// Merges reports into it.
    pub(crate) async fn import(
        &self,
        request: ImportRequest,
    ) -> Result<ImportResponse, QueryError> {
        let mut client = self.client.clone();
        self.limited(client.import(request)).await
    }

    async fn limited<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, QueryError> {
        match timeout(self.limit, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.explain(status.into()).await),
            Err(_) => Err(QueryError::Timeout(self.limit)),
        }
    }
}

/// Returns a channel that dials at its first call. A dial ends before `limit`, which is the call's
/// own, so that the call fails with the causes of the dial.
fn channel(dialer: Dialer, limit: Duration) -> Result<Channel, InvalidUri> {
    let endpoint = Endpoint::from(dialer.origin()?)
        .user_agent(concat!("proxyherd/", env!("CARGO_PKG_VERSION")))
        .expect("the name of this program is a header value")
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(limit)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    let connector = service_fn(move |_: Uri| {
        let dialer = dialer.clone();
        async move {
            let stream = dialer.connect(limit * 9 / 10, pending()).await?;
            std::io::Result::Ok(TokioIo::new(stream))
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}
