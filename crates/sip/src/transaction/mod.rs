//! The four transaction state machines of RFC 3261 §17, with the Accepted state of RFC 6026, over UDP.
//!
//! A machine knows states and timers and nothing else: messages stay with the endpoint, which asks the machine what to
//! do with each. Every machine has `new`, `handle_*` for what happens, and `deadline` for the next timer.

mod invite_client;
mod invite_server;
mod non_invite_client;
mod non_invite_server;

pub(crate) use invite_client::InviteClient;
pub(crate) use invite_server::{InviteServer, ServerAction};
pub(crate) use non_invite_client::NonInviteClient;
pub(crate) use non_invite_server::NonInviteServer;

/// What a client transaction asks of the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientAction {
    /// Nothing.
    Nothing,
    /// Send the request again.
    Retransmit,
    /// Give the response to the transaction's user.
    PassUp,
    /// Send ACK for a refusal, then give the response to the user.
    AckAndPassUp,
    /// Send that ACK again.
    Ack,
    /// Tell the user that nobody answers; the transaction has ended.
    TimedOut,
    /// The transaction has ended.
    Terminated,
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::ClientAction;

    /// Runs a client machine's timers until it ends: milliseconds after `start` and what was asked for.
    pub(super) fn run_client<M>(
        start: Instant,
        machine: &mut M,
        deadline: impl Fn(&M) -> Option<Instant>,
        fire: impl Fn(&mut M, Instant) -> ClientAction,
    ) -> Vec<(u128, ClientAction)> {
        let mut trace = Vec::new();
        while let Some(at) = deadline(machine) {
            let early = fire(machine, at - Duration::from_millis(1));
            assert_eq!(early, ClientAction::Nothing, "a timer fired before its time");
            trace.push(((at - start).as_millis(), fire(machine, at)));
        }
        trace
    }
}
