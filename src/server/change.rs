//! Changes of a running server's plan.

use tracing::{Instrument, info};

use crate::gateway::ServerSettings;

use super::links::PreparedLinks;
use super::{RunningServer, ServerPlan, StartError};

/// A new plan that a running server can change to.
#[derive(Debug)]
pub struct PreparedChange {
    plan: ServerPlan,
    settings: ServerSettings,
    links: PreparedLinks,
}

impl RunningServer {
    /// Prepares a change to `plan` without changing anything, so that several servers can
    /// change together or not at all. Reads the token of the web port. Call it within the
    /// server's runtime.
    ///
    /// # Errors
    /// [`StartError::WebToken`], [`StartError::Dial`] and [`StartError::TooManyNeighbours`].
    pub fn prepare(&self, plan: ServerPlan) -> Result<PreparedChange, StartError> {
        let _entered = self.span.enter();
        let settings = plan.settings()?;
        let links = self.links.prepare(&plan.neighbours)?;
        Ok(PreparedChange {
            plan,
            settings,
            links,
        })
    }

    /// Accepts greetings of new neighbours. Call it for all servers that change together,
    /// before [`change`](Self::change) of the first one lets it dial the others.
    pub fn expect(&self, change: &PreparedChange) {
        self.links.expect(&change.links);
    }

    /// Changes to another plan, as far as that is possible at run time: limits except
    /// `expire_after`, allowed networks, the token, members of the herd, and links. Open
    /// connections stay open with the limits they began with, and they count against the
    /// new maximum of connections and share the new rate limit of their address. Names,
    /// listening addresses, paths of certificates and settings of links do not change.
    pub async fn change(&mut self, change: PreparedChange) {
        let PreparedChange {
            plan,
            settings,
            links,
        } = change;
        let has_new_token = self.gateway.settings().web_token != settings.web_token;
        self.gateway.change_settings(settings);
        if has_new_token {
            let _entered = self.span.enter();
            info!("the token of the web port changed");
        }
        self.gateway.replica().set_members(plan.member_names());
        let changed = self.links.change(links);
        changed.instrument(self.span.clone()).await;
    }
}
