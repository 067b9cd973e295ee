//! Another plan for a server that runs.

use tracing::Instrument;

use super::links::Prepared;
use super::{RunningServer, ServerPlan, StartError};

/// What of a plan a running server is about to take up: it can.
#[derive(Debug)]
pub struct PreparedChange {
    plan: ServerPlan,
    neighbours: Prepared,
}

impl RunningServer {
    /// Finds out whether the server can go over to `plan`. Changes nothing, so
    /// that several servers change all or none. Must be called within the
    /// server's runtime.
    pub fn prepare(&self, plan: ServerPlan) -> Result<PreparedChange, StartError> {
        let _entered = self.span.enter();
        let neighbours = self.links.prepare(&plan.neighbours)?;
        Ok(PreparedChange { plan, neighbours })
    }

    /// Takes what new neighbours say, before any of the servers that change with
    /// this one calls it.
    pub fn expect(&self, change: &PreparedChange) {
        self.links.expect(&change.neighbours);
    }

    /// Goes over to another plan, as far as that is possible while it runs:
    /// limits, but for `expire_after`; who may connect; members of the herd; links.
    /// Of a connection that stands, only the number of connections and the pace
    /// of its address are judged anew, and none is closed for it. Names, addresses to listen on, certificates'
    /// paths and how links behave stay as they were.
    pub async fn change(&mut self, change: PreparedChange) {
        let PreparedChange { plan, neighbours } = change;
        self.gateway.set_limits(&plan.gateway);
        self.most_connections
            .send_replace(plan.clients.max_connections);
        self.listener.change(plan.clients);
        if let Some(web) = &self.web {
            web.change(&plan.web);
        }
        self.gateway.replica().set_members(plan.members);
        let changed = self.links.change(neighbours);
        changed.instrument(self.span.clone()).await;
    }
}
