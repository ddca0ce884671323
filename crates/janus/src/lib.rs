//! The Janus API: sessions, handles, transactions, plugins; JSON in, commands out, events to JSON.
#![forbid(unsafe_code)]
