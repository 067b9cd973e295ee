//! The certificates of one server, which are read before it starts and again when their
//! files change.

use std::sync::Arc;

use crate::model::address::Address;
use crate::tls::{Credentials, DialledHost, FileError, Subject};

use super::{ServerPlan, StartError};

/// The certificates of one server.
#[derive(Debug)]
pub struct ServerCredentials {
    /// Those for links, if they use TLS.
    pub(super) links: Option<Arc<Credentials>>,
    /// Those for clients, if they may use TLS.
    pub(super) clients: Option<Arc<Credentials>>,
    /// Those of the web port, if it uses TLS.
    pub(super) web: Option<Arc<Credentials>>,
}

impl ServerCredentials {
    /// Reads the files of a server, and checks that it would start with them.
    ///
    /// # Errors
    /// [`StartError::Tls`].
    pub fn load(plan: &ServerPlan) -> Result<Self, StartError> {
        let server = Subject::server(&plan.name, &plan.herd);
        let links = plan.tls.clone();
        let links = links.map(|files| Credentials::of_server(files, server));
        let dialled = |key, address: &Option<Address>| {
            let host = address.as_ref().map(Address::subject_host);
            host.map(|host| DialledHost { key, host })
        };
        let host = dialled("clients_tls", &plan.clients_tls_host);
        let clients = plan.clients_tls.clone();
        let clients = clients.map(|(_, pair)| Credentials::for_clients(pair, host));
        let host = dialled("web", &plan.web_address);
        let web = plan.web_tls.clone();
        let web = web.map(|pair| Credentials::for_clients(pair, host));
        let shared = |loaded: Option<Result<Credentials, FileError>>| {
            let error = |error| StartError::Tls {
                server: plan.name.clone(),
                error,
            };
            loaded.transpose().map(|it| it.map(Arc::new)).map_err(error)
        };
        Ok(Self {
            links: shared(links)?,
            clients: shared(clients)?,
            web: shared(web)?,
        })
    }

    /// Returns what each file of certificates gave, in lines for people.
    pub fn contents(&self) -> Vec<String> {
        self.all().flat_map(|each| each.contents()).collect()
    }

    /// Returns what does not keep the server from starting and others may reject, in lines for
    /// people.
    pub fn warnings(&self) -> Vec<String> {
        self.all().flat_map(|each| each.warnings()).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Credentials>> {
        let shown = self.clients.iter().chain(&self.web);
        self.links.iter().chain(shown)
    }
}
