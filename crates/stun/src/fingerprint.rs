//! FINGERPRINT (RFC 8489 §14.7): CRC-32 of the message before it, XORed so that another protocol's CRC never fits.

const XOR: u32 = 0x5354_554e;

/// Computes the value over `head`, whose length field already counts the FINGERPRINT attribute.
pub(crate) fn compute(head: &[u8]) -> u32 {
    crc32fast::hash(head) ^ XOR
}
