//! The gateway's half of Earmark: the shapes that providers speak, the upstreams that answer
//! them, and the relay between a client and an upstream.
//!
//! ```text
//! client ──► openai::request ──► (hold) ──► upstream ──► relay ──► client
//!                                              │           │ reads along: openai::observer
//!                                              │           ▼
//!                                              │         ending ──► (settle or release)
//!                                  OpenAI-compatible server, or the built-in stand-in
//! ```
//!
//! Always holds: bytes of a provider pass unchanged; a call ends in exactly one [`Ending`],
//! reported before the client sees the end of its reply.
//! Deliberately absent: stores and the quota engine. What is in parentheses above is a callback
//! or belongs to the caller; so are keys, routes and the clock.

pub mod bounds;
mod ending;
mod observation;
pub mod openai;
pub mod relay;
mod secret;
pub mod sse;
pub mod upstream;

pub use self::{
    ending::{AfterLeaving, Ending, HoldAction},
    observation::{Observation, Observer, ReportedUsage, Step, Usage},
    secret::ApiKey,
};
