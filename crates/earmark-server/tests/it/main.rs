//! The server over a store in memory, a clock that stands still, and real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do; clippy knows only the functions marked as tests"
)]

mod batch;
mod batch_alike;
mod codes;
mod connections;
mod control;
mod erasing;
mod events;
mod exact;
mod gateway;
mod history;
mod holds;
mod isolation;
mod keys;
mod logs;
mod malformed;
mod plans;
mod reading;
mod receiver;
mod system;
mod tls;
mod webhooks;
mod world;
