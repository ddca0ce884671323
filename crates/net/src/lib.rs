//! The worker loop and its sockets: epoll, GRO, GSO, port pools, command and event queues; the one crate with unsafe.
