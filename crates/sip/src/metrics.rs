//! What an endpoint counts.

use voex_base::{Counter, CounterSet, Gauge, Label};
use voex_sip_wire::Method;

/// Live counters of one endpoint.
#[derive(Default, Debug)]
pub struct Metrics {
    /// Client and server transactions that exist.
    pub transactions: Gauge,
    /// Legs that exist, from INVITE to the last BYE.
    pub dialogs: Gauge,
    /// Accounts registered at a registrar.
    pub registrations: Gauge,
    /// Requests received, retransmissions among them.
    pub requests_in: CounterSet<MethodLabel>,
    /// Requests sent, without retransmissions.
    pub requests_out: CounterSet<MethodLabel>,
    /// Responses received.
    pub responses_in: CounterSet<ResponseClass>,
    /// Responses sent, without retransmissions.
    pub responses_out: CounterSet<ResponseClass>,
    /// Messages sent again because no answer came.
    pub retransmissions: Counter,
    /// Datagrams that changed nothing. A malformed request is counted here even when it was answered.
    pub dropped: CounterSet<DropReason>,
    /// Requests refused without state: malformed, from strangers, for nobody, when full.
    pub refused: CounterSet<RefusedCode>,
    /// Commands that named an unknown leg or did not fit its state.
    pub commands_ignored: Counter,
    /// Header fields in commands that were left out: reserved or not writable.
    pub fields_left_out: Counter,
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn index(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

label! {
    /// Why a datagram changed nothing.
    DropReason {
        /// Line breaks only.
        KeepAlive = "keep_alive",
        /// Not a SIP message, or one that breaks the grammar.
        Malformed = "malformed",
        /// A response to no transaction of ours.
        StrayResponse = "stray_response",
        /// An ACK for no dialog of ours.
        StrayAck = "stray_ack",
        /// A request outside dialogs from a source that is not allowed.
        Stranger = "stranger",
        /// A scanning tool by its own name.
        Scanner = "scanner",
        /// A request older than one already seen in its dialog.
        OutOfOrder = "out_of_order",
        /// A table is full.
        TableFull = "table_full",
    }
}

label! {
    /// A method in metrics.
    #[allow(missing_docs, reason = "each variant is the method of its own name")]
    MethodLabel {
        Invite = "invite",
        Ack = "ack",
        Bye = "bye",
        Cancel = "cancel",
        Register = "register",
        Options = "options",
        Info = "info",
        /// Any other.
        Other = "other",
    }
}

label! {
    /// Class of a status code.
    ResponseClass {
        /// 100..=199.
        Provisional = "1xx",
        /// 200..=299.
        Success = "2xx",
        /// 300..=399.
        Redirection = "3xx",
        /// 400..=499.
        ClientError = "4xx",
        /// 500..=599.
        ServerError = "5xx",
        /// 600..=699.
        GlobalFailure = "6xx",
    }
}

label! {
    /// A status code of a refusal without state.
    #[allow(missing_docs, reason = "each variant is the status code of its own name")]
    RefusedCode {
        BadRequest = "400",
        Forbidden = "403",
        NotFound = "404",
        MethodNotAllowed = "405",
        NotAcceptable = "406",
        UnsupportedMediaType = "415",
        UnsupportedUriScheme = "416",
        BadExtension = "420",
        DoesNotExist = "481",
        LoopDetected = "482",
        NotImplemented = "501",
        ServiceUnavailable = "503",
        VersionNotSupported = "505",
        TooLarge = "513",
        /// Any other.
        Other = "other",
    }
}

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        match method {
            Method::Invite => Self::Invite,
            Method::Ack => Self::Ack,
            Method::Bye => Self::Bye,
            Method::Cancel => Self::Cancel,
            Method::Register => Self::Register,
            Method::Options => Self::Options,
            Method::Info => Self::Info,
            _ => Self::Other,
        }
    }
}

impl From<u16> for ResponseClass {
    fn from(code: u16) -> Self {
        match code {
            0..=199 => Self::Provisional,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            600.. => Self::GlobalFailure,
        }
    }
}

impl From<u16> for RefusedCode {
    fn from(code: u16) -> Self {
        let text = code.to_string();
        let found = Self::ALL.iter().find(|label| label.name() == text);
        found.copied().unwrap_or(Self::Other)
    }
}
