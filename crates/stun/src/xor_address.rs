//! XOR-MAPPED-ADDRESS and its kin (RFC 8489 §14.2), and MAPPED-ADDRESS and its kin (§14.1), which are the same without
//! the XOR.
//!
//! ```text
//! 0    1      2        4                    8 or 20
//! ┌────┬──────┬────────┬────────────────────┐
//! │ 0  │family│X-Port  │ X-Address          │  port ^ cookie's upper half; address ^ cookie, transaction id
//! └────┴──────┴────────┴────────────────────┘
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::AttributeError;
use crate::header::{MAGIC_COOKIE, TransactionId};

pub(crate) const FAMILY_V4: u8 = 1;
pub(crate) const FAMILY_V6: u8 = 2;

/// Longest value: family, port and an IPv6 address.
pub(crate) const XOR_ADDRESS_BYTES_MAX: usize = 20;

/// What port and address are XORed with.
#[derive(Clone, Copy)]
struct Mask {
    port: u16,
    v4: u32,
    v6: u128,
}

impl Mask {
    const NONE: Self = Self { port: 0, v4: 0, v6: 0 };

    #[inline]
    fn of(id: &TransactionId) -> Self {
        Self {
            port: (MAGIC_COOKIE >> 16) as u16,
            v4: MAGIC_COOKIE,
            v6: mask_v6(id),
        }
    }
}

#[inline]
pub(crate) fn decode(value: &[u8], id: &TransactionId) -> Result<SocketAddr, AttributeError> {
    unmask(value, Mask::of(id))
}

pub(crate) fn decode_plain(value: &[u8]) -> Result<SocketAddr, AttributeError> {
    unmask(value, Mask::NONE)
}

#[inline]
fn unmask(value: &[u8], mask: Mask) -> Result<SocketAddr, AttributeError> {
    let (head, address) = value.split_first_chunk::<4>().ok_or(AttributeError::Length)?;
    let port = u16::from_be_bytes([head[2], head[3]]) ^ mask.port;
    let ip = match head[1] {
        FAMILY_V4 => {
            let bits = u32::from_be_bytes(address.try_into().map_err(|_| AttributeError::Length)?);
            IpAddr::V4(Ipv4Addr::from_bits(bits ^ mask.v4))
        }
        FAMILY_V6 => {
            let bits = u128::from_be_bytes(address.try_into().map_err(|_| AttributeError::Length)?);
            IpAddr::V6(Ipv6Addr::from_bits(bits ^ mask.v6))
        }
        _ => return Err(AttributeError::Family),
    };
    Ok(SocketAddr::new(ip, port))
}

/// Writes the value and gives its length.
#[inline]
pub(crate) fn encode(address: SocketAddr, id: &TransactionId, out: &mut [u8; XOR_ADDRESS_BYTES_MAX]) -> usize {
    mask(address, Mask::of(id), out)
}

pub(crate) fn encode_plain(address: SocketAddr, out: &mut [u8; XOR_ADDRESS_BYTES_MAX]) -> usize {
    mask(address, Mask::NONE, out)
}

#[inline]
fn mask(address: SocketAddr, mask: Mask, out: &mut [u8; XOR_ADDRESS_BYTES_MAX]) -> usize {
    let port = address.port() ^ mask.port;
    out[2..4].copy_from_slice(&port.to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            out[..2].copy_from_slice(&[0, FAMILY_V4]);
            out[4..8].copy_from_slice(&(ip.to_bits() ^ mask.v4).to_be_bytes());
            8
        }
        IpAddr::V6(ip) => {
            out[..2].copy_from_slice(&[0, FAMILY_V6]);
            out[4..20].copy_from_slice(&(ip.to_bits() ^ mask.v6).to_be_bytes());
            20
        }
    }
}

fn mask_v6(id: &TransactionId) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(&id.0);
    u128::from_be_bytes(mask)
}
