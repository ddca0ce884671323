//! SIP transactions, dialogs and registrations as state machines.
#![forbid(unsafe_code)]
