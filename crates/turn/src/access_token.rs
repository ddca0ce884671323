//! Access tokens of third-party authorization (RFC 7635).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use voex_base::WallTime;

use crate::{TokenAlgorithm, TokenKey};

/// What an access token grants, after it was opened.
pub(crate) struct Grant {
    mac_key: [u8; MAC_KEY_BYTES_MAX],
    mac_key_len: usize,
    /// When it ends, in seconds since 1970.
    pub(crate) until_s: u64,
}

/// Longest token that is looked at; with a key of 32 bytes one has 76.
const TOKEN_BYTES_MAX: usize = 256;
/// Of both algorithms (RFC 5116 §5.1, §5.2).
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Least and most bytes of a key that protects messages: 20 and 32 are usual (RFC 7635 §4).
const MAC_KEY_BYTES_MIN: usize = 16;
const MAC_KEY_BYTES_MAX: usize = 64;
/// Timestamp and lifetime.
const TIMES_BYTES: usize = 12;
/// How far the clock of an authorization server may be off (RFC 7635 §7).
const CLOCK_SKEW_S: u64 = 5;

impl Grant {
    /// Gives the key that protects the client's messages.
    pub(crate) fn mac_key(&self) -> &[u8] {
        &self.mac_key[..self.mac_key_len]
    }

    /// Gives what clients made of coturn's parts take of that key.
    pub(crate) fn coturn_key(&self) -> &[u8] {
        &self.mac_key[..MAC_KEY_BYTES_MIN]
    }
}

/// Opens a token; `None` if it was not made with this key for this server, or is not valid now.
///
/// ```text
/// nonce length (2) │ nonce (12) │ AEAD with the server's name beside it:
///                               │ key length (2) │ mac_key │ timestamp (8: 48 bits of seconds │ 16 of 1/64000 s)
///                               │ │ lifetime in seconds (4)                                    │ tag (16)
/// ```
pub(crate) fn open(token: &[u8], key: &TokenKey, server_name: &str, wall: WallTime) -> Option<Grant> {
    if !is_valid(key, wall) {
        return None;
    }
    let (nonce_len, rest) = token.split_first_chunk::<2>()?;
    if usize::from(u16::from_be_bytes(*nonce_len)) != NONCE_BYTES {
        return None;
    }
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
    let mut room = [0; TOKEN_BYTES_MAX];
    let room = room.get_mut(..sealed.len())?;
    room.copy_from_slice(sealed);
    let aad = Aad::from(server_name.as_bytes());
    let plain = cipher(key)?
        .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, room)
        .ok()?;
    read_grant(plain, wall)
}

/// Reads what was encrypted.
fn read_grant(plain: &[u8], wall: WallTime) -> Option<Grant> {
    let (mac_key_len, rest) = plain.split_first_chunk::<2>()?;
    let mac_key_len = usize::from(u16::from_be_bytes(*mac_key_len));
    let (claimed, times) = rest.split_at_checked(mac_key_len)?;
    let times: [u8; TIMES_BYTES] = times.try_into().ok()?;
    if !(MAC_KEY_BYTES_MIN..=MAC_KEY_BYTES_MAX).contains(&mac_key_len) {
        return None;
    }
    let [t0, t1, t2, t3, t4, t5, _, _, l0, l1, l2, l3] = times;
    let issued_s = u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]);
    let lifetime_s = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
    if lifetime_s + CLOCK_SKEW_S <= issued_s.abs_diff(wall.unix_s()) {
        return None;
    }
    let mut mac_key = [0; MAC_KEY_BYTES_MAX];
    mac_key[..mac_key_len].copy_from_slice(claimed);
    Some(Grant {
        mac_key,
        mac_key_len,
        until_s: issued_s + lifetime_s,
    })
}

/// Seals a block as an authorization server does; for the fuzz target, which has to get past the cipher.
pub(crate) fn seal(key: &TokenKey, server_name: &str, block: &[u8]) -> Vec<u8> {
    let nonce = [0x6e; NONCE_BYTES];
    let mut sealed = block.to_vec();
    let aad = Aad::from(server_name.as_bytes());
    if let Some(cipher) = cipher(key) {
        let nonce = Nonce::assume_unique_for_key(nonce);
        // Only a block longer than any message is too long to be sealed.
        let _ = cipher.seal_in_place_append_tag(nonce, aad, &mut sealed);
    }
    [&(NONCE_BYTES as u16).to_be_bytes()[..], &nonce, &sealed].concat()
}

fn is_valid(key: &TokenKey, wall: WallTime) -> bool {
    let age_s = wall.unix_s().checked_sub(key.timestamp_s);
    age_s.is_some_and(|age_s| key.lifetime_s == 0 || age_s < key.lifetime_s)
}

/// Takes of the key what the algorithm needs; a shorter one is filled with zeros.
fn cipher(key: &TokenKey) -> Option<LessSafeKey> {
    let algorithm: &Algorithm = match key.algorithm {
        TokenAlgorithm::Aes128Gcm => &AES_128_GCM,
        TokenAlgorithm::Aes256Gcm => &AES_256_GCM,
    };
    if key.key.is_empty() {
        return None;
    }
    let mut fitted = [0; 32];
    let len = key.key.len().min(algorithm.key_len());
    fitted[..len].copy_from_slice(&key.key[..len]);
    let unbound = UnboundKey::new(algorithm, &fitted[..algorithm.key_len()]).ok()?;
    Some(LessSafeKey::new(unbound))
}

/// The longest that can be opened, so that no length of the sealed part is a surprise.
const _: () = assert!(2 + MAC_KEY_BYTES_MAX + TIMES_BYTES + TAG_BYTES <= TOKEN_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    /// What coturn's `turnutils_oauth -e -i example.org -o aDRqM2sybDJuNGI1 -q 92470300704768 -r 3600` makes of a mac_key
    /// of 32 `M` and a key of `00 01 02 ..` that is 32 bytes long, cut to 16 and 24, and for the other algorithm.
    const COTURN: [(TokenAlgorithm, usize, &str); 4] = [
        (
            TokenAlgorithm::Aes256Gcm,
            32,
            "AAxoNGozazJsMm40YjWRTTIZldfKJB/nTQFh/oGTyIqyPf1jv8OfhH0pzO/1WsFIX6vQu0kUXxd972UvsL4cGaw46DKT9bUgiCz7xA==",
        ),
        (
            TokenAlgorithm::Aes256Gcm,
            16,
            "AAxoNGozazJsMm40YjWa9iT/a96RuC1+R32x7ZbSoHii6UQ962d52IJbjZu248lXtMdRyQ0YuSX1ER8FlarsAkggp/1lUOnDdW6WAA==",
        ),
        (
            TokenAlgorithm::Aes256Gcm,
            24,
            "AAxoNGozazJsMm40YjXgK6FhumAlsW1AeZ4NRaUZZmK7cigrrbrxot2SR922u5JAy56xJFnzH/W/DefV/WVfTkdLiKJ39Anxfi2V+w==",
        ),
        (
            TokenAlgorithm::Aes128Gcm,
            32,
            "AAxoNGozazJsMm40YjVRqoMyZhG1zduMzcnlFRm/A647lFZIPAu3Zr2dofj3wOf578+7gqYxgiivc9ku8AEtQpgHdyUs/V8HNL3nHA==",
        ),
    ];
    const ISSUED_S: u64 = 92_470_300_704_768 >> 16;

    fn key(algorithm: TokenAlgorithm, len: u8) -> TokenKey {
        TokenKey {
            key: (0..len).collect(),
            algorithm,
            timestamp_s: 0,
            lifetime_s: 0,
        }
    }

    fn at(unix_s: u64) -> WallTime {
        WallTime::from_unix(Duration::from_secs(unix_s))
    }

    #[test]
    fn tokens_of_coturn_are_opened_with_keys_of_any_length() {
        for (algorithm, len, token) in COTURN {
            let token = STANDARD.decode(token).unwrap();
            let grant = open(&token, &key(algorithm, len as u8), "example.org", at(ISSUED_S)).unwrap();
            assert_eq!(grant.mac_key(), [b'M'; 32]);
            assert_eq!(grant.until_s, ISSUED_S + 3_600);
        }
    }

    #[test]
    fn a_token_is_good_for_its_lifetime_and_five_seconds_around_it() {
        let (algorithm, len, token) = COTURN[0];
        let token = STANDARD.decode(token).unwrap();
        let opens = |unix_s| open(&token, &key(algorithm, len as u8), "example.org", at(unix_s)).is_some();
        assert!(opens(ISSUED_S + 3_604) && !opens(ISSUED_S + 3_605));
        assert!(opens(ISSUED_S - 3_604) && !opens(ISSUED_S - 3_605));
    }

    #[test]
    fn a_key_is_good_from_its_timestamp_on_for_its_lifetime() {
        let (algorithm, len, token) = COTURN[0];
        let token = STANDARD.decode(token).unwrap();
        let opens = |timestamp_s, lifetime_s| {
            let key = TokenKey {
                timestamp_s,
                lifetime_s,
                ..key(algorithm, len as u8)
            };
            open(&token, &key, "example.org", at(ISSUED_S)).is_some()
        };
        assert!(opens(ISSUED_S, 1) && opens(ISSUED_S - 9, 10) && opens(1, 0));
        assert!(!opens(ISSUED_S + 1, 0) && !opens(ISSUED_S - 10, 10));
    }

    #[test]
    fn a_token_of_every_length_and_with_any_byte_altered_is_refused() {
        let (algorithm, len, token) = COTURN[0];
        let token = STANDARD.decode(token).unwrap();
        let opens = |token: &[u8]| open(token, &key(algorithm, len as u8), "example.org", at(ISSUED_S)).is_some();
        assert!(opens(&token));
        for len in 0..2_000 {
            let resized: Vec<u8> = token.iter().copied().cycle().take(len).collect();
            assert_eq!(opens(&resized), len == token.len(), "{len}");
        }
        for at in 0..token.len() {
            let mut altered = token.clone();
            altered[at] ^= 1;
            assert!(!opens(&altered), "{at}");
        }
    }

    #[test]
    fn a_token_for_another_server_or_under_another_key_is_refused() {
        let (algorithm, len, token) = COTURN[0];
        let token = STANDARD.decode(token).unwrap();
        let mine = key(algorithm, len as u8);
        assert!(open(&token, &mine, "example.com", at(ISSUED_S)).is_none());
        assert!(open(&token, &mine, "", at(ISSUED_S)).is_none());
        assert!(open(&token, &key(algorithm, 31), "example.org", at(ISSUED_S)).is_none());
        assert!(open(&token, &key(algorithm, 0), "example.org", at(ISSUED_S)).is_none());
    }

    #[test]
    fn what_is_sealed_is_read_strictly() {
        let plain = |mac_key: &[u8], claimed: u16, behind: &[u8]| {
            let mut plain = claimed.to_be_bytes().to_vec();
            plain.extend(mac_key);
            plain.extend((ISSUED_S << 16).to_be_bytes());
            plain.extend(3_600_u32.to_be_bytes());
            plain.extend(behind);
            read_grant(&plain, at(ISSUED_S)).is_some()
        };
        assert!(plain(&[7; 16], 16, &[]) && plain(&[7; 20], 20, &[]) && plain(&[7; 64], 64, &[]));
        assert!(!plain(&[7; 15], 15, &[]), "a key that can be guessed");
        assert!(!plain(&[7; 65], 65, &[]), "a key longer than its room");
        assert!(!plain(&[7; 20], 20, &[0]), "something behind");
        for claimed in [0, 19, 21, 32, 256, 0xffff] {
            assert!(!plain(&[7; 20], claimed, &[]), "{claimed}");
        }
        assert!(read_grant(&[], at(ISSUED_S)).is_none());
    }
}
