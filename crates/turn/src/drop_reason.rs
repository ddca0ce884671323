use crate::label::label_enum;

label_enum! {
    /// Why a datagram, or a connection of a peer, went no further. The same value is returned, counted and tested.
    DropReason {
        /// The first byte belongs to neither STUN nor ChannelData.
        NotTurn = "not_turn",
        /// Not a well-formed STUN or ChannelData message.
        Malformed = "malformed",
        /// FINGERPRINT is there and does not fit (RFC 8489 §14.7).
        BadFingerprint = "bad_fingerprint",
        /// A method this server does not know (RFC 8489 §6.3).
        UnknownMethod = "unknown_method",
        /// A response, or an indication that only a server sends.
        UnexpectedClass = "unexpected_class",
        /// No allocation for this five-tuple.
        NoAllocation = "no_allocation",
        /// No allocation has this relay.
        NoRelay = "no_relay",
        /// The channel is not bound.
        NoChannel = "no_channel",
        /// The peer's address has no permission.
        NoPermission = "no_permission",
        /// The peer is one this server never sends to.
        ForbiddenPeer = "forbidden_peer",
        /// A Send indication without peer or data, or with a comprehension-required attribute unknown here.
        BadSend = "bad_send",
        /// Send asks for DONT-FRAGMENT, and the owner of sockets cannot.
        DontFragment = "dont_fragment",
        /// A Send indication for a TCP relay, whose data takes connections of its own.
        TcpRelay = "tcp_relay",
        /// A peer came in to a TCP relay that has as many connections as it may, or its shard has.
        ConnectionsFull = "connections_full",
        /// Peers come in to a TCP relay faster than its allocation may have new ones.
        NewPeerRate = "new_peer_rate",
        /// The stream of the allocation's client is gone; it may come back with its ticket (RFC 8016).
        ClientAway = "client_away",
        /// What follows a move that was given to another shard, more than that is worth before the shard says that the client
        /// is its own (RFC 8016).
        Unclaimed = "unclaimed",
        /// More than one UDP datagram can carry to the client, or a request too long to wait for the credential store.
        TooLong = "too_long",
        /// The allocation relays more datagrams a second than it may.
        PacketRate = "packet_rate",
        /// The allocation relays more bytes a second than it may.
        ByteRate = "byte_rate",
        /// All allocations together relay more bytes a second than they may.
        TotalByteRate = "total_byte_rate",
        /// ICMP of a type that clients are not told of (RFC 8656 §11.5).
        IcmpType = "icmp_type",
        /// The client of the allocation was told of as much ICMP as it is due.
        IcmpRate = "icmp_rate",
        /// This source got all the unauthenticated answers it is due.
        AnswerRateLimited = "answer_rate_limited",
        /// Too many requests wait for the credential store, of this client or in all.
        LookUpsFull = "look_ups_full",
        /// This source had all the look-ups it is due.
        LookUpRateLimited = "look_up_rate_limited",
        /// The credential store did not answer in time.
        LookUpTimedOut = "look_up_timed_out",
        /// The credential store cannot be reached.
        StoreUnavailable = "store_unavailable",
    }
}
