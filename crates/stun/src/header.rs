use std::fmt;

/// Bytes of a STUN header (RFC 8489 §5).
///
/// ```text
/// 0      2      4            8                            20
/// ┌──────┬──────┬────────────┬────────────────────────────┐
/// │ type │length│magic cookie│ transaction id (12 bytes)  │   all big-endian
/// └──────┴──────┴────────────┴────────────────────────────┘
/// ```
pub const HEADER_BYTES: usize = 20;

/// The magic cookie of RFC 8489 §5.
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// The class of a message (RFC 8489 §5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Asks for an answer.
    Request,
    /// Asks for nothing.
    Indication,
    /// The answer to a request that was granted.
    Success,
    /// The answer to a request that was refused.
    Error,
}

/// The method of a message: 12 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method(u16);

/// The 96-bit id that joins an answer to its request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TransactionId(pub [u8; 12]);

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Method {
            $($(#[$doc])* pub const $name: Self = Self($value);)*
        }

        impl fmt::Debug for Method {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name => f.write_str(stringify!($name)),)*
                    Self(other) => write!(f, "Method({other:#05x})"),
                }
            }
        }
    };
}

methods! {
    /// Binding (RFC 8489 §3).
    BINDING = 0x001;
    /// Allocate (RFC 8656 §7).
    ALLOCATE = 0x003;
    /// Refresh (RFC 8656 §8).
    REFRESH = 0x004;
    /// Send, an indication from client to server (RFC 8656 §11).
    SEND = 0x006;
    /// Data, an indication from server to client (RFC 8656 §11).
    DATA = 0x007;
    /// CreatePermission (RFC 8656 §10).
    CREATE_PERMISSION = 0x008;
    /// ChannelBind (RFC 8656 §12).
    CHANNEL_BIND = 0x009;
    /// Connect (RFC 6062 §6.1).
    CONNECT = 0x00A;
    /// ConnectionBind (RFC 6062 §6.1).
    CONNECTION_BIND = 0x00B;
    /// ConnectionAttempt, an indication from server to client (RFC 6062 §6.1).
    CONNECTION_ATTEMPT = 0x00C;
}

impl Method {
    /// Makes a method from its number.
    ///
    /// Returns `None` above 12 bits.
    pub const fn new(number: u16) -> Option<Self> {
        if number <= 0xfff { Some(Self(number)) } else { None }
    }

    /// Gives the method's number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// Joins class and method into the first 16 bits of a message (RFC 8489 §5, figure 3).
pub(crate) const fn message_type(class: Class, method: Method) -> u16 {
    let m = method.0;
    let class_bits = match class {
        Class::Request => 0x000,
        Class::Indication => 0x010,
        Class::Success => 0x100,
        Class::Error => 0x110,
    };
    (m & 0x00f) | ((m & 0x070) << 1) | ((m & 0xf80) << 2) | class_bits
}

/// Splits the first 16 bits of a message, whose two highest bits are zero.
pub(crate) const fn split_type(bits: u16) -> (Class, Method) {
    let class = match bits & 0x110 {
        0x000 => Class::Request,
        0x010 => Class::Indication,
        0x100 => Class::Success,
        _ => Class::Error,
    };
    let method = (bits & 0x00f) | ((bits & 0x0e0) >> 1) | ((bits & 0x3e00) >> 2);
    (class, Method(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_and_method_survives_the_interleaving() {
        for number in 0..=0xfff {
            let method = Method::new(number).unwrap();
            for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
                let bits = message_type(class, method);
                assert_eq!(bits & 0xc000, 0);
                assert_eq!(split_type(bits), (class, method));
            }
        }
    }

    #[test]
    fn types_are_those_of_the_registry() {
        assert_eq!(message_type(Class::Error, Method::ALLOCATE), 0x0113);
        assert_eq!(message_type(Class::Indication, Method::DATA), 0x0017);
        assert_eq!(message_type(Class::Success, Method::CHANNEL_BIND), 0x0109);
    }
}
