//! The other servers of the herd, as this one sees them.
//!
//! A server asks the `Operator` services of the others, with its own certificate, and itself
//! without a call. Each call has a time limit, and its failure is part of the answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::gateway::{Gateway, Member, StatusSource, age, known_report};
use crate::model::client::ClientId;
use crate::net::Resolver;
use crate::operator_client::{
    HeldReport, Identity, Located, LocatedReport, QueryError, RemoteServer, StatusRound, query_all,
};
use crate::proto::time::timestamp;
use crate::proto::{as_seconds, rfc3339};
use crate::tls::Credentials;

use super::problem::Problem;

/// Time limit of the answer of another server.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(2);

/// Time for which the answers of other servers are kept: each is asked at most once in it, whoever
/// calls.
const MAX_ROUND_AGE: Duration = Duration::from_secs(1);

/// How a server reaches the others of its herd.
#[derive(Clone, Debug)]
pub struct Dialling {
    /// The addresses of host names.
    pub resolver: Resolver,
    /// The certificate of this server, if servers use TLS.
    pub credentials: Option<Arc<Credentials>>,
}

/// The servers of the herd as this one sees them.
pub(super) struct HerdView {
    source: StatusSource,
    dialling: Dialling,
    /// Held while servers are asked, so that calls that come together share the answers.
    asked: Mutex<Asked>,
}

/// The servers that were dialled, and their last answers.
#[derive(Default)]
struct Asked {
    members: Vec<Member>,
    servers: Vec<RemoteServer>,
    round: Option<Arc<HerdRound>>,
}

/// The status of every server, at one time.
pub(super) struct HerdRound {
    /// Time at which the servers were asked, by RFC 3339.
    pub(super) asked_at: String,
    /// The servers, as the config describes them.
    pub(super) members: Vec<Member>,
    /// Their status, in the same order.
    pub(super) statuses: StatusRound,
}

impl HerdView {
    pub(super) fn new(source: StatusSource, dialling: Dialling) -> Self {
        Self {
            source,
            dialling,
            asked: Mutex::default(),
        }
    }

    fn gateway(&self) -> &Arc<Gateway> {
        self.source.gateway()
    }

    /// Returns the status of every server, at most a second old.
    pub(super) async fn round(&self) -> Result<Arc<HerdRound>, Problem> {
        let mut asked = self.dialled().await?;
        if let Some(round) = &asked.round
            && round.statuses.at.elapsed() < MAX_ROUND_AGE
        {
            return Ok(round.clone());
        }
        let (at, asked_at) = (Instant::now(), self.now());
        let ask = |server: RemoteServer| async move { server.status().await };
        let answers = self.ask(&asked.servers, || Ok(self.source.read()), ask);
        let round = Arc::new(HerdRound {
            asked_at,
            members: asked.members.clone(),
            statuses: StatusRound::of(at, answers.await),
        });
        asked.round = Some(round.clone());
        Ok(round)
    }

    /// Returns the report of a client at every server.
    pub(super) async fn locate(&self, client: &str) -> Result<Located, Problem> {
        let servers = self.dialled().await?.servers.clone();
        let ask = |server: RemoteServer| {
            let client = client.to_owned();
            async move { server.locate_checked(&client).await }
        };
        let answers = self.ask(&servers, || self.locate_here(client), ask).await;
        Ok(Located::of(client.to_owned(), answers))
    }

    fn locate_here(&self, client: &str) -> Result<LocatedReport, QueryError> {
        let gateway = self.gateway();
        let (replica, now) = (gateway.replica(), gateway.clock().now());
        let id = ClientId::parse(client.as_bytes()).ok_or(QueryError::UnknownClient)?;
        let found = replica.store().inspect(id, |stored| {
            let is_expired = replica.is_expired(stored.report.order_time(), now);
            let age = as_seconds(&age(stored.report.time, now));
            (!is_expired).then(|| (known_report(replica, &stored), age))
        });
        let (known, age_seconds) = found.flatten().ok_or(QueryError::UnknownClient)?;
        let held = HeldReport::check(Some(known))?;
        Ok(LocatedReport { held, age_seconds })
    }

    /// Asks all servers at once, this one by `here`. Returns the answers in the servers' order.
    async fn ask<'a, T, F>(
        &self,
        servers: &'a [RemoteServer],
        here: impl FnOnce() -> Result<T, QueryError>,
        ask: impl Fn(RemoteServer) -> F,
    ) -> Vec<(&'a RemoteServer, Result<T, QueryError>)>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, QueryError>> + Send + 'static,
    {
        let name = self.gateway().replica().name().as_str();
        let is_other = |server: &&RemoteServer| server.title() != name;
        let others: Vec<RemoteServer> = servers.iter().filter(is_other).cloned().collect();
        let mut answers = query_all(&others, ask).await.into_iter();
        let mut here = Some(here);
        let answer = |server: &'a RemoteServer| {
            let answer = match here.take_if(|_| !is_other(&server)) {
                Some(here) => here(),
                None => answers.next()?,
            };
            Some((server, answer))
        };
        servers.iter().filter_map(answer).collect()
    }

    /// Returns the servers, dialled anew if the config has changed.
    async fn dialled(&self) -> Result<MutexGuard<'_, Asked>, Problem> {
        let mut asked = self.asked.lock().await;
        let settings = self.gateway().settings();
        if asked.members != settings.members {
            let dialled = settings.members.iter().map(|member| self.dial(member));
            let servers = dialled.collect::<Option<_>>();
            *asked = Asked {
                members: settings.members.clone(),
                servers: servers.ok_or_else(Problem::internal)?,
                round: None,
            };
        }
        Ok(asked)
    }

    fn dial(&self, member: &Member) -> Option<RemoteServer> {
        let Dialling {
            resolver,
            credentials,
        } = &self.dialling;
        let identity = Identity {
            herd: self.gateway().replica().herd().clone(),
            name: member.name.clone(),
        };
        let credentials = credentials.as_ref();
        let dialled = RemoteServer::dial(
            &member.peers,
            resolver,
            Some(identity),
            credentials,
            MAX_ANSWER_TIME,
        );
        let neighbours = member.neighbours.clone();
        dialled
            .ok()
            .map(|server| server.with_neighbours(neighbours))
    }

    /// Returns the time of this server by RFC 3339.
    pub(super) fn now(&self) -> String {
        rfc3339(&timestamp(self.gateway().clock().now().0))
    }
}

impl fmt::Debug for HerdView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HerdView").field(&self.dialling).finish()
    }
}
