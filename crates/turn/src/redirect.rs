//! Sending clients to another server (RFC 8489 §10).

use std::net::SocketAddr;

use crate::request::Request;
use crate::{AlternateServers, Server};

impl Server {
    /// Gives the server to which a client is sent that wants to allocate; `None` if it is served here,
    /// as it is by the very server that others are sent to.
    ///
    /// Retransmissions get the same, as their transaction id chooses.
    pub(crate) fn alternate_server(&self, request: &Request<'_>) -> Option<SocketAddr> {
        let AlternateServers { plain, tls, .. } = &self.config.alternate_servers;
        if self.table.id_of_client(&request.five_tuple).is_some() {
            return None;
        }
        let path = self.client_path(request.five_tuple.socket);
        let servers = if path.is_encrypted() { tls } else { plain };
        let is_v4 = request.five_tuple.client.ip().to_canonical().is_ipv4();
        let others = servers
            .iter()
            .filter(|server| server.is_ipv4() == is_v4 && !self.listeners.is_shown(**server));
        let [.., last] = request.message.transaction_id().0;
        others.cycle().nth(usize::from(last)).copied()
    }
}
