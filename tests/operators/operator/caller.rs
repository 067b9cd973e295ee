//! A caller of the `Operator` service.

use std::time::Duration;

use proxyherd::proto::operator_client::OperatorClient;
use proxyherd::proto::{
    Bucket, DigestRequest, DigestResponse, GetStatusRequest, GetStatusResponse, LinkStatus,
    ListClientsRequest, ListClientsResponse, LocateRequest, LocateResponse, NearbyClient,
    NearbyRequest, WatchRequest, WatchResponse,
};
use tonic::{Status, Streaming};

use super::{hash_ranges, place_of};
use crate::common::{Herd, PeerClient};

/// A caller of one server.
pub(crate) struct Operator {
    pub(crate) caller: PeerClient,
    pub(crate) client: OperatorClient<tonic::transport::Channel>,
}

impl Operator {
    pub(crate) fn of(herd: &Herd, server: &str) -> Self {
        let caller = PeerClient::dial(herd.peers_address(server));
        let client = OperatorClient::new(caller.channel.clone());
        Self { caller, client }
    }

    pub(crate) fn status(&self) -> GetStatusResponse {
        let mut client = self.client.clone();
        let answer = self.caller.run(client.get_status(GetStatusRequest {}));
        answer.unwrap().into_inner()
    }

    /// Returns the server's link to its only neighbour.
    pub(crate) fn link(&self) -> LinkStatus {
        self.status().links.pop().unwrap()
    }

    pub(crate) fn locate(&self, client: &str) -> Result<LocateResponse, Status> {
        let request = LocateRequest {
            client: client.to_owned(),
        };
        let mut client = self.client.clone();
        let answer = self.caller.run(client.locate(request));
        answer.map(tonic::Response::into_inner)
    }

    pub(crate) fn list(&self, request: ListClientsRequest) -> Result<ListClientsResponse, Status> {
        let mut client = self.client.clone();
        let answer = self.caller.run(client.list_clients(request));
        answer.map(tonic::Response::into_inner)
    }

    pub(crate) fn nearby(&self, request: NearbyRequest) -> Result<Vec<NearbyClient>, Status> {
        let mut client = self.client.clone();
        let answer = self.caller.run(client.nearby(request));
        answer.map(|answer| answer.into_inner().clients)
    }

    pub(crate) fn digest(&self, request: DigestRequest) -> Result<DigestResponse, Status> {
        let mut client = self.client.clone();
        let answer = self.caller.run(client.digest(request));
        answer.map(tonic::Response::into_inner)
    }

    /// Returns the digests of some ranges, each with its lowest hash and its level.
    pub(crate) fn buckets(&self, ranges: &[(u64, u32)], buckets: u32) -> Vec<Bucket> {
        let request = DigestRequest {
            ranges: hash_ranges(ranges),
            buckets,
            as_of: None,
        };
        self.digest(request).unwrap().buckets
    }

    pub(crate) fn watch(&self, request: WatchRequest) -> Result<Watch<'_>, Status> {
        let mut client = self.client.clone();
        let answer = self.caller.run(client.watch(request))?;
        Ok(Watch {
            caller: &self.caller,
            stream: answer.into_inner(),
        })
    }

    /// Watches all changes from now on. Returns also the first response.
    pub(crate) fn watch_all(&self) -> (Watch<'_>, WatchResponse) {
        let mut watch = self.watch(WatchRequest::default()).unwrap();
        let first = watch.next();
        assert!(first.reports.is_empty() && first.up_to_date, "{first:?}");
        (watch, first)
    }
}

/// The stream of a watch.
pub(crate) struct Watch<'a> {
    pub(crate) caller: &'a PeerClient,
    pub(crate) stream: Streaming<WatchResponse>,
}

impl Watch<'_> {
    pub(crate) fn try_next(&mut self) -> Result<Option<WatchResponse>, Status> {
        self.caller.run(self.stream.message())
    }

    pub(crate) fn next(&mut self) -> WatchResponse {
        self.try_next().unwrap().expect("the watch continues")
    }

    /// Reads responses until they have at least `count` reports. Returns the client and position of
    /// each.
    pub(crate) fn reports(&mut self, count: usize) -> Vec<(String, String)> {
        let mut reports = Vec::new();
        while reports.len() < count {
            reports.extend(self.next().reports.iter().map(place_of));
        }
        reports
    }

    /// Asserts that no response arrives for a while.
    pub(crate) fn assert_silent(&mut self) {
        let limit = Duration::from_millis(150);
        let received = self.caller.runtime.block_on(async {
            let message = self.stream.message();
            tokio::time::timeout(limit, message).await
        });
        assert!(received.is_err(), "{received:?}");
    }
}
