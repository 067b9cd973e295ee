//! One server, and the calls to it: each with a time limit, each answer checked.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};
use tower::service_fn;

use crate::model::address::Address;
use crate::model::name::{Name, is_name};
use crate::peers::tls_stream;
use crate::proto::operator_client::OperatorClient;
use crate::proto::{
    DigestRequest, DigestResponse, GetStatusRequest, GetStatusResponse, ListClientsRequest,
    LocateRequest, NearbyRequest, WatchRequest, WatchResponse,
};
use crate::tls::{Credentials, Subject};

use super::failure::Failure;
use super::known::Known;
use super::outcome::CommandError;

/// Largest answer, in bytes: 10,000 of the longest reports.
const MAX_ANSWER: usize = 16 << 20;

/// Silence on a connection before a ping: finds a server that went silent while
/// it is watched.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Who a server should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) herd: Name,
    pub(super) name: Name,
}

/// A server that is asked. Cheap to clone; dials at the first call, and again
/// whenever the connection was lost.
#[derive(Clone, Debug)]
pub(super) struct Server {
    address: Address,
    identity: Option<Identity>,
    limit: Duration,
    client: OperatorClient<Channel>,
}

/// What a server knows of a client, and how old that is by its clock.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Located {
    pub(super) known: Known,
    /// In seconds; negative where the client's clock is ahead.
    pub(super) age: f64,
}

/// A client that is near.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Near {
    pub(super) known: Known,
    /// In metres.
    pub(super) distance: f64,
}

/// A page of clients.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Page {
    pub(super) clients: Vec<Known>,
    /// Empty on the last one.
    pub(super) next: String,
}

impl Server {
    /// A server that answers each call within `limit`, or counts as silent; by
    /// TLS where there are `credentials` and it is known who it should be. Must be called within a runtime.
    pub(super) fn dial(
        address: &Address,
        identity: Option<Identity>,
        credentials: Option<&Arc<Credentials>>,
        limit: Duration,
    ) -> Result<Self, CommandError> {
        let endpoint = endpoint(address, limit).map_err(CommandError::mistake)?;
        let channel = match (&identity, credentials) {
            (Some(Identity { name, herd }), Some(credentials)) => {
                secure_channel(&endpoint, address, credentials, Subject::server(name, herd))
            }
            _ => endpoint.connect_lazy(),
        };
        let client = OperatorClient::new(channel);
        Ok(Self {
            address: address.clone(),
            identity,
            limit,
            client: client.max_decoding_message_size(MAX_ANSWER),
        })
    }

    /// What to call it: its name, or its address where no config names it.
    pub(super) fn title(&self) -> String {
        match &self.identity {
            Some(identity) => identity.name.to_string(),
            None => self.address.to_string(),
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// How it is. Fails where it is not the server that it should be.
    pub(super) async fn status(&self) -> Result<GetStatusResponse, Failure> {
        let mut client = self.client.clone();
        let status = self.limited(client.get_status(GetStatusRequest {})).await?;
        self.check_identity(&status)?;
        Ok(status)
    }

    fn check_identity(&self, status: &GetStatusResponse) -> Result<(), Failure> {
        let GetStatusResponse { name, herd, .. } = status;
        if !is_name(name.as_bytes()) || !is_name(herd.as_bytes()) {
            return Err(Failure::Nonsense("it has no valid name".to_owned()));
        }
        match &self.identity {
            Some(own) if own.name.as_str() != name || own.herd.as_str() != herd => {
                Err(Failure::SomebodyElse(name.clone(), herd.clone()))
            }
            _ => Ok(()),
        }
    }

    /// What it knows of a client.
    pub(super) async fn locate(&self, client: &str) -> Result<Located, Failure> {
        let request = LocateRequest {
            client: client.to_owned(),
        };
        let mut operator = self.client.clone();
        let answer = self.limited(operator.locate(request)).await?;
        let known = Known::read(answer.known)?;
        if known.report.client != client {
            return Err(Failure::Nonsense("it is of another client".to_owned()));
        }
        let age = answer.age.as_ref().map_or(0.0, super::messages::seconds);
        Ok(Located { known, age })
    }

    /// Clients that are near, nearest first.
    pub(super) async fn nearby(&self, request: NearbyRequest) -> Result<Vec<Near>, Failure> {
        let mut client = self.client.clone();
        let answer = self.limited(client.nearby(request)).await?;
        let near = answer.clients.into_iter().map(|near| {
            let known = Known::read(near.known)?;
            let distance = near.distance_meters;
            Ok(Near { known, distance })
        });
        near.collect()
    }

    /// Sums over its reports: exactly the buckets that were asked for.
    pub(super) async fn digest(&self, request: DigestRequest) -> Result<DigestResponse, Failure> {
        let mut client = self.client.clone();
        self.limited(client.digest(request)).await
    }

    /// A page of the clients that it knows.
    pub(super) async fn list(&self, request: ListClientsRequest) -> Result<Page, Failure> {
        let mut client = self.client.clone();
        let answer = self.limited(client.list_clients(request)).await?;
        let known = answer
            .clients
            .into_iter()
            .map(|known| Known::read(Some(known)));
        Ok(Page {
            clients: known.collect::<Result<_, _>>()?,
            next: answer.next_page_token,
        })
    }

    /// The reports that win on it from now on.
    pub(super) async fn watch(
        &self,
        request: WatchRequest,
    ) -> Result<Streaming<WatchResponse>, Failure> {
        let mut client = self.client.clone();
        self.limited(client.watch(request)).await
    }

    async fn limited<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match timeout(self.limit, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Failure::of(&status)),
            Err(_) => Err(Failure::Silent(self.limit)),
        }
    }
}

/// A channel by TLS to the server `targets`, and to no other.
fn secure_channel(
    endpoint: &Endpoint,
    address: &Address,
    credentials: &Arc<Credentials>,
    whom: Subject,
) -> Channel {
    let (address, credentials) = (address.clone(), credentials.clone());
    let endpoint = match format!("https://{whom}").parse() {
        Ok(origin) => endpoint.clone().origin(origin),
        Err(_) => endpoint.clone(),
    };
    endpoint.connect_with_connector_lazy(service_fn(move |_| {
        let (address, credentials, whom) = (address.clone(), credentials.clone(), whom.clone());
        async move {
            let stream = tls_stream(&address, &credentials, &whom).await?;
            std::io::Result::Ok(TokioIo::new(stream))
        }
    }))
}

fn endpoint(address: &Address, limit: Duration) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .user_agent(concat!("proxyherd/", env!("CARGO_PKG_VERSION")))?
        // The call's own limit passes first, and has the better words.
        .connect_timeout(limit + Duration::from_millis(500))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(limit)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    Ok(endpoint)
}
