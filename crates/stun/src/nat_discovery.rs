//! Attributes of NAT behaviour discovery (RFC 5780 §7).

use std::net::SocketAddr;

use crate::{AttributeError, AttributeType, Message, MessageWriter, xor_address};

/// CHANGE-REQUEST (RFC 5780 §7.2): where the response shall not come from.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ChangeRequest {
    /// Not from the address that the request went to.
    pub ip: bool,
    /// Not from the port that the request went to.
    pub port: bool,
}

const CHANGE_IP: u32 = 4;
const CHANGE_PORT: u32 = 2;

/// Attributes of RFC 5780. `Ok(None)` means absent, `Err` present but unusable.
impl Message<'_> {
    /// RESPONSE-ORIGIN (RFC 5780 §7.3).
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Family`].
    pub fn response_origin(&self) -> Result<Option<SocketAddr>, AttributeError> {
        self.typed(AttributeType::RESPONSE_ORIGIN, xor_address::decode_plain)
    }

    /// OTHER-ADDRESS (RFC 5780 §7.4).
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Family`].
    pub fn other_address(&self) -> Result<Option<SocketAddr>, AttributeError> {
        self.typed(AttributeType::OTHER_ADDRESS, xor_address::decode_plain)
    }

    /// CHANGE-REQUEST (RFC 5780 §7.2).
    ///
    /// # Errors
    /// [`AttributeError::Length`].
    pub fn change_request(&self) -> Result<Option<ChangeRequest>, AttributeError> {
        let bits = self.number(AttributeType::CHANGE_REQUEST)?;
        Ok(bits.map(|bits| ChangeRequest {
            ip: bits & CHANGE_IP != 0,
            port: bits & CHANGE_PORT != 0,
        }))
    }

    /// RESPONSE-PORT (RFC 5780 §7.5), with or without its padding counted.
    ///
    /// # Errors
    /// [`AttributeError::Length`]; [`AttributeError::Value`] for port 0.
    pub fn response_port(&self) -> Result<Option<u16>, AttributeError> {
        self.typed(AttributeType::RESPONSE_PORT, |value| match *value {
            [0, 0] | [0, 0, _, _] => Err(AttributeError::Value),
            [high, low] | [high, low, _, _] => Ok(u16::from_be_bytes([high, low])),
            _ => Err(AttributeError::Length),
        })
    }
}

/// Attributes of RFC 5780.
impl MessageWriter<'_> {
    /// RESPONSE-ORIGIN (RFC 5780 §7.3).
    pub fn response_origin(self, address: SocketAddr) -> Self {
        self.plain_address(AttributeType::RESPONSE_ORIGIN, address)
    }

    /// OTHER-ADDRESS (RFC 5780 §7.4).
    pub fn other_address(self, address: SocketAddr) -> Self {
        self.plain_address(AttributeType::OTHER_ADDRESS, address)
    }

    /// CHANGE-REQUEST (RFC 5780 §7.2).
    pub fn change_request(self, change: ChangeRequest) -> Self {
        let ip = if change.ip { CHANGE_IP } else { 0 };
        let port = if change.port { CHANGE_PORT } else { 0 };
        self.number(AttributeType::CHANGE_REQUEST, ip | port)
    }

    /// RESPONSE-PORT (RFC 5780 §7.5).
    pub fn response_port(self, port: u16) -> Self {
        self.attribute(AttributeType::RESPONSE_PORT, &port.to_be_bytes())
    }

    /// PADDING of so many zeros (RFC 5780 §7.6).
    pub fn padding(mut self, len: usize) -> Self {
        if let Some(room) = self.open(AttributeType::PADDING, len) {
            room.fill(0);
        }
        self
    }
}
