//! Metrics registry, health, tracing set-up, HTTP console.
#![forbid(unsafe_code)]
