use crate::{Config, LookUpId, LookedUp, SessionId};

/// What the control plane tells a shard.
#[derive(Clone, Debug)]
pub enum Command {
    /// Answers [`Event::LookUp`](crate::Event::LookUp).
    LookedUp {
        /// The question.
        id: LookUpId,
        /// The answer.
        found: LookedUp,
    },
    /// Ends allocations.
    End(Selection),
    /// New allocations are refused with 508 from now on; those that exist go on (drain).
    RefuseNewAllocations,
    /// Takes over settings, and keeps every allocation; peers that are closed from now on lose their permissions and
    /// channels. `signing_key` and `ports` stay what they were.
    Reconfigure(Box<Config>),
}

/// Which allocations a command is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// One.
    Session(SessionId),
    /// All of a user, whatever the expiry in its name.
    User(Box<str>),
    /// All of a user that the credential store has no more.
    DeletedUser(Box<str>),
    /// All of them.
    All,
}
