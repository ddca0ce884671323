use std::fmt;

/// The type of an attribute: 16 bits (RFC 8489 §14).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeType(pub u16);

macro_rules! attribute_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl AttributeType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*
        }

        impl fmt::Debug for AttributeType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name => f.write_str(stringify!($name)),)*
                    Self(other) => write!(f, "AttributeType({other:#06x})"),
                }
            }
        }
    };
}

attribute_types! {
    /// RFC 8489 §14.1.
    MAPPED_ADDRESS = 0x0001;
    /// RFC 5780 §7.2.
    CHANGE_REQUEST = 0x0003;
    /// RFC 8489 §14.3.
    USERNAME = 0x0006;
    /// RFC 8489 §14.5.
    MESSAGE_INTEGRITY = 0x0008;
    /// RFC 8489 §14.8.
    ERROR_CODE = 0x0009;
    /// RFC 8489 §14.13.
    UNKNOWN_ATTRIBUTES = 0x000A;
    /// RFC 8656 §18.1.
    CHANNEL_NUMBER = 0x000C;
    /// RFC 8656 §18.2.
    LIFETIME = 0x000D;
    /// RFC 8656 §18.3.
    XOR_PEER_ADDRESS = 0x0012;
    /// RFC 8656 §18.4.
    DATA = 0x0013;
    /// RFC 8489 §14.9.
    REALM = 0x0014;
    /// RFC 8489 §14.10.
    NONCE = 0x0015;
    /// RFC 8656 §18.5.
    XOR_RELAYED_ADDRESS = 0x0016;
    /// RFC 8656 §18.6.
    REQUESTED_ADDRESS_FAMILY = 0x0017;
    /// RFC 8656 §18.7.
    EVEN_PORT = 0x0018;
    /// RFC 8656 §18.8.
    REQUESTED_TRANSPORT = 0x0019;
    /// RFC 8656 §18.9.
    DONT_FRAGMENT = 0x001A;
    /// RFC 7635 §6.2.
    ACCESS_TOKEN = 0x001B;
    /// RFC 8489 §14.6.
    MESSAGE_INTEGRITY_SHA256 = 0x001C;
    /// RFC 8489 §14.12.
    PASSWORD_ALGORITHM = 0x001D;
    /// RFC 8489 §14.4.
    USERHASH = 0x001E;
    /// RFC 8489 §14.2.
    XOR_MAPPED_ADDRESS = 0x0020;
    /// RFC 8656 §18.10.
    RESERVATION_TOKEN = 0x0022;
    /// RFC 8445 §16.1.
    PRIORITY = 0x0024;
    /// RFC 8445 §16.1.
    USE_CANDIDATE = 0x0025;
    /// RFC 5780 §7.6.
    PADDING = 0x0026;
    /// RFC 5780 §7.5.
    RESPONSE_PORT = 0x0027;
    /// RFC 6062 §6.2.1.
    CONNECTION_ID = 0x002A;
    /// RFC 8656 §18.11.
    ADDITIONAL_ADDRESS_FAMILY = 0x8000;
    /// RFC 8656 §18.12.
    ADDRESS_ERROR_CODE = 0x8001;
    /// RFC 8489 §14.11.
    PASSWORD_ALGORITHMS = 0x8002;
    /// RFC 8489 §14.16.
    ALTERNATE_DOMAIN = 0x8003;
    /// RFC 8656 §18.13.
    ICMP = 0x8004;
    /// RFC 8489 §14.14.
    SOFTWARE = 0x8022;
    /// RFC 8489 §14.15.
    ALTERNATE_SERVER = 0x8023;
    /// RFC 8489 §14.7.
    FINGERPRINT = 0x8028;
    /// RFC 8445 §16.1.
    ICE_CONTROLLED = 0x8029;
    /// RFC 8445 §16.1.
    ICE_CONTROLLING = 0x802A;
    /// RFC 5780 §7.3.
    RESPONSE_ORIGIN = 0x802B;
    /// RFC 5780 §7.4.
    OTHER_ADDRESS = 0x802C;
    /// RFC 7635 §6.1.
    THIRD_PARTY_AUTHORIZATION = 0x802E;
    /// RFC 8016 §3.4.
    MOBILITY_TICKET = 0x8030;
    /// draft-martinsen-tram-ssoda: what became [`Self::ADDITIONAL_ADDRESS_FAMILY`], as coturn's clients still write it.
    DRAFT_ADDITIONAL_ADDRESS_FAMILY = 0x8032;
}

impl AttributeType {
    /// Tells whether a receiver that does not know this type must refuse the message (RFC 8489 §14).
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

/// One attribute: its type and its value without padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attribute<'a> {
    /// The type.
    pub kind: AttributeType,
    /// The value.
    pub value: &'a [u8],
}

/// Walks attributes whose bounds [`Message::parse`](crate::Message::parse) has checked; ends early on anything else.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    #[inline]
    fn next(&mut self) -> Option<Attribute<'a>> {
        let (head, body) = self.rest.split_first_chunk::<4>()?;
        let kind = AttributeType(u16::from_be_bytes([head[0], head[1]]));
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = body.get(..len)?;
        self.rest = body.get(padded(len)..).unwrap_or_default();
        Some(Attribute { kind, value })
    }
}

/// Rounds up to the 32-bit boundary on which attributes start.
pub(crate) const fn padded(len: usize) -> usize {
    (len + 3) & !3
}

/// Most unknown attributes that one answer lists; a request with more is told the first of them.
pub const UNKNOWN_ATTRIBUTES_MAX: usize = 16;

/// The comprehension-required attributes of a request that its receiver does not know; at most
/// [`UNKNOWN_ATTRIBUTES_MAX`] of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnknownAttributes {
    types: [u16; UNKNOWN_ATTRIBUTES_MAX],
    len: usize,
}

impl UnknownAttributes {
    /// Adds a type, unless it is there already or the list is full.
    pub fn push(&mut self, kind: AttributeType) {
        if self.len < UNKNOWN_ATTRIBUTES_MAX && !self.types[..self.len].contains(&kind.0) {
            self.types[self.len] = kind.0;
            self.len += 1;
        }
    }

    /// Tells whether nothing was unknown.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives the types in the order of the message.
    pub fn types(&self) -> impl ExactSizeIterator<Item = AttributeType> + '_ {
        self.types[..self.len].iter().map(|kind| AttributeType(*kind))
    }
}
