//! The gateway: the shapes that providers speak, the upstreams that answer them, the relay
//! between a client and an upstream, and the hold around each call.
//!
//! ```text
//! client ──► openai::request ──► hold ──► upstream ──► relay ──► client
//!                                  │         │           │ reads along: openai::observer
//!            gateway: denied? ◄────┘         │           ▼
//!            an error, or the plan's message │         ending ──► settle or release
//!                                  OpenAI-compatible server, or the built-in stand-in
//! ```
//!
//! Always holds: no call leaves without a fresh hold (R30); bytes of a provider pass unchanged; a
//! call ends in exactly one [`Ending`], which settles or releases its hold before the client sees
//! the end of its reply.
//! Deliberately absent: stores, limit arithmetic and the clock. Keys, routes and request ids
//! belong to the server.

pub mod bounds;
mod ending;
mod gateway;
mod observation;
pub mod openai;
pub mod relay;
mod secret;
pub mod sse;
pub mod upstream;

pub use self::{
    ending::{AfterLeaving, Ending, HoldAction},
    gateway::{Caller, Gateway, GatewayOptions, Metered, Reply},
    observation::{Observation, Observer, ReportedUsage, Step, Usage},
    openai::error::{OpenAiError, Problem},
    relay::ClientBody,
    secret::ApiKey,
};
