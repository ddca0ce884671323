//! `sip_*`: transactions, dialogs, registrations.

use std::fmt;
use std::sync::Arc;

use crate::families::{Expose, Families};

/// Figures of the SIP endpoint.
pub struct Sip(pub Arc<voex_sip::Metrics>);

impl Expose for Sip {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        let m = &self.0;
        families.gauge("sip_dialogs", "Call legs, ringing and answered.", m.dialogs.value())?;
        families.gauge(
            "sip_transactions",
            "Transactions, client and server.",
            m.transactions.value(),
        )?;
        families.gauge(
            "sip_registrations",
            "Accounts registered at a registrar.",
            m.registrations.value(),
        )?;
        families.counters(
            "sip_requests_received",
            "Requests received.",
            "method",
            m.requests_in.values(),
        )?;
        families.counters(
            "sip_requests_sent",
            "Requests sent, once each.",
            "method",
            m.requests_out.values(),
        )?;
        families.counters(
            "sip_responses_received",
            "Responses received.",
            "class",
            m.responses_in.values(),
        )?;
        families.counters(
            "sip_responses_sent",
            "Responses sent, once each.",
            "class",
            m.responses_out.values(),
        )?;
        families.counter(
            "sip_retransmissions",
            "Messages sent again for lack of an answer.",
            m.retransmissions.value(),
        )?;
        families.counters(
            "sip_dropped",
            "Datagrams that changed nothing.",
            "reason",
            m.dropped.values(),
        )?;
        families.counters(
            "sip_refused",
            "Requests refused without state, by status code.",
            "code",
            m.refused.values(),
        )?;
        families.counter(
            "sip_commands_ignored",
            "Commands that fitted no leg.",
            m.commands_ignored.value(),
        )
    }
}
