//! What lies between a client and the server.

use std::fmt;

use serde::Serialize;

/// The transport of a client (RFC 8656 §3.1); relays speak UDP whatever it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A TCP connection for each client.
    Tcp,
    /// TLS over a TCP connection for each client.
    Tls,
}

impl Transport {
    /// Tells whether messages follow each other without borders, so that ChannelData is padded (RFC 8656 §12.5).
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }

    /// Gives the port that servers listen on when nothing else is said.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 3478,
            Self::Tls => 5349,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}
