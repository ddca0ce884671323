use crate::AttributeError;

/// How a password becomes the key of the long-term credential mechanism (RFC 8489 §18.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PasswordAlgorithm {
    /// 1: [`long_term_key`](crate::long_term_key), what a client uses that names no algorithm.
    Md5,
    /// 2: [`long_term_key_sha256`](crate::long_term_key_sha256).
    Sha256,
}

/// Bytes of one algorithm in PASSWORD-ALGORITHM and PASSWORD-ALGORITHMS: its number and the length of its parameters,
/// which neither has.
///
/// ```text
/// 0         2         4
/// ┌─────────┬─────────┐
/// │ number  │ 0       │
/// └─────────┴─────────┘
/// ```
pub(crate) const PASSWORD_ALGORITHM_BYTES: usize = 4;

impl PasswordAlgorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 2] = [Self::Md5, Self::Sha256];

    /// Gives the number in the registry.
    pub const fn number(self) -> u16 {
        match self {
            Self::Md5 => 1,
            Self::Sha256 => 2,
        }
    }

    pub(crate) fn encode(self) -> [u8; PASSWORD_ALGORITHM_BYTES] {
        let [high, low] = self.number().to_be_bytes();
        [high, low, 0, 0]
    }

    /// Gives the value of PASSWORD-ALGORITHMS (RFC 8489 §14.11).
    pub fn encode_list(algorithms: &[Self]) -> impl Iterator<Item = u8> + '_ {
        algorithms.iter().flat_map(|algorithm| algorithm.encode())
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, AttributeError> {
        let value: [u8; PASSWORD_ALGORITHM_BYTES] = value.try_into().map_err(|_| AttributeError::Length)?;
        let known = Self::ALL.into_iter().find(|algorithm| algorithm.encode() == value);
        known.ok_or(AttributeError::Value)
    }
}
