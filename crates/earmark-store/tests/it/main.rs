//! The memory store passes the suite, with its usual rounds of due holds and with tiny ones;
//! its faults and crashes do what they say.

mod crashes;
mod suite;
