//! One media worker's state: a TURN shard and an SFU shard side by side, and the hand-over between them.
#![forbid(unsafe_code)]
