//! SIP messages: bytes to values and back, strict where it matters, lenient where peers are.
#![forbid(unsafe_code)]
