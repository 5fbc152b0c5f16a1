//! The engine over stores that wait, fail, lie and hand out nonsense on demand.
//!
//! Nothing here depends on how fast anything is: commits wait at a gate that the test opens,
//! and what happens in the background is waited for by looking.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do; clippy knows only the functions marked as tests"
)]

mod buckets;
mod cancelling;
mod clocks;
mod closing;
mod configuring;
mod crowds;
mod damage;
mod deadlines;
mod denials;
mod durability;
mod embedded;
mod erasing;
mod exactness;
mod guards;
mod ids;
mod lanes;
mod outcomes;
mod poison;
mod pruning;
mod running;
mod soak;
mod stage;
mod sweeping;
mod together;
mod world;
