//! The memory store passes the suite, with its usual rounds of due holds and with tiny ones;
//! its faults and crashes do what they say.
#![expect(clippy::unwrap_used, reason = "test code, also outside test functions")]

mod crashes;
mod suite;
