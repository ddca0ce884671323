//! TURN server state: allocations, permissions, channel bindings, authentication, quotas.
#![forbid(unsafe_code)]
