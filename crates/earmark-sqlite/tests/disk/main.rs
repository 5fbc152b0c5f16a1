//! The embedded store against its disk.
//!
//! A binary of its own: these tests start programs, and a program that is being started holds
//! for a moment whatever this process has open, so that a store which another test has just
//! closed would still be in use.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do; clippy knows only the functions marked as tests"
)]

mod full_disk;
mod read_only;
mod small_disk;
mod world;
