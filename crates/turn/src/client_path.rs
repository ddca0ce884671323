use std::net::SocketAddr;

use voex_base::Protocol;

/// How clients reach one of our sockets: a UDP listener, an accepted TCP or TLS stream, a DTLS association.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientPath {
    /// What carries the messages.
    pub protocol: Protocol,
    /// Our address that the client talks to.
    pub local: SocketAddr,
    /// What was negotiated, over TLS and DTLS.
    pub tls: Option<TlsSession>,
}

/// What a TLS or DTLS handshake agreed on, in the names that administrators know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlsSession {
    /// Protocol version as OpenSSL writes it: `TLSv1.2`, `TLSv1.3`, `DTLSv1.2`.
    pub version: &'static str,
    /// Cipher suite as OpenSSL writes it: `ECDHE-RSA-AES128-GCM-SHA256`, `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
}

impl ClientPath {
    /// Makes the path of a UDP listener.
    pub fn udp(local: SocketAddr) -> Self {
        Self {
            protocol: Protocol::Udp,
            local,
            tls: None,
        }
    }

    /// Tells whether messages are encrypted on their way.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.protocol, Protocol::Tls | Protocol::Dtls)
    }

    /// Tells whether messages arrive as a stream: ChannelData is then padded (RFC 8656 §12.5) and closing the stream ends
    /// the allocation.
    pub fn is_stream(&self) -> bool {
        matches!(self.protocol, Protocol::Tcp | Protocol::Tls)
    }
}
